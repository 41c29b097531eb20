"""Personal data that was planted, and the search for it in every form in which it could be kept."""

from __future__ import annotations

import base64
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Canary: TypeAlias = str | float | bytes


@dataclass(frozen=True)
class Found:
    """A canary where none should be."""

    where: str
    canary: Canary
    form: str


def forms(canary: Canary) -> dict[str, bytes]:
    """A canary as bytes, by the name of the form."""
    plain = {"utf-8": str(canary).encode()}
    if isinstance(canary, bytes):
        plain = {"bytes": canary}
    elif isinstance(canary, float):
        plain["17 digits"] = f"{canary:.17g}".encode()
        plain["rounded"] = f"{canary:.9f}".encode()
        plain["little-endian double"] = struct.pack("<d", canary)
        plain["big-endian double"] = struct.pack(">d", canary)
    else:
        plain["utf-16-le"] = canary.encode("utf-16-le")
        plain["utf-16-be"] = canary.encode("utf-16-be")
    every = dict(plain)
    for name, data in plain.items():
        every[f"hexadecimal of {name}"] = data.hex().encode()
        every[f"upper hexadecimal of {name}"] = data.hex().upper().encode()
        for shift in range(3):
            inner = base64.b64encode(bytes(shift) + data + bytes(3))
            # Without what the bytes before and after have a part in.
            start = -(-8 * shift // 6)
            stop = 8 * (shift + len(data)) // 6
            every[f"base64 of {name}, shifted by {shift}"] = inner[start:stop]
            every[f"base64url of {name}, shifted by {shift}"] = inner[start:stop].translate(
                bytes.maketrans(b"+/", b"-_")
            )
    return every


class Scanner:
    """Looks for canaries in bytes, files, databases and containers."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._forms = [
            (canary, name, data) for canary in canaries for name, data in forms(canary).items()
        ]
        self.scanned_bytes = 0

    def bytes(self, where: str, data: bytes) -> list[Found]:
        """Canaries in bytes, and in what these bytes compress."""
        self.scanned_bytes += len(data)
        found = [Found(where, canary, name) for canary, name, form in self._forms if form in data]
        return found + [one for inner in _inflated(data) for one in self.bytes(where, inner)]

    def file(self, path: Path) -> list[Found]:
        """Canaries in a file; of a database also cell by cell, of a ZIP file in its members."""
        data = path.read_bytes()
        found = self.bytes(str(path), data)
        if data.startswith(b"SQLite format 3\0"):
            for cell in _cells(path):
                found += self.bytes(str(path), cell)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as container:
                for name in container.namelist():
                    found += self.bytes(f"{path}:{name}", container.read(name))
        return found

    def tree(self, directory: Path) -> list[Found]:
        """Canaries in all files of a directory, and in their names."""
        found = []
        for path in sorted(directory.rglob("*")):
            found += self.bytes(str(path), str(path.relative_to(directory)).encode())
            if path.is_file():
                found += self.file(path)
        return found


def _cells(path: Path) -> Iterator[bytes]:
    """Every cell of a database: a long one may be split between pages."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        for (table,) in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 -- its own names
                yield from (cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)
    finally:
        connection.close()


def _inflated(data: bytes) -> Iterator[bytes]:
    """What bytes that are compressed hold."""
    if data.startswith((b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda")):
        try:
            yield zlib.decompressobj(wbits=47).decompress(data)
        except zlib.error:
            return
    elif data.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard

        try:
            yield zstandard.ZstdDecompressor().decompressobj().decompress(data)
        except zstandard.ZstdError:
            return
