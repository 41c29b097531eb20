from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from client_sdk.streaming import (
    IN_FLIGHT,
    Piece,
    RequestPlan,
    async_pieces,
    in_order,
    in_order_async,
    pieces,
)
from protocol.errors import ModelError, RangeError, RequestError, ShapeError
from protocol.parameters import Packing


def cut(source: object, size: int) -> list[tuple[int, int]]:
    return [(piece.start, piece.count) for piece in pieces(source, size)]


def test_a_table_is_cut_in_rows_by_their_place():
    frame = pd.DataFrame({"a": range(5)}, index=[4.0, 3.0, 2.0, 1.0, 0.0])
    found = list(pieces(frame, 2))
    assert [list(piece.records["a"]) for piece in found] == [[0, 1], [2, 3], [4]]
    assert list(found[2].records.index) == [0.0]
    assert cut(np.zeros((5, 3)), 2) == [(0, 2), (2, 2), (4, 1)]


def test_records_are_gathered():
    rows = [{"a": number} for number in range(5)]
    for source in (rows, iter(rows), tuple(rows), (row for row in rows)):
        found = list(pieces(source, 2))
        assert [piece.records for piece in found] == [rows[:2], rows[2:4], rows[4:]]
        assert [piece.start for piece in found] == [0, 2, 4]
    assert cut([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], 2) == [(0, 2), (2, 1)]
    assert cut((np.zeros(3) for _ in range(3)), 2) == [(0, 2), (2, 1)]


def test_tables_of_an_iterable_are_cut_each_by_itself():
    source = [np.zeros((3, 2)), {"a": 1.0}, {"a": 2.0}, np.zeros((2, 2))]
    assert cut(iter(source), 2) == [(0, 2), (2, 1), (3, 2), (5, 2)]
    assert cut(iter(source), 4) == [(0, 3), (3, 2), (5, 2)]


@pytest.mark.parametrize(
    "record", [{"a": 1.0}, pd.Series({"a": 1.0}), np.array([1.0, 2.0]), [1.0, 2.0], (1, "red")]
)
def test_one_record_is_one_piece(record):
    assert cut(record, 1) == [(0, 1)]


def test_nothing_gives_nothing():
    assert cut([], 2) == cut(iter(()), 2) == cut(np.zeros((0, 3)), 2) == []


@pytest.mark.parametrize("source", ["abc", b"abc", 3, None])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(ShapeError, match="a stream takes a table"):
        cut(source, 2)


def test_an_asynchronous_source_is_cut_the_same():
    async def rows() -> AsyncIterator[object]:
        for number in range(3):
            yield {"a": number}
        yield np.zeros((3, 2))

    async def collect(source: object) -> list[tuple[int, int]]:
        return [(piece.start, piece.count) async for piece in async_pieces(source, 2)]

    assert asyncio.run(collect(rows())) == [(0, 2), (2, 1), (3, 2), (5, 1)]
    assert asyncio.run(collect(np.zeros((3, 2)))) == [(0, 2), (2, 1)]


def test_messages_count_rows_of_the_whole_stream(card):
    piece = Piece(np.array([[0.0, 0.0, 0.0], [0.0, 7.0, 0.0]]), start=4096, count=2)
    with pytest.raises(RangeError, match="column 'x1', row 4097: the value is outside"):
        piece.checked(card)


def test_the_plan_of_a_model(card):
    slots = card.profile(Packing.BATCH).parameters.slots
    assert RequestPlan.of(card) == RequestPlan(Packing.BATCH, slots)
    assert RequestPlan.of(card, batch=10) == RequestPlan(Packing.BATCH, 10)
    assert RequestPlan.of(card, batch=10 * slots).size == slots
    assert RequestPlan.of(card, batch=1) == RequestPlan(Packing.SINGLE, 1)
    assert RequestPlan.of(card, "batch", 1) == RequestPlan(Packing.BATCH, 1)
    assert RequestPlan.of(card, "single", 10) == RequestPlan(Packing.SINGLE, 1)
    single = replace(card, profiles=(card.profile(Packing.SINGLE),))
    assert RequestPlan.of(single) == RequestPlan(Packing.SINGLE, 1)
    batch = replace(card, profiles=(card.profile(Packing.BATCH),))
    assert RequestPlan.of(batch, batch=1) == RequestPlan(Packing.BATCH, 1)
    with pytest.raises(ModelError, match="does not offer"):
        RequestPlan.of(batch, "single")
    with pytest.raises(RequestError, match="expected 'auto'"):
        RequestPlan.of(card, "double")
    with pytest.raises(RequestError, match="at least one record"):
        RequestPlan.of(card, batch=0)


def test_answers_are_in_order_and_few_pieces_are_at_work():
    started: list[Future] = []
    taken = 0

    def source():
        nonlocal taken
        for piece in pieces(np.zeros((5, 1)), 1):
            taken += 1
            yield piece

    def start(piece: Piece) -> Future:
        future: Future = Future()
        started.append(future)
        if len(started) % 2 == 0:  # the later one is done first
            started[-1].set_result(piece.start)
            started[-2].set_result(piece.start - 1)
        elif piece.start == 4:
            future.set_result(4)
        return future

    answers = []
    for piece, result in in_order(source(), start):
        answers.append((piece.start, result))
        assert taken <= len(answers) + IN_FLIGHT - 1
    assert answers == [(number, number) for number in range(5)]


def test_what_is_at_work_is_cancelled_when_an_answer_fails_or_the_stream_is_closed():
    started: list[Future] = []

    def start(piece: Piece) -> Future:
        started.append(Future())
        if piece.start == 0:
            started[-1].set_exception(ModelError("refused"))
        return started[-1]

    with pytest.raises(ModelError):
        list(in_order(pieces(np.zeros((5, 1)), 1), start))
    assert started[1].cancelled()

    started.clear()

    def succeed(piece: Piece) -> Future:
        started.append(Future())
        if piece.start == 0:
            started[-1].set_result(0)
        return started[-1]

    stream = in_order(pieces(np.zeros((5, 1)), 1), succeed)
    assert next(stream)[1] == 0
    stream.close()
    assert started[1].cancelled()


def test_the_same_for_asyncio():
    async def answer(piece: Piece) -> int:
        await asyncio.sleep(0.01 * (3 - piece.start % 2))
        if piece.start == 3:
            raise ModelError("refused")
        return piece.start

    async def play() -> None:
        tasks: list[asyncio.Task] = []

        def start(piece: Piece) -> asyncio.Task:
            tasks.append(asyncio.create_task(answer(piece)))
            return tasks[-1]

        found = []

        async def walk() -> None:
            async for piece, result in in_order_async(async_pieces(np.zeros((9, 1)), 1), start):
                found.append((piece.start, result))
                assert sum(not task.done() for task in tasks) <= IN_FLIGHT

        with pytest.raises(ModelError):
            await walk()
        assert found == [(0, 0), (1, 1), (2, 2)]
        assert len(tasks) == 5
        assert tasks[4].cancelled()

    asyncio.run(play())
