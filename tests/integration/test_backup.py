"""A server that is gone, and one that is made from its backup in its place."""

from __future__ import annotations

import shutil
import threading
from contextlib import closing, contextmanager

import pytest

from audit.errors import ConsistencyError
from blindproof.loopback import server_thread
from client_sdk import Client, KeyStore, Phase
from client_sdk.log_memory import LogKeyError
from server.backup import back_up, restore
from server.settings import ServerSettings
from server.trail_files import open_trail_files
from tests.integration import example_models
from tests.integration.conftest import World

ROW = example_models.records(1)


@pytest.fixture
def settings(world: World, tmp_path) -> ServerSettings:
    return world.settings.model_copy(update={"state": tmp_path / "state"})


def predict(
    world: World, address: str, keys: KeyStore, model: str = "private", **options: object
) -> list[Phase]:
    """The phases of one verified prediction."""
    phases: list[Phase] = []
    given = {"model": world.models[model].digest, "keys": keys, "ca": world.ca, **options}
    with Client(address, observer=phases.append, **given) as client:
        client.predict(ROW)
    return phases


def moved(settings: ServerSettings, address: str, state: str) -> ServerSettings:
    """The same server with another state directory, where its clients look for it."""
    place = settings.state.with_name(state)
    return settings.model_copy(update={"listen": address, "state": place})


def test_clients_go_on_unless_the_server_has_lost_what_they_saw(
    world: World, settings, fresh_keys, tmp_path
):
    keys = fresh_keys()
    with server_thread(settings) as address:
        assert Phase.ENROL in predict(world, address, keys)
        copied = back_up(tmp_path / "backup", settings.state)
    assert copied.logs == {"state": 2}

    again = moved(settings, address, "again")
    restore(tmp_path / "backup", again.state)
    with server_thread(again):
        # The enrolled key is there, and the log extends what the client remembers of it.
        assert Phase.ENROL not in predict(world, address, keys)

    late = moved(settings, address, "late")
    restore(tmp_path / "backup", late.state)
    with server_thread(late), pytest.raises(ConsistencyError):
        predict(world, address, keys)

    # What was lost is lost: a new log begins, for clients who are told so by the operator.
    new = moved(settings, address, "new")
    shutil.copytree(late.state / "keys", new.state / "keys")
    shutil.copy(late.state / "server.secret", new.state)
    with server_thread(new):
        with pytest.raises(LogKeyError):
            predict(world, address, keys)
        with closing(open_trail_files(new.state)) as trail:
            log_key = trail.log_key.encoded()
        assert Phase.ENROL not in predict(world, address, keys, log_key=log_key)


@contextmanager
def asking(world: World, address: str, keys: KeyStore):
    """Predictions all the time, none of which fails."""
    ended, failures = threading.Event(), []

    def ask() -> None:
        while not ended.is_set():
            try:
                predict(world, address, keys, "public")
            except Exception as error:  # noqa: BLE001 -- every kind of failure counts
                failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not failures


def test_a_backup_is_taken_while_the_server_works(world: World, settings, fresh_keys, tmp_path):
    keys = fresh_keys()
    with server_thread(settings) as address:
        predict(world, address, keys, "public")
        with asking(world, address, keys):
            copies = [back_up(tmp_path / f"backup {number}", settings.state) for number in range(3)]
    sizes = [copied.logs["state"] for copied in copies]
    assert sizes == sorted(sizes)
    assert sizes[0] > 0
    for number in range(3):
        restore(tmp_path / f"backup {number}", tmp_path / f"restored {number}")
