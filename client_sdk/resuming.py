"""One request and its answer, across connections that break: what has arrived is not sent again.

Upwards the server says how much of a broken upload it still has, and the client goes on from there
if those are its own messages.  Downwards the client says how much of a broken answer it has.  Both
sides compare digests (`wire.transfer`), and begin anew when they differ.  Whatever a server says of
them, what is verified is the whole answer to the whole request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from client_sdk.metering import Traffic
from wire.inference import Response, ResponseAssembler, encode_continuation
from wire.transfer import Position, RunningDigest


class Exchange:
    """The messages of one request, as often as they are needed, and its answer so far."""

    def __init__(
        self,
        encode: Callable[[], Iterator[bytes]],
        assembler: Callable[[], ResponseAssembler],
        traffic: Callable[[], Traffic],
    ) -> None:
        """Begin.

        Args:
            encode: the request, its header first; the same bytes each time.
            assembler: a fresh one, for an answer that begins.
            traffic: a fresh count, for each connection.
        """
        self._encode = encode
        self._fresh = assembler
        self._traffic = traffic
        self._counted = traffic()
        self._assembler = assembler()
        self._received = RunningDigest()

    def header(self) -> bytes:
        """The first message; counting begins anew with it."""
        self._counted = self._traffic()
        return self._counted.count(next(self._encode()))

    def rest(self, held: Position | None) -> Iterator[bytes]:
        """The messages after it, but for those that the server has already.

        Args:
            held: what the server says it has.
        """
        if held is not None:
            messages = self._counted.counted(islice(self._encode(), 1, None))
            if Position.after(islice(messages, held.messages)) == held:
                yield encode_continuation(held)
                yield from messages
                return
        yield from self._counted.counted(islice(self._encode(), 1, None))

    @property
    def received(self) -> Position | None:
        """How far the answer has come; None if it has not begun."""
        return self._received.position

    def answered(self, continues: Position | None) -> None:
        """An answer arrives: from where the last one broke, or from its beginning."""
        if continues is None or continues != self.received:
            self._assembler = self._fresh()
            self._received = RunningDigest()

    def add(self, message: bytes) -> None:
        """Take the next message of the answer.  Raises EncodingError."""
        self._assembler.add(self._counted.count(message))
        self._received.add(message)

    @property
    def is_whole(self) -> bool:
        """Whether the last message of the answer is there: a connection may break after it."""
        return self._assembler.is_whole

    def finish(self) -> Response:
        """The whole answer.  Raises EncodingError."""
        return self._assembler.finish()
