"""Lines about failures, and libraries' lines, say what failed and where, and quote nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings

import pytest
import structlog

from audit.errors import LogUnavailableError
from audit.failures import MAX_CAUSES, failure
from audit.output import configure_logging

NAME = "Wilhelmina Quackenbush"


@pytest.fixture
def lines(capsys, output_restored):
    """Configures output as services have it; reads back what was written."""
    configure_logging()
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def raised(work):
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- any
        work()
    return caught.value


def test_words_of_python_and_libraries_are_left_out_and_the_place_is_named():
    shown = failure(raised(lambda: int(NAME)))
    assert shown.startswith("ValueError\n")
    assert "unit/audit/test_failures.py:" in shown
    assert NAME not in shown


def test_words_of_this_project_and_of_the_system_are_kept():
    def work():
        try:
            open(f"/nowhere/{NAME}")  # noqa: PTH123, SIM115
        except OSError as error:
            raise LogUnavailableError("the disk is gone") from error

    shown = failure(raised(work))
    assert "LogUnavailableError: the disk is gone" in shown
    assert "FileNotFoundError: No such file or directory" in shown
    assert NAME not in shown


def test_causes_are_shown_in_their_order_and_not_without_end():
    error = ValueError()
    for _ in range(3 * MAX_CAUSES):
        error, cause = KeyError(), error
        error.__cause__ = cause
    assert failure(error).count("KeyError") == MAX_CAUSES
    hidden = KeyError()
    hidden.__context__, hidden.__suppress_context__ = ValueError(), True
    assert failure(hidden) == "KeyError"


@pytest.mark.parametrize("given", [True, "error", "tuple"])
def test_a_line_shows_its_failure(lines, given):
    log = structlog.get_logger("blindproof.server")
    try:
        raise ValueError(NAME)
    except ValueError as error:
        kinds = {"error": error, "tuple": (ValueError, error, error.__traceback__)}
        log.exception("call failed", exc_info=kinds.get(given, given))
    (line,) = lines()
    assert line.keys() == {"time", "level", "event", "exception"}
    assert line["exception"].startswith("ValueError")
    assert NAME not in json.dumps(line)


def test_a_librarys_line_is_json_too_and_says_nothing_that_was_filled_in(lines):
    logging.getLogger("opentelemetry.sdk").error("cannot parse %s", NAME)
    logging.getLogger("some.library").error(f"cannot parse {NAME}")  # noqa: G004
    try:
        raise ValueError(NAME)
    except ValueError:
        logging.getLogger("asyncio").exception("failed\n%s", NAME)
    logging.getLogger("some.library").info("details")
    known, unknown, failed = lines()
    assert (known["event"], known["level"], known["library"]) == (
        "cannot parse %s", "error", "opentelemetry.sdk",
    )  # fmt: skip
    assert unknown["event"] == "a library's line"
    assert unknown["place"].startswith("test_failures:")
    assert failed["exception"].startswith("ValueError")
    assert NAME not in json.dumps([known, unknown, failed])


def test_a_warning_is_a_line_with_its_kind_and_place(lines):
    configure_logging()  # pytest takes it back between a test and its fixtures
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(NAME, stacklevel=1)
    (line,) = lines()
    assert (line["level"], line["category"]) == ("warning", "UserWarning")
    assert line["place"].startswith("test_failures:")
    assert NAME not in json.dumps(line)


def test_a_task_that_nobody_awaits_does_not_tell_what_it_worked_on(lines):
    async def work():
        raise ValueError(NAME)

    async def lose():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        del task

    asyncio.run(lose())
    (line,) = lines()
    assert line["event"] == "Task exception was never retrieved"
    assert NAME not in json.dumps(line)
