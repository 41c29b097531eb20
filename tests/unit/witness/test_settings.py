from __future__ import annotations

import json
import stat

import pytest

from audit.errors import NoteError
from audit.signed_note import KeyType
from audit.witness_policy import decode_witness, encode_witness
from tests.unit.audit.example_receipts import LOG_KEY
from tests.unit.witness.conftest import NAME
from witness.errors import WitnessServiceError
from witness.keys import KEYS_FILE, SEEN_FILE, WitnessKeys, make_state, read_keys
from witness.settings import read_settings

GIVEN = {"state": "state", "logs": (LOG_KEY.encoded(),)}


def test_logs_are_named_by_their_keys(monkeypatch):
    assert read_settings(**GIVEN).log_keys() == (LOG_KEY,)
    monkeypatch.setenv("BLINDPROOF_WITNESS_LOGS", json.dumps([LOG_KEY.encoded()]))
    monkeypatch.setenv("BLINDPROOF_WITNESS_STATE", "state")
    assert read_settings().log_keys() == (LOG_KEY,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"logs": ()}, "'logs'"),
        ({"logs": ("nonsense",)}, "not a verifier key"),
        ({"listen": "nowhere"}, "host:port"),
        ({"listen": "127.0.0.1:70000"}, "host:port"),
        ({"listen": "0.0.0.0:1"}, "loopback only"),
        ({"listen": "[::]:1"}, "loopback only"),
        ({"listen": "witness.example:1"}, "loopback only"),
        ({"tls_key": "key.pem"}, "both"),
        ({"tls_certificate": "certificate.pem"}, "both"),
        ({"max_requests": 0}, "max_requests"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, said):
    with pytest.raises(WitnessServiceError, match=said):
        read_settings(**{**GIVEN, **change})


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_loopback_needs_no_tls(listen):
    assert read_settings(**GIVEN, listen=listen).port == 0


def test_with_tls_it_listens_anywhere():
    settings = read_settings(
        **GIVEN, listen="[::]:443", tls_certificate="certificate.pem", tls_key="key.pem"
    )
    assert (settings.host, settings.port) == ("::", 443)


def test_a_missing_setting_is_named():
    with pytest.raises(WitnessServiceError, match=r"'state' \(BLINDPROOF_WITNESS_STATE\)"):
        read_settings(logs=GIVEN["logs"])


@pytest.mark.parametrize("bls", [False, True])
def test_keys_come_back_and_are_private(tmp_path, bls):
    keys = WitnessKeys.generate(NAME, bls=bls)
    state = tmp_path / "state"
    make_state(state, keys)
    entry = keys.entry("https://witness.example")
    assert read_keys(state).entry("https://witness.example") == entry
    assert decode_witness(encode_witness(entry).encode()) == entry
    assert (entry.key.kind, entry.bls is not None) == (KeyType.COSIGNATURE, bls)
    for name in (KEYS_FILE, SEEN_FILE):
        assert stat.S_IMODE((state / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_keys_are_never_made_over_others(state):
    before = (state / KEYS_FILE).read_bytes()
    with pytest.raises(WitnessServiceError, match="already"):
        make_state(state, WitnessKeys.generate("witness.example/other", bls=False))
    assert (state / KEYS_FILE).read_bytes() == before


def test_keys_that_others_may_read_are_refused(state):
    (state / KEYS_FILE).chmod(0o640)
    with pytest.raises(WitnessServiceError, match="chmod 600"):
        read_keys(state)


def test_missing_keys_say_how_to_make_them(tmp_path):
    with pytest.raises(WitnessServiceError, match="blindproof witness keys"):
        read_keys(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"ed25519": "00"},
        {"ed25519": "zz" * 32},
        {"bls": "00" * 32},
        {"name": 5},
        {"more": 1},
    ],
)
def test_what_are_no_keys_is_refused_and_shows_no_secret(state, change):
    path = state / KEYS_FILE
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, **change}))
    with pytest.raises(WitnessServiceError, match="not the keys") as caught:
        read_keys(state)
    assert content["ed25519"] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_names_that_no_line_can_hold_are_refused():
    with pytest.raises(NoteError):
        WitnessKeys.generate("a name with spaces", bls=False)
