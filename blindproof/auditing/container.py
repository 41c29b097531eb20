"""Named members in one file: a zip archive of exactly one form.

Every zip tool opens it.  Members are stored, not compressed, one after the other from the first
byte on; there are no dates, comments or attributes, and the directory has the ZIP64 form whatever
the sizes (PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5.3).  A file of any other form is refused:
each of its bytes is a member's content or follows from the members' names and contents, so nothing
hides between them, nothing expands, and equal members give equal files.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from blindproof.auditing.errors import ExportError

MAX_MEMBERS = 1 << 18
MAX_MEMBER_BYTES = 1 << 31
MAX_NAME = 128

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*)?")
_VERSION = 45
"""Of the format, that has ZIP64."""
_MADE_BY = 3 << 8 | _VERSION
_FIRST_DAY = 0x21
"""1980-01-01, before which zip has no dates."""
_PRIVATE_FILE = 0o100600 << 16
_IN_EXTRA_16, _IN_EXTRA_32 = 0xFFFF, 0xFFFFFFFF
_ZIP64, _OFFSET_BYTES = 1, 8

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_EXTRA = struct.Struct("<2HQ")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_TAIL_BYTES = _END64.size + _LOCATOR.size + _END.size
_END64_REST = _END64.size - 12
"""What the record says of its own size: without signature and this number."""
_MAX_DIRECTORY_BYTES = MAX_MEMBERS * (_CENTRAL.size + MAX_NAME + _EXTRA.size)


@dataclass(frozen=True)
class Member:
    """One member as the directory describes it.

    Attributes:
        name: lower case letters, digits, dots and hyphens; at most one folder.
        size: bytes of content.
        crc: CRC-32 of the content.
        offset: of the member in the file.
    """

    name: str
    size: int
    crc: int
    offset: int

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME or _NAME.fullmatch(self.name) is None:
            raise ExportError(f"no member of an export is named {self.name[:MAX_NAME]!r}")
        if self.size > MAX_MEMBER_BYTES:
            raise ExportError(
                f"member {self.name} of {self.size} bytes, at most {MAX_MEMBER_BYTES}"
            )

    @property
    def content_offset(self) -> int:
        """Where the content begins."""
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        """Where the next member begins."""
        return self.content_offset + self.size

    def local_header(self) -> bytes:
        """The bytes before the content."""
        fixed = _LOCAL.pack(
            b"PK\x03\x04",
            _VERSION,
            0,
            0,
            0,
            _FIRST_DAY,
            self.crc,
            self.size,
            self.size,
            len(self.name),
            0,
        )
        return fixed + self.name.encode()

    def central_header(self) -> bytes:
        """The bytes in the directory."""
        fixed = _CENTRAL.pack(
            b"PK\x01\x02",
            _MADE_BY,
            _VERSION,
            0,
            0,
            0,
            _FIRST_DAY,
            self.crc,
            self.size,
            self.size,
            len(self.name),
            _EXTRA.size,
            0,
            0,
            0,
            _PRIVATE_FILE,
            _IN_EXTRA_32,
        )
        return fixed + self.name.encode() + _EXTRA.pack(_ZIP64, _OFFSET_BYTES, self.offset)


class ContainerWriter:
    """Writes members in order, each as soon as it is given; `finish` writes the directory."""

    def __init__(self, stream: BinaryIO) -> None:
        """Write to a stream from where it stands, which becomes the beginning of the file."""
        self._stream = stream
        self._members: dict[str, Member] = {}
        self._offset = 0

    def add(self, name: str, content: bytes) -> None:
        """Append a member.

        Raises:
            ExportError: a name that members do not have or that is taken, or too much of anything.
            OSError: the stream cannot be written.
        """
        if name in self._members:
            raise ExportError(f"two members named {name}")
        if len(self._members) == MAX_MEMBERS:
            raise ExportError(f"an export has at most {MAX_MEMBERS} members: export fewer receipts")
        member = Member(name, len(content), zlib.crc32(content), self._offset)
        self._stream.write(member.local_header())
        self._stream.write(content)
        self._members[name] = member
        self._offset = member.end

    def finish(self) -> None:
        """Append the directory; nothing may be added afterwards.  Raises OSError."""
        size = 0
        for member in self._members.values():
            size += self._stream.write(member.central_header())
        self._stream.write(_tail(len(self._members), size, self._offset))


class ContainerReader:
    """Reads members of a file that was checked to have the one form."""

    def __init__(self, stream: BinaryIO) -> None:
        """Read the directory of a seekable stream.

        Raises:
            ExportError: another form.
            OSError: the stream cannot be read.
        """
        self._stream = stream
        self._members = {member.name: member for member in self._directory()}

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names, in the order of the file."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """Bytes of a member."""
        return self._members[name].size

    def read(self, name: str, limit: int = MAX_MEMBER_BYTES) -> bytes:
        """The content of a member.

        Raises:
            ExportError: there is none of this name, it is larger, or damaged.
            OSError: the stream cannot be read.
        """
        member = self._members.get(name)
        if member is None:
            raise ExportError(f"the export has no member {name}")
        if member.size > limit:
            raise ExportError(f"member {name} of {member.size} bytes, at most {limit}")
        header = member.local_header()
        if self._read(member.offset, len(header)) != header:
            raise ExportError(f"member {name} is headed by something else than the directory says")
        content = self._read(member.content_offset, member.size)
        if zlib.crc32(content) != member.crc:
            raise ExportError(f"member {name} is damaged")
        return content

    def _directory(self) -> Iterator[Member]:
        total = self._stream.seek(0, os.SEEK_END)
        if total < _TAIL_BYTES:
            raise ExportError(f"a file of {total} bytes is no export")
        tail = self._read(total - _TAIL_BYTES, _TAIL_BYTES)
        _, _, _, _, _, _, _, count, size, offset = _END64.unpack_from(tail)
        if count > MAX_MEMBERS or size > _MAX_DIRECTORY_BYTES:
            raise ExportError("not an export, or one of too many members")
        if tail != _tail(count, size, offset) or offset + size + _TAIL_BYTES != total:
            raise ExportError("not an export: it does not end as exports do, or was cut")
        yield from _members(self._read(offset, size), count, offset)

    def _read(self, offset: int, size: int) -> bytes:
        self._stream.seek(offset)
        content = self._stream.read(size)
        if len(content) != size:
            raise ExportError("the export was cut while it was read")
        return content


def _members(directory: bytes, count: int, content_end: int) -> Iterator[Member]:
    """The members of a directory, which must lie end to end up to the directory itself."""
    at, offset = 0, 0
    names = set()
    for _ in range(count):
        if len(directory) - at < _CENTRAL.size:
            raise ExportError("the directory of the export ends early")
        fields = _CENTRAL.unpack_from(directory, at)
        crc, size, name_bytes = fields[7], fields[8], fields[10]
        start = at + _CENTRAL.size
        # What is no ASCII fails the check of names.
        name = directory[start : start + name_bytes].decode("ascii", "replace")
        member = Member(name, size, crc, offset)
        header = member.central_header()
        if directory[at : at + len(header)] != header:
            raise ExportError(f"member {name} is not stored as members of exports are")
        if name in names:
            raise ExportError(f"two members named {name}")
        names.add(name)
        yield member
        at, offset = at + len(header), member.end
    if at != len(directory) or offset != content_end:
        raise ExportError("the export holds bytes that belong to no member")


def _tail(count: int, size: int, offset: int) -> bytes:
    """The end of the file: where the directory is, three times as the format asks."""
    end64 = _END64.pack(
        b"PK\x06\x06", _END64_REST, _MADE_BY, _VERSION, 0, 0, count, count, size, offset
    )
    locator = _LOCATOR.pack(b"PK\x06\x07", 0, offset + size, 1)
    end = _END.pack(b"PK\x05\x06", 0, 0, _IN_EXTRA_16, _IN_EXTRA_16, _IN_EXTRA_32, _IN_EXTRA_32, 0)
    return end64 + locator + end
