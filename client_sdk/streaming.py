"""Tables of any length, request by request.

`predict` checks a whole table, sends all of it and returns one `Result`.  `stream` takes what does
not fit into memory, or is not there yet: it cuts records into requests, keeps two of them at work,
so that one is encrypted while the server answers the other, and gives each one's result away.
What it cannot do is refuse a bad record before the first request is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from client_sdk.records import DataFrame, RawRecords, Records, Series, raw_values
from client_sdk.result import Result
from protocol.errors import RequestError, ShapeError
from protocol.model import ModelCard
from protocol.parameters import Packing
from wire.files import make_private_directory

if TYPE_CHECKING:
    from client_sdk.aio import AsyncClient

IN_FLIGHT = 2
"""Requests at work: one at the server, and the next being encrypted or the last being verified.
Each may take the memory a client allows for one."""

Source: TypeAlias = Records | Iterable[Any]
"""A table, or whatever gives records or smaller tables one by one: a generator, a `csv.DictReader`,
`pandas.read_csv(..., chunksize=...)`."""

AsyncSource: TypeAlias = Source | AsyncIterable[Any]

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of records answered so far."""


@dataclass(frozen=True, eq=False, repr=False)
class Piece:
    """The records of one request.

    Attributes:
        records: as `predict` takes them.
        start: how many came before them.
        count: how many they are.
    """

    records: Records
    start: int
    count: int

    def checked(self, card: ModelCard) -> RawRecords:
        """As raw values; messages name rows as the whole stream counts them.

        Raises:
            InputError: see `client_sdk.records.raw_values`.
        """
        return RawRecords(raw_values(card, self.records, lambda row: f"row {self.start + row}"))


@dataclass(frozen=True)
class RequestPlan:
    """What the requests of a stream have in common.

    Attributes:
        packing: of every request, the last and perhaps shorter one too.
        size: records of a request at most.
    """

    packing: Packing
    size: int

    @classmethod
    def of(cls, card: ModelCard, packing: str = "auto", batch: int | None = None) -> RequestPlan:
        """The plan for a model.

        Args:
            card: the model's.
            packing: 'batch', 'single', or 'auto': batch where the model offers it, unless requests
                are to have one record.
            batch: records of a request; no more than its packing holds, and as many if None.

        Raises:
            RequestError: an unknown packing, or no records in a request.
            ModelError: a packing that the model does not offer.
        """
        if batch is not None and batch < 1:
            raise RequestError(f"a request needs at least one record, not {batch}")
        offered = [profile.packing for profile in card.profiles]
        if packing == "auto":
            wanted = Packing.SINGLE if batch == 1 else Packing.BATCH
            chosen = wanted if wanted in offered else offered[0]
        elif packing in list(Packing):
            chosen = Packing(packing)
        else:
            raise RequestError(f"packing {packing!r}: expected 'auto', 'batch' or 'single'")
        parameters = card.profile(chosen).parameters
        holds = 1 if chosen is Packing.SINGLE else parameters.slots
        return cls(chosen, holds if batch is None else min(batch, holds))


@dataclass(eq=False)
class Cutter:
    """Cuts what it is given, records or tables, into pieces of one size."""

    size: int
    _start: int = field(default=0, init=False)
    _gathered: list[Any] = field(default_factory=list, init=False)

    def add(self, item: object) -> Iterator[Piece]:
        """A record, or a table: the pieces that are complete with it."""
        if not _is_table(item):
            self._gathered.append(item)
            if len(self._gathered) == self.size:
                yield from self.rest()
            return
        yield from self.rest()
        table: Any = item
        rows = getattr(table, "iloc", table)  # by place, whatever a data frame's index is
        for start in range(0, len(table), self.size):
            part = rows[start : start + self.size]
            yield self._piece(part, len(part))

    def rest(self) -> Iterator[Piece]:
        """What has been gathered, if anything."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            yield self._piece(gathered, len(gathered))

    def _piece(self, records: Records, count: int) -> Piece:
        piece = Piece(records, self._start, count)
        self._start += count
        return piece


def pieces(source: Source, size: int) -> Iterator[Piece]:
    """Cut a source into pieces; one that yields tables gives no piece across two of them."""
    cutter = Cutter(size)
    for item in _items(source):
        yield from cutter.add(item)
    yield from cutter.rest()


async def async_pieces(source: AsyncSource, size: int) -> AsyncIterator[Piece]:
    """The same of an asynchronous source too.  Others are read in the event loop."""
    if not isinstance(source, AsyncIterable):
        for piece in pieces(source, size):
            yield piece
        return
    cutter = Cutter(size)
    async for item in source:
        for piece in cutter.add(item):
            yield piece
    for piece in cutter.rest():
        yield piece


class Archive:
    """Takes note of answers in the order of their records: evidence to files, and how far it is."""

    def __init__(self, directory: str | Path | None, progress: Progress | None) -> None:
        """Open.

        Args:
            directory: where every request's evidence and receipt go, in files of their own; made
                if missing; None: nowhere.
            progress: told the number of records answered.

        Raises:
            OSError: the directory cannot be made.
        """
        self._directory = None if directory is None else make_private_directory(Path(directory))
        self._progress = progress
        self._numbers = count(1)
        self._answered = 0

    def add(self, result: Result) -> None:
        """One request was answered.

        Raises:
            EncodingError, OSError: evidence or receipt cannot be written; see `Result.save`.
        """
        number = next(self._numbers)
        if self._directory is not None:
            name = f"{number:06d}-{result.evidence[0].request.request_id.hex()}"
            result.save(self._directory / f"{name}.evidence")
            result.save_receipt(self._directory / f"{name}.receipt.json")
        self._answered += len(result.values)
        if self._progress is not None:
            self._progress(self._answered)


async def ask(client: AsyncClient, card: ModelCard, piece: Piece, plan: RequestPlan) -> Result:
    """Check and predict one piece.  Raises BlindproofError."""
    return await client.predict(await asyncio.to_thread(piece.checked, card), plan.packing)


def in_order(
    source: Iterable[Piece], start: Callable[[Piece], Future[Result]]
) -> Generator[tuple[Piece, Result], None, None]:
    """Keep up to `IN_FLIGHT` pieces at work; give the answers in the order of the pieces.

    What is still at work when the generator is closed, or an answer fails, is cancelled.
    """
    waiting: deque[tuple[Piece, Future[Result]]] = deque()

    def first() -> tuple[Piece, Result]:
        piece, future = waiting[0]
        result = future.result()
        waiting.popleft()
        return piece, result

    try:
        for piece in source:
            waiting.append((piece, start(piece)))
            if len(waiting) == IN_FLIGHT:
                yield first()
        while waiting:
            yield first()
    finally:
        for _, future in waiting:
            future.cancel()


async def in_order_async(
    source: AsyncIterable[Piece], start: Callable[[Piece], asyncio.Task[Result]]
) -> AsyncGenerator[tuple[Piece, Result], None]:
    """The same for asyncio; what is cancelled has ended before this returns."""
    waiting: deque[tuple[Piece, asyncio.Task[Result]]] = deque()

    async def first() -> tuple[Piece, Result]:
        piece, task = waiting[0]
        result = await task
        waiting.popleft()
        return piece, result

    try:
        async for piece in source:
            waiting.append((piece, start(piece)))
            if len(waiting) == IN_FLIGHT:
                yield await first()
        while waiting:
            yield await first()
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)


async def stream_pieces(
    client: AsyncClient,
    source: AsyncSource,
    *,
    packing: str = "auto",
    batch: int | None = None,
    evidence: str | Path | None = None,
    progress: Progress | None = None,
) -> AsyncGenerator[tuple[Piece, Result], None]:
    """The records of each request beside its result; arguments are those of `Client.stream`.

    Raises:
        BlindproofError: see `Client.stream`.
    """
    card = (await client.model()).card
    plan = RequestPlan.of(card, packing, batch)
    archive = Archive(evidence, progress)

    def start(piece: Piece) -> asyncio.Task[Result]:
        return asyncio.create_task(ask(client, card, piece, plan))

    async with contextlib.aclosing(in_order_async(async_pieces(source, plan.size), start)) as done:
        async for piece, result in done:
            await asyncio.to_thread(archive.add, result)
            yield piece, result


def _items(source: Source) -> Iterable[Any]:
    """A table, or one record, is all there is; anything else is walked through."""
    if _is_table(source) or isinstance(source, Mapping | Series | np.ndarray):
        return (source,)
    if isinstance(source, list | tuple) and source and isinstance(source[0], Number | str):
        return (source,)  # one record's values
    if not isinstance(source, Iterable) or isinstance(source, str | bytes):
        raise ShapeError(
            "a stream takes a table, or an iterable of records or tables, not "
            f"'{type(source).__name__}'"
        )
    return source


def _is_table(item: object) -> bool:
    if isinstance(item, np.ndarray):
        return item.ndim > 1
    return isinstance(item, DataFrame)
