"""What a client remembers of logs: whose key a server's log has, and how far each was verified.

A log's key is remembered when a first receipt under it was verified: from then on the server at
that address cannot begin another log unnoticed.  Of each log the largest head that was verified is
kept, whichever server, model or process it was met with: a log that does not extend it was cut,
rolled back, or is shown to others in another form.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from audit.errors import AuditError
from audit.head import Head
from audit.merkle import HASH_BYTES, MAX_SIZE
from audit.signed_note import NoteKey
from protocol.encoding import Value, expect_bytes, expect_int, expect_text, expect_tuple
from protocol.errors import EncodingError


class LogKeyError(AuditError):
    """A server's log has another key than the one that was pinned, or met before."""


@dataclass(frozen=True)
class KnownLog:
    """A log as far as it is known.

    Attributes:
        key: its key; the name in it is the log's origin.
        head: the largest that was verified; None before the first receipt.
    """

    key: NoteKey
    head: Head | None = None


@dataclass(frozen=True)
class LogMemory:
    """All logs of a store.

    Attributes:
        servers: key of the log, by the address of the server as the client was given it.
        heads: head of the log, by its key.
    """

    servers: dict[str, NoteKey] = field(default_factory=dict)
    heads: dict[NoteKey, Head] = field(default_factory=dict)

    def at(self, address: str) -> KnownLog | None:
        """The log of a server, None before its first receipt was verified."""
        key = self.servers.get(address)
        return None if key is None else self.of(key)

    def of(self, key: NoteKey) -> KnownLog:
        """A log by its key."""
        return KnownLog(key, self.heads.get(key))

    def advanced(self, address: str, seen: KnownLog, head: Head, *, pinned: bool) -> LogMemory:
        """With a verified head, unless something else than what was seen is kept by now.

        Whether it was advanced, `of(seen.key).head` tells: what is kept is never replaced by what
        was not joined to it.

        Raises:
            LogKeyError: the server has another log, and this one's key is not pinned.
        """
        if not pinned:
            require_known(self.at(address), seen.key)
        if self.of(seen.key).head not in {None, seen.head, head}:
            return self
        return replace(
            self,
            servers={**self.servers, address: seen.key},
            heads={**self.heads, seen.key: head},
        )

    def without(self, address: str) -> LogMemory:
        """Without what is known of a server's log."""
        forgotten = self.servers.get(address)
        return LogMemory(
            {other: key for other, key in self.servers.items() if key != forgotten},
            {key: head for key, head in self.heads.items() if key != forgotten},
        )

    def value(self) -> Value:
        """The canonical value."""
        return (
            tuple((address, self.servers[address].encoded()) for address in sorted(self.servers)),
            tuple(
                (key.encoded(), self.heads[key].size, self.heads[key].root)
                for key in sorted(self.heads, key=NoteKey.encoded)
            ),
        )

    @classmethod
    def from_value(cls, value: Value) -> LogMemory:
        """Rebuild from a decoded value.

        Raises:
            EncodingError, NoteError: malformed.
        """
        servers, heads = expect_tuple(value, "log memory", 2)
        pairs = [expect_tuple(item, "server", 2) for item in expect_tuple(servers, "servers")]
        triples = [expect_tuple(item, "head", 3) for item in expect_tuple(heads, "heads")]
        return cls(
            {expect_text(address, "address"): _key(key) for address, key in pairs},
            {_key(key): Head(_size(size), _root(root)) for key, size, root in triples},
        )


def require_known(known: KnownLog | None, found: NoteKey) -> None:
    """Refuse a log under another key than the one its server's log was known by.

    Raises:
        LogKeyError: with both keys, and what to do.
    """
    if known is not None and known.key != found:
        raise LogKeyError(
            f"the server's log had the key {known.key.encoded()}, now it has {found.encoded()}: "
            "its history can be another one.  If the operator confirms the new key, give it as "
            "log_key (--log-key)"
        )


def _key(value: Value) -> NoteKey:
    return NoteKey.decoded(expect_text(value, "log key"))


def _size(value: Value) -> int:
    size = expect_int(value, "size")
    if not 0 < size <= MAX_SIZE:
        raise EncodingError(f"a head of {size} entries")
    return size


def _root(value: Value) -> bytes:
    return expect_bytes(value, "root", HASH_BYTES)
