"""Exports that somebody rewrote: one thing altered, and all hashes of the file made to fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from io import BytesIO
from itertools import pairwise

from blindproof.auditing.container import ContainerReader, ContainerWriter
from blindproof.auditing.manifest import MANIFEST, Kind, Manifest, receipt_index

Members = dict[str, bytes]


class Alteration(StrEnum):
    """What somebody might want the trail to say."""

    OUTPUT = "one bit of an answer"
    ACTOR = "who had asked"
    REMOVAL = "the first request, taken out"
    EXCHANGE = "two answers, exchanged"


def altered(export: bytes, alteration: Alteration) -> bytes:
    """The file with one thing altered, and otherwise as it would have been written."""
    return with_members(export, _ALTERATIONS[alteration])


def with_members(export: bytes, change: Callable[[Members], None]) -> bytes:
    """The file with members changed in place, and a manifest that lists them as they are now."""
    reader = ContainerReader(BytesIO(export))
    members = {name: reader.read(name) for name in reader.names}
    manifest = Manifest.decoded(members.pop(MANIFEST))
    change(members)
    listed = {name: hashlib.sha256(content).digest() for name, content in members.items()}
    members[MANIFEST] = replace(manifest, members=listed).encoded()
    return written(members)


def written(members: Members) -> bytes:
    """A file of these members."""
    stream = BytesIO()
    writer = ContainerWriter(stream)
    for name, content in members.items():
        writer.add(name, content)
    writer.finish()
    return stream.getvalue()


def flipped(content: bytes, at: int) -> bytes:
    """The same bytes but for one bit."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def _flip_output(members: Members) -> None:
    name = _of(members, Kind.RESPONSE)[0]
    members[name] = flipped(members[name], len(members[name]) // 4)


def _change_actor(members: Members) -> None:
    name = next(name for name in members if receipt_index(name) is not None)
    content = json.loads(members[name])
    content["receipt"]["actor"] = "somebody-else"
    members[name] = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _remove_first(members: Members) -> None:
    """Later receipts move up, as in a log that never had the first."""
    names = [name for name in members if receipt_index(name) is not None]
    for name, following in pairwise(names):
        content = json.loads(members[following])
        content["index"] -= 1
        members[name] = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    del members[names[-1]]


def _exchange_answers(members: Members) -> None:
    first, second = _of(members, Kind.RESPONSE)[:2]
    members[first], members[second] = members[second], members[first]


def _of(members: Members, kind: Kind) -> list[str]:
    return [name for name in members if name.startswith(f"{kind}/")]


_ALTERATIONS: dict[Alteration, Callable[[Members], None]] = {
    Alteration.OUTPUT: _flip_output,
    Alteration.ACTOR: _change_actor,
    Alteration.REMOVAL: _remove_first,
    Alteration.EXCHANGE: _exchange_answers,
}
