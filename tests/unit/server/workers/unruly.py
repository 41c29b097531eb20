"""A worker which does as the proof of an enrolment tells it, instead of verifying it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

from server.workers.frames import Frame, Kind, receive_frame, send_frame

VERIFIED = Frame(Kind.VERIFIED, (0,))
TOLD = (
    b"ok",
    b"die",
    b"hang",
    b"pause",
    b"grow",
    b"lie",
    b"nonsense",
    b"want",
)


def obey(connection: socket.socket, told: bytes) -> None:
    if told == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if told == b"hang":
        time.sleep(600)
    if told == b"pause":
        time.sleep(0.3)
    if told == b"grow":
        send_frame(connection, Frame(Kind.VERIFIED, (1 << 50,)))
    elif told == b"lie":
        send_frame(connection, Frame(Kind.ANSWER, (0,)))
    elif told == b"nonsense":
        connection.sendall(b"\xff" * 64)
    elif told == b"want":
        send_frame(connection, Frame(Kind.WANTED, (bytes(32),)))
    else:
        send_frame(connection, VERIFIED)


def main(log: str, descriptor: str) -> None:
    """Serve a socket; each start leaves a line in a file."""
    with Path(log).open("a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    with socket.socket(fileno=int(descriptor)) as connection:
        receive_frame(connection)
        send_frame(connection, Frame(Kind.READY, (0,)))
        while (frame := receive_frame(connection)) is not None:
            obey(connection, next(word for word in TOLD if frame.blobs[0].endswith(word)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
