from __future__ import annotations

from client_sdk.metering import Traffic


def test_parts_grow_to_the_whole_and_not_beyond():
    parts: list[float] = []
    traffic = Traffic(100, parts.append)
    assert list(traffic.counted([b"x" * 10, b"x" * 40])) == [b"x" * 10, b"x" * 40]
    assert traffic.count(b"x" * 70) == b"x" * 70
    assert parts == [0.1, 0.5, 1.0]


def test_messages_are_counted_when_they_are_taken():
    parts: list[float] = []
    messages = Traffic(4, parts.append).counted([b"12", b"34"])
    assert parts == []
    next(messages)
    assert parts == [0.5]


def test_nothing_expected_is_no_division_by_zero():
    parts: list[float] = []
    Traffic(0, parts.append).count(b"")
    assert parts == [0.0]
