"""Witnesses as their operators run them: the command line, processes, TLS and HTTP."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from audit.aggregate_cosignature import verify_aggregate_cosignature
from audit.cosignature import verify_cosignatures
from audit.errors import WitnessError
from audit.witness_policy import read_policy
from blindproof.authority import Authority
from blindproof.cli import app
from server.witnesses import RoundLimits, Witnesses
from tests.unit.audit.example_receipts import LOG, LOG_KEY, ORIGIN
from tests.unit.witness.serving import policy_of, running_witnesses
from tests.unit.witness.watched_log import grow, watched_log

START_SECONDS = 30
LIMITS = RoundLimits(witness_seconds=30, grace_seconds=20)


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def command(*words: object) -> str:
    result = CliRunner().invoke(app, ["witness", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*words: object) -> str:
    result = CliRunner().invoke(app, ["witness", *map(str, words)])
    assert result.exit_code == 2
    return result.stderr


@contextmanager
def served(directory: Path, *options: object):
    """A witness in its own process; yields the process and its URL."""
    address = directory / "address"
    address.unlink(missing_ok=True)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "blindproof", "witness", "serve", "--state", directory),
            *("--log", LOG_KEY.encoded(), "--address-file", address),
            *map(str, options),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not address.exists():
            assert process.poll() is None, process.returncode
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process, address.read_text()
    finally:
        process.terminate()
        process.wait()


@pytest.mark.asyncio
async def test_the_commands_make_witnesses_that_cosign_over_tls(tmp_path):
    authority = Authority.fresh()
    certificate, key = authority.issue(tmp_path, "witness")
    tls = ("--listen", "127.0.0.1:0", "--tls-certificate", certificate, "--tls-key", key)
    entries = []
    log = watched_log(tmp_path / "log", 3)
    for number in range(2):
        command("keys", "--state", tmp_path / f"w{number}", "--name", f"witness.example/{number}")
    with (
        served(tmp_path / "w0", *tls) as (process, first),
        served(tmp_path / "w1", *tls) as (_, second),
    ):
        for number, url in enumerate((first, second)):
            path = tmp_path / f"entry{number}.json"
            path.write_text(command("keys", "--state", tmp_path / f"w{number}", "--url", url))
            entries.append(path)
        file = tmp_path / "policy.json"
        file.write_text(command("policy", *entries, "--threshold", 2))
        policy = read_policy(file)
        distrusted = Witnesses(policy, log, LOG, limits=LIMITS)
        with pytest.raises(WitnessError, match="certificate"):
            await distrusted.cosigned(3)
        await distrusted.aclose()
        trusting = ssl.create_default_context(cafile=authority.write(tmp_path / "ca.pem"))
        witnesses = Witnesses(policy, log, LOG, limits=LIMITS, tls=trusting)
        note = await witnesses.cosigned(3)
        assert len(verify_cosignatures(note, policy, int(time.time()))) == 2
        await witnesses.added()
        kept = log.latest_checkpoint()
        assert len(verify_aggregate_cosignature(kept, ORIGIN, policy)) == 2

        process.send_signal(signal.SIGKILL)
        process.wait()
        grow(log, 2)
        with pytest.raises(WitnessError, match=r"1 of 2 witnesses.*cannot be reached"):
            await witnesses.cosigned(5)
        listen = ("--listen", first.removeprefix("https://"), *tls[2:])
        with served(tmp_path / "w0", *listen) as (restarted, _):
            assert len((await witnesses.cosigned(5)).signatures) == 3
            restarted.terminate()
            assert restarted.wait() == 0
        await witnesses.aclose()


def test_the_commands_refuse_what_would_deceive(tmp_path):
    state = tmp_path / "w0"
    entry = tmp_path / "entry.json"
    entry.write_text(command("keys", "--state", state, "--name", "witness.example/0"))
    assert "keys already" in refused("keys", "--state", state, "--name", "witness.example/1")
    assert "https" in refused("keys", "--state", state, "--url", "http://witness.example")
    assert "own name" in refused("policy", entry, entry, "--threshold", 1)
    assert "1 to 1" in refused("policy", entry, "--threshold", 2)
    first = command("keys", "--state", state)
    assert first == entry.read_text(), "keys stay"
    other = tmp_path / "other.json"
    other.write_text(command("keys", "--state", tmp_path / "w1", "--name", "witness.example/1"))
    result = CliRunner().invoke(app, ["witness", "policy", str(entry), str(other), "--threshold=1"])
    assert "warning: 1 of 2" in result.stderr
    proofs = [read.read_text().split('"bls_proof": ')[1] for read in (entry, other)]
    entry.write_text(entry.read_text().replace(*proofs))
    assert "proof of possession" in refused("policy", entry, "--threshold", 1)
    assert "no keys" in refused("serve", "--state", tmp_path, "--log", LOG_KEY.encoded())
    assert "loopback" in refused(
        *("serve", "--state", state, "--log", LOG_KEY.encoded(), "--listen", "0.0.0.0:0")
    )


@pytest.mark.asyncio
async def test_three_witnesses_and_their_aggregate(tmp_path):
    log = watched_log(tmp_path / "log", 9)
    with running_witnesses(tmp_path, 3, bls=True) as found:
        policy = policy_of(found, 2)
        witnesses = Witnesses(policy, log, LOG, limits=LIMITS)
        stop = asyncio.Event()
        running = asyncio.create_task(witnesses.run(stop))
        note = await witnesses.cosigned(9)
        await witnesses.added()
        stop.set()
        await running
        await witnesses.aclose()
    kept = log.latest_checkpoint()
    assert set(note.signatures) < set(kept.signatures)
    assert len(verify_cosignatures(kept, policy, int(time.time()))) == 3
    assert len(verify_aggregate_cosignature(kept, ORIGIN, policy)) == 3
