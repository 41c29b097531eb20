"""What runs beside the calls, and what is said when it cannot."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace

import pytest

from audit.errors import ArchiveUnavailableError
from audit.retention import Swept
from server import trail_tasks
from server.extras import ExtraMissingError
from server.settings import ServerSettings
from server.trail_tasks import page, sweeping, witnesses

FILES = SimpleNamespace(archive=None, log=None, key=None)
NO_TLS = SimpleNamespace()


def settings(tmp_path, **changes) -> ServerSettings:
    required = ("tls_certificate", "tls_key", "models", "state")
    return ServerSettings(**dict.fromkeys(required, tmp_path), **changes)


async def entered(context, seconds: float = 0.0):
    async with context as value:
        await asyncio.sleep(seconds)
        return value


@pytest.mark.parametrize("error", [ArchiveUnavailableError("gone"), OSError(28, "full")])
def test_a_sweep_that_fails_is_tried_again(tmp_path, monkeypatch, error):
    swept = []

    def sweep(*_: object) -> Swept:
        swept.append(None)
        if len(swept) == 1:
            raise error
        return Swept(0, 0, 0, 0)

    monkeypatch.setattr(trail_tasks, "sweep", sweep)
    monkeypatch.setattr(trail_tasks, "SWEEP_SECONDS", 0.01)
    asyncio.run(entered(sweeping(settings(tmp_path), FILES), 0.5))
    assert len(swept) > 1


def test_without_settings_there_are_neither_witnesses_nor_a_page(tmp_path):
    assert asyncio.run(entered(witnesses(settings(tmp_path), FILES))) is None
    assert asyncio.run(entered(page(settings(tmp_path), FILES, NO_TLS))) is None


@pytest.mark.parametrize(
    ("task", "module", "extra"),
    [(witnesses, "server.witnesses", "witness"), (page, "server.page", "web")],
)
def test_what_is_not_installed_is_named(tmp_path, monkeypatch, task, module, extra):
    setting = {"audit_witnesses": "policy"} if task is witnesses else {"audit_page": "host:0"}
    monkeypatch.setitem(sys.modules, module, None)
    further = () if task is witnesses else (NO_TLS,)
    with pytest.raises(ExtraMissingError, match=rf"pip install 'blindproof\[{extra}\]'"):
        asyncio.run(entered(task(settings(tmp_path, **setting), FILES, *further)))
