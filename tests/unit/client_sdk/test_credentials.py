from __future__ import annotations

import base64
import json

import pytest

from client_sdk import AsyncClient, TransportError
from client_sdk.credentials import MAX_TOKEN_BYTES, Bearer


def jwt(claims: object) -> str:
    """The shape of a JSON Web Token; nobody verifies it here."""
    parts = (json.dumps({"alg": "ES256"}), json.dumps(claims), "signature")
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


def test_a_token_goes_into_the_header_of_rfc_6750(tmp_path):
    assert Bearer.of("abc.d-e_f", None).metadata() == ("authorization", "Bearer abc.d-e_f")
    (tmp_path / "token").write_text("from-a-file\n")
    assert Bearer.of(None, tmp_path / "token").metadata()[1] == "Bearer from-a-file"
    assert Bearer.of(None, None) is None


def test_a_file_is_read_for_each_call(tmp_path):
    file = tmp_path / "token"
    file.write_text("first")
    bearer = Bearer.of(None, file)
    file.write_text("second")
    assert bearer.read() == "second"
    file.write_text("")
    with pytest.raises(TransportError, match=r"token is no bearer token"):
        bearer.metadata()
    file.unlink()
    with pytest.raises(TransportError, match=r"cannot read .*token: No such file"):
        bearer.metadata()


@pytest.mark.parametrize(
    "token", ["", "two words", "line\nbreak", "umläut", "x" * (MAX_TOKEN_BYTES + 1), "a=b"]
)
def test_what_fits_no_header_is_refused_and_not_repeated(tmp_path, token: str):
    with pytest.raises(TransportError, match=r"^the token is no bearer token$"):
        Bearer.of(token, None)
    (tmp_path / "token").write_text(token)
    with pytest.raises(TransportError, match=r"token is no bearer token$"):
        Bearer.of(None, tmp_path / "token")


def test_a_token_is_given_once(tmp_path):
    with pytest.raises(TransportError, match="not both"):
        Bearer.of("token", tmp_path / "token")


def test_a_token_is_not_shown():
    assert "secret" not in repr(Bearer.of("secret", None))


@pytest.mark.parametrize(
    ("token", "subject"),
    [
        (jwt({"sub": "device-7"}), "device-7"),
        (jwt({"sub": "dévice"}), "dévice"),
        (jwt({}), None),
        (jwt({"sub": ""}), None),
        (jwt({"sub": 7}), None),
        (jwt([]), None),
        ("opaque", None),
        ("a.b", None),
        ("a.b.c", None),
        ("a.====.c", None),
    ],
)
def test_whom_a_token_is_about(token: str, subject: str | None):
    if token == "a.====.c":
        with pytest.raises(TransportError):
            Bearer.of(token, None)
        return
    assert Bearer.of(token, None).subject == subject


def test_the_client_goes_by_the_subject_of_its_token(store):
    def client(**changes: object) -> AsyncClient:
        return AsyncClient("127.0.0.1:1", model=bytes(32), keys=store, **changes)

    assert client(token=jwt({"sub": "device-7"})).client_id == "device-7"
    assert client(token=jwt({"sub": "device-7"}), client_id="given").client_id == "given"
    assert client(token="opaque").client_id == store.client_id
