"""One worker: does what its server sends, one thing after another, and ends with it.

A thread of its own listens to the server, so that the worker ends the moment the connection does,
whatever it is computing: a server that was killed leaves nobody behind.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import structlog

from protocol.encoding import expect_bytes
from protocol.errors import EncodingError
from server.inference import SECRET_BYTES, InferenceEngine
from server.workers.evaluator import Evaluator
from server.workers.frames import Frame, Kind, receive_frame, send_frame

_log = structlog.get_logger("blindproof.worker")


class Worker:
    """Answers the frames of one server.

    Attributes:
        connection: to the server.
        incoming: its frames in their order, None when there will be no more.
    """

    def __init__(
        self, connection: socket.socket, incoming: SimpleQueue[Frame | None], secret: bytes
    ) -> None:
        self._connection = connection
        self._incoming = incoming
        self._evaluator = Evaluator(InferenceEngine(secret), self._wanted)

    def run(self) -> None:
        """Answer until the server has gone."""
        self._send(Frame(Kind.READY, (resident_bytes(),)))
        while (frame := self._incoming.get()) is not None:
            reply = self._evaluator.reply(frame)
            self._send(replace(reply, fields=(resident_bytes(), *reply.fields)))

    def _wanted(self, digest: bytes) -> tuple[bytes, ...]:
        """Ask the server for what is not at hand."""
        self._send(Frame(Kind.WANTED, (digest,)))
        frame = self._incoming.get()
        if frame is None or frame.kind is not Kind.SUPPLY:
            raise EncodingError("the server did not supply what was wanted")
        return frame.blobs

    def _send(self, frame: Frame) -> None:
        send_frame(self._connection, frame)


def listen(
    connection: socket.socket, incoming: SimpleQueue[Frame | None], gone: Callable[[], None]
) -> None:
    """Pass frames on in a thread, until the server has gone or says what is no frame.

    Args:
        connection: to the server.
        incoming: takes the frames, None at the end.
        gone: called at the end.
    """

    def receive() -> None:
        try:
            while (frame := receive_frame(connection)) is not None:
                incoming.put(frame)
        except EncodingError:
            _log.exception("the server sent what is no frame")
        incoming.put(None)
        gone()

    threading.Thread(target=receive, name="blindproof-listen", daemon=True).start()


def work_for(connection: socket.socket) -> None:
    """Serve one server until it is gone, then end this process."""
    incoming: SimpleQueue[Frame | None] = SimpleQueue()
    listen(connection, incoming, lambda: os._exit(0))
    first = incoming.get()
    if first is None or first.kind is not Kind.CONFIGURE or len(first.fields) != 1:
        raise EncodingError("a worker is configured first")
    secret = expect_bytes(first.fields[0], "secret", SECRET_BYTES)
    Worker(connection, incoming, secret).run()


def resident_bytes() -> int:
    """Memory this process has; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
