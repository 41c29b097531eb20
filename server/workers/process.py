"""A worker as its server sees it: a process at the other end of a socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from protocol.encoding import expect_bytes, expect_int
from protocol.errors import BlindproofError, EncodingError
from server.workers.frames import Frame, Kind, read_frame
from server.workers.sizing import THREADS_VARIABLE

START_SECONDS = 60.0
"""Of a loaded machine: imports take half a second of an idle one."""
COMMAND = (sys.executable, "-P", "-m", "server.workers")
_KEPT_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
"""Nothing else of the server's environment is a worker's business, secrets least of all."""

_READ_AHEAD_BYTES = 1 << 20

Supply = Mapping[bytes, Callable[[], tuple[bytes, ...]]]
"""What a worker may ask for by digest."""


class WorkerLostError(BlindproofError):
    """A worker ended, could not be started, or said what makes no sense."""


class WorkerProcess:
    """A running worker.

    Attributes:
        gone: done once nothing more comes from it.
        resident_bytes: the memory it had when it last said so.
        answered: works it has done.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._replies: asyncio.Queue[Frame | None] = asyncio.Queue()
        self.gone = asyncio.create_task(self._receive())
        self.resident_bytes = 0
        self.answered = 0

    @classmethod
    async def start(
        cls, secret: bytes, threads: int, command: Sequence[str] = COMMAND
    ) -> WorkerProcess:
        """Start a worker and wait until it is ready.

        Args:
            secret: the server's, from which workers make the same noise for the same request.
            threads: it computes with.
            command: what to run, without the socket's descriptor and the server's process id.

        Raises:
            WorkerLostError: it ended instead, or takes too long.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                # In this thread: Linux ends a worker with the thread that started it.
                process = subprocess.Popen(  # noqa: ASYNC220, S603 -- milliseconds; our own program
                    [*command, str(theirs.fileno()), str(os.getpid())],
                    env=environment(threads),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_READ_AHEAD_BYTES)
        except OSError as error:
            ours.close()
            raise WorkerLostError(f"a worker cannot be started: {error.strerror}") from error
        worker = cls(process, reader, writer)
        try:
            async with asyncio.timeout(START_SECONDS):
                ready = await worker._ask(Frame(Kind.CONFIGURE, (secret,)))
                worker._note(ready, Kind.READY)
        except (WorkerLostError, TimeoutError) as error:
            status = await worker.end()
            raise WorkerLostError(f"a worker did not start: status {status}") from error
        except BaseException:
            await worker.end()
            raise
        return worker

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is known to have ended, or to say nothing more."""
        return self.gone.done() or self._process.poll() is not None

    async def perform(self, work: Frame, supply: Supply) -> Frame:
        """Have something done; one thing at a time.

        Args:
            work: a frame of work.
            supply: what the worker may ask for meanwhile.

        Returns:
            The reply, without the part that is about the worker.

        Raises:
            WorkerLostError: the worker is of no more use.
        """
        reply = await self._ask(work)
        while reply.kind is Kind.WANTED:
            reply = await self._ask(_supplied(reply, supply))
        done = Kind.ANSWER if work.kind is Kind.INFER else Kind.VERIFIED
        reply = self._note(reply, Kind.REFUSED if reply.kind is Kind.REFUSED else done)
        self.answered += 1
        return reply

    def kill(self) -> None:
        """End the process now, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    async def end(self) -> int:
        """Kill the process, and wait until it is gone; its status."""
        self.kill()
        self._writer.close()
        self.gone.cancel()
        waiting = asyncio.ensure_future(asyncio.to_thread(self._process.wait))
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        return await asyncio.shield(waiting)

    async def _receive(self) -> None:
        """Keep what comes, None at the end."""
        try:
            while True:
                self._replies.put_nowait(await read_frame(self._reader))
        except (asyncio.IncompleteReadError, OSError, EncodingError):
            pass
        finally:
            self._replies.put_nowait(None)

    async def _ask(self, frame: Frame) -> Frame:
        """Send a frame and wait for one.  Raises WorkerLostError."""
        try:
            self._writer.writelines(frame.pieces())
            await self._writer.drain()
        except OSError as error:
            raise WorkerLostError("a worker has gone") from error
        reply = await self._replies.get()
        if reply is None:
            self._replies.put_nowait(None)  # for whoever asks after that
            raise WorkerLostError("a worker has gone")
        return reply

    def _note(self, reply: Frame, expected: Kind) -> Frame:
        """Take what a reply says of the worker out of it.  Raises WorkerLostError."""
        if reply.kind is not expected or not reply.fields:
            raise WorkerLostError(f"a worker replied '{reply.kind}'")
        try:
            self.resident_bytes = expect_int(reply.fields[0], "memory")
        except EncodingError as error:
            raise WorkerLostError("a worker replied what makes no sense") from error
        return Frame(reply.kind, reply.fields[1:], reply.blobs)


def environment(threads: int) -> dict[str, str]:
    """Of a worker: where to find this program, in how many threads to compute, little else."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
        THREADS_VARIABLE: str(threads),
        "OPENBLAS_NUM_THREADS": "1",
    }


def _supplied(wanted: Frame, supply: Supply) -> Frame:
    """Raises WorkerLostError: what it wants is not part of what it was asked."""
    try:
        (digest,) = wanted.fields
        return Frame(Kind.SUPPLY, (), supply[expect_bytes(digest, "digest")]())
    except (EncodingError, KeyError, ValueError) as error:
        raise WorkerLostError("a worker wants what it was not asked about") from error
