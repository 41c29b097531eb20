"""Bytes and streams that are nearly right, or not at all; reproducible from a seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from wire.rpc import MAX_MESSAGE_BYTES

_SIZES = (0, 1, 2, 16, 32, 33, 200, 5000)
_OVERSIZED = 1 / 400
_FIELDS_BYTES = 300
"""Where the fields of most messages are; words follow."""


def junk(random: Random) -> bytes:
    """Bytes that are often nearly a message: a tag, a length, then anything."""
    body = random.randbytes(random.choice(_SIZES))
    if random.random() < 0.7:
        tag = random.randrange(1, 16) << 3 | random.choice((0, 2, 2, 2, 1, 5, 3, 4))
        length = random.choice((len(body), random.randrange(1 << 40)))
        body = _varint(tag) + _varint(length) + body
    return body


def altered(data: bytes, random: Random) -> bytes:
    """The same bytes with one thing wrong with them."""
    changed = bytearray(data)
    actions: list[Callable[[], object]] = [
        lambda: changed.extend(junk(random)),
        lambda: changed.__setitem__(slice(None), junk(random)),
    ]
    if changed:
        place = random.randrange(min(_FIELDS_BYTES, len(changed)))
        actions += [
            lambda: changed.__setitem__(place, changed[place] ^ 1 << random.randrange(8)),
            lambda: changed.__setitem__(place, random.randrange(256)),
            lambda: changed.__delitem__(slice(random.randrange(len(changed)), None)),
            lambda: changed.__delitem__(place),
            lambda: changed.insert(place, random.randrange(256)),
            lambda: changed.extend(changed[: random.randrange(len(changed)) + 1]),
        ]
    random.choice(actions)()
    return bytes(changed)


def stream(valid: list[bytes], random: Random) -> list[bytes]:
    """The messages of a call: random, or those of a valid one that are altered, cut or mixed up."""
    if random.random() < _OVERSIZED:
        return [random.randbytes(16) + bytes(MAX_MESSAGE_BYTES)]
    messages = list(valid)
    place = random.randrange(len(messages))
    actions: list[Callable[[], object]] = [
        lambda: messages.__setitem__(slice(None), [junk(random) for _ in range(place + 1)]),
        lambda: messages.__setitem__(place, altered(messages[place], random)),
        lambda: messages.__setitem__(place, altered(messages[place], random)),
        lambda: messages.__setitem__(0, altered(messages[0], random)),
        lambda: messages.__setitem__(slice(1, None), [junk(random)]),
        lambda: messages.__delitem__(slice(place, None)),
        lambda: messages.insert(place, messages[-1]),
        lambda: messages.insert(random.randrange(len(messages) + 1), junk(random)),
        lambda: random.shuffle(messages),
    ]
    random.choice(actions)()
    return messages


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
