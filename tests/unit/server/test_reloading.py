from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from protocol.errors import BlindproofError
from server.configuration import Configuration
from server.reloading import Configured, Reloading, stamps
from server.settings import ServerSettings

REQUIRED = {"tls_certificate": "c", "tls_key": "k", "models": "m", "state": "s"}
POLL = 0.01
SECONDS = 10.0


@dataclass
class Part:
    """Reads a file and refuses what does not begin with 'good'."""

    file: Path
    read: str = ""
    applied: list[str] = field(default_factory=list)
    settings: ServerSettings | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.file,)

    def prepare(self, settings: ServerSettings):
        text = self.file.read_text()
        self.read = text
        if not text.startswith("good"):
            raise BlindproofError(f"{text} is not good")

        def apply() -> None:
            self.applied.append(text)
            self.settings = settings

        return apply


@dataclass
class Scene:
    config: Path
    one: Part
    other: Part
    reloading: Reloading
    wanted: asyncio.Event
    lines: list

    def configure(self, *lines: str) -> None:
        required = (f'{name} = "{value}"' for name, value in REQUIRED.items())
        text = "\n".join((*required, f"reload_seconds = {POLL}", *lines))
        self.config.write_text(text)

    async def until(self, count: int) -> None:
        """Wait until there are so many lines of a log."""
        async with asyncio.timeout(SECONDS):
            while len(self.lines) < count:  # noqa: ASYNC110 -- nobody announces them
                await asyncio.sleep(POLL)


@pytest.fixture
def scene(tmp_path) -> Iterator[Scene]:
    parts = [Part(tmp_path / name) for name in ("one", "other")]
    for part in parts:
        part.file.write_text("good")
    config = tmp_path / "blindproof.toml"
    wanted = asyncio.Event()
    with capture_logs() as lines:
        made = Scene(config, *parts, None, wanted, lines)
        made.configure()
        configuration = Configuration(config)
        made.reloading = Reloading(configuration, configuration.settings(), parts, wanted)
        yield made


@pytest.mark.accepts("C-108")
@pytest.mark.asyncio
async def test_settings_that_may_change_are_handed_to_the_parts(scene):
    scene.configure("idle_seconds = 1", 'listen = "127.0.0.1:1"')
    assert await scene.reloading.reload()
    assert scene.reloading.settings.idle_seconds == 1.0
    assert scene.one.settings.idle_seconds == 1.0
    # Needs a restart: said, and not pretended.
    assert scene.reloading.settings.listen == scene.one.settings.listen == "127.0.0.1:50443"
    (line,) = scene.lines
    assert (line["event"], line["changed"], line["need_restart"]) == (
        "reloaded",
        ["idle_seconds"],
        ["listen"],
    )


@pytest.mark.asyncio
async def test_a_function_is_a_part(scene):
    seen = []
    reloading = Reloading(
        Configuration(scene.config), scene.reloading.settings, [Configured(seen.append)]
    )
    scene.configure("idle_seconds = 1")
    assert await reloading.reload()
    assert [settings.idle_seconds for settings in seen] == [1.0]


@pytest.mark.rejects("C-108")
@pytest.mark.parametrize("bad", ["one", "other", "file"])
@pytest.mark.asyncio
async def test_nothing_is_put_into_force_if_anything_is_wrong(scene, bad: str):
    for part in (scene.one, scene.other):
        part.file.write_text("bad" if part.file.name == bad else "good again")
    scene.configure("idle_seconds = 0" if bad == "file" else "idle_seconds = 1")
    before = scene.reloading.settings
    assert not scene.reloading.refused
    assert not await scene.reloading.reload()
    assert scene.reloading.refused
    assert scene.reloading.settings is before
    assert scene.one.applied == scene.other.applied == []
    (line,) = scene.lines
    assert (line["event"], line["log_level"]) == ("not reloaded: all stays as it was", "error")
    assert ("idle_seconds" if bad == "file" else "bad is not good") in line["error"]

    scene.configure("idle_seconds = 1")
    for part in (scene.one, scene.other):
        part.file.write_text("good at last")
    assert await scene.reloading.reload()
    assert not scene.reloading.refused
    assert scene.one.applied == scene.other.applied == ["good at last"]


@pytest.mark.asyncio
async def test_a_file_that_changes_is_read_once_it_has_settled(scene):
    async with scene.reloading.watching():
        await asyncio.sleep(5 * POLL)
        assert not scene.lines  # nothing has changed
        scene.other.file.write_text("good, changed")
        await scene.until(1)
        assert scene.other.applied == ["good, changed"]
        scene.configure("header_seconds = 3")
        await scene.until(2)
        assert scene.reloading.settings.header_seconds == 3.0
        draft = scene.one.file.with_suffix(".new")
        draft.write_text("good, renamed")
        draft.replace(scene.one.file)
        await scene.until(3)
        assert scene.one.applied[-1] == "good, renamed"


@pytest.mark.asyncio
async def test_nothing_is_read_while_files_still_change(scene, monkeypatch):
    looks, reloads = [], []
    states = iter([{}, *({scene.config: (0, 0, number, 0)} for number in (1, 2, 3, 3, 3, 3))])

    def look():
        looks.append(next(states, {scene.config: (0, 0, 3, 0)}))
        return looks[-1]

    async def reload():
        reloads.append(len(looks))
        return True

    monkeypatch.setattr(scene.reloading, "_stamps", look)
    monkeypatch.setattr(scene.reloading, "reload", reload)
    scene.reloading._settings = scene.reloading.settings.model_copy(update={"reload_seconds": POLL})
    async with scene.reloading.watching():
        async with asyncio.timeout(SECONDS):
            while len(looks) < 8:  # noqa: ASYNC110 -- nobody announces them
                await asyncio.sleep(POLL)
    assert reloads == [5]  # the first look that found what the one before had found


@pytest.mark.asyncio
async def test_what_changes_while_the_server_starts_is_not_missed(scene):
    read = stamps((scene.config, scene.one.file, scene.other.file))
    scene.one.file.write_text("good, and another size")
    reloading = Reloading(
        Configuration(scene.config),
        scene.reloading.settings,
        (scene.one, scene.other),
        seen=read,
    )
    async with reloading.watching():
        await scene.until(1)
        await asyncio.sleep(5 * POLL)
    assert scene.one.applied == ["good, and another size"]


@pytest.mark.asyncio
async def test_what_is_bad_is_said_once_and_judged_again_when_it_changes(scene):
    async with scene.reloading.watching():
        scene.one.file.write_text("bad")
        await scene.until(1)
        await asyncio.sleep(10 * POLL)
        assert len(scene.lines) == 1
        scene.one.file.unlink()
        await scene.until(2)
        scene.one.file.write_text("good after all")
        await scene.until(3)
    assert scene.one.applied == ["good after all"]


@pytest.mark.asyncio
async def test_who_wants_it_has_everything_read_again(scene):
    async with scene.reloading.watching():
        scene.wanted.set()
        await scene.until(1)
        assert not scene.wanted.is_set()
    assert scene.one.applied == ["good"]


@pytest.mark.asyncio
async def test_nobody_watches_any_more_at_the_end(scene):
    async with scene.reloading.watching():
        pass
    scene.wanted.set()
    await asyncio.sleep(5 * POLL)
    assert not scene.lines
