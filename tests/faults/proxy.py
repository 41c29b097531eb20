"""A TCP proxy whose connections can be cut at an exact moment, from any thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

BLOCK = 1 << 16


@dataclass
class Proxy:
    """Passes bytes on, both ways.

    Attributes:
        address: where it listens.
    """

    address: str
    _target: tuple[str, int]
    _listener: socket.socket
    _open: set[socket.socket] = field(default_factory=set)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _stalled: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def cut(self) -> int:
        """Break every connection; when it returns, no byte passes any more.  How many there were.

        Bytes that were passed on before may still be read at the other end.
        """
        with self._guard:
            broken, self._open = self._open, set()
        for end in broken:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(broken) // 2

    def stall(self) -> None:
        """From now on swallow what comes, as a peer does whose network is gone; close nothing."""
        self._stalled.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            with self._guard:
                self._open |= {near, far}
            directions = ((near, far), (far, near))
            passing = [threading.Thread(target=self._pass, args=ends) for ends in directions]
            self._threads += passing
            for thread in passing:
                thread.start()
            self._threads.append(threading.Thread(target=_close, args=(passing, (near, far))))
            self._threads[-1].start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(BLOCK):
                if not self._stalled.is_set():
                    target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _close(passing: list[threading.Thread], ends: tuple[socket.socket, socket.socket]) -> None:
    """Sockets are closed when nobody uses them, so that no other gets their numbers before."""
    for thread in passing:
        thread.join()
    for end in ends:
        end.close()


@contextlib.contextmanager
def proxied(address: str) -> Iterator[Proxy]:
    """A proxy in front of a server on loopback."""
    host, _, port = address.rpartition(":")
    listener = socket.create_server((host, 0))
    proxy = Proxy(f"{host}:{listener.getsockname()[1]}", (host, int(port)), listener)
    accepting = threading.Thread(target=proxy._accept)
    accepting.start()
    try:
        yield proxy
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        proxy.cut()
        for thread in proxy._threads:
            thread.join()
