from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from audit.errors import LogUnavailableError, UnknownEntryError, WitnessError
from blindproof.authority import Authority
from client_sdk import AsyncClient, KeyStore, ParameterError, TransportError
from client_sdk.credentials import TlsFiles
from client_sdk.transport import _translated
from client_sdk.transport_errors import ConnectionLostError
from wire import rpc


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("tls")
    authority = Authority.fresh()
    certificate, key = authority.issue(home, "clinic seven")
    _, other = authority.issue(home, "somebody else")
    (home / "garbage.pem").write_text("garbage")
    (home / "empty.pem").touch()
    return {
        "ca": authority.write(home / "ca.pem"),
        "certificate": certificate,
        "key": key,
        "other key": other,
        "garbage": home / "garbage.pem",
        "empty": home / "empty.pem",
        "missing": home / "missing.pem",
    }


@pytest.mark.parametrize(
    ("certificate", "key"), [(None, None), ("certificate", "key")], ids=["server only", "mutual"]
)
def test_sound_files_give_credentials(files, certificate, key):
    tls = TlsFiles.of(files["ca"], files.get(certificate), files.get(key))
    assert tls.credentials() is not None


@pytest.mark.parametrize(
    ("ca", "certificate", "key", "message"),
    [
        ("ca", "certificate", None, "together, or neither"),
        ("ca", None, "key", "together, or neither"),
        ("ca", "certificate", "other key", "is not the key of"),
        ("ca", "certificate", "garbage", "not a PEM private key"),
        ("ca", "empty", "key", "not a PEM certificate"),
        ("ca", "key", "key", "not a PEM certificate"),
        ("garbage", None, None, "not a PEM certificate"),
        ("empty", None, None, "not a PEM certificate"),
        ("missing", None, None, "cannot read .*missing.pem: No such file"),
    ],
)
def test_files_that_grpc_would_abort_or_hang_on_are_refused(files, ca, certificate, key, message):
    tls = TlsFiles.of(files.get(ca), files.get(certificate), files.get(key))
    with pytest.raises(TransportError, match=message):
        tls.credentials()


def client(files, store: KeyStore, **changes: object) -> AsyncClient:
    return AsyncClient("127.0.0.1:1", model=bytes(32), keys=store, ca=files["ca"], **changes)


def test_the_client_goes_by_the_name_in_its_certificate(files, store):
    certified = {"certificate": files["certificate"], "certificate_key": files["key"]}
    assert client(files, store, **certified).client_id == "clinic seven"
    assert client(files, store, **certified, client_id="given").client_id == "given"
    assert client(files, store).client_id == store.client_id


@pytest.mark.parametrize("tolerance", [float("nan"), 0.0, -1.0])
def test_a_tolerance_that_nothing_compares_with_is_refused(files, store, tolerance: float):
    with pytest.raises(ParameterError, match="tolerance"):
        client(files, store, tolerance=tolerance)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_memory_limit_that_allows_nothing_is_refused(files, store, limit: int):
    with pytest.raises(ParameterError, match="memory limit"):
        client(files, store, max_memory_bytes=limit)


def ended(code: grpc.StatusCode, details: str, **trailing: str) -> grpc.aio.AioRpcError:
    """A call that gRPC reports so."""
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing.items()), details
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ended(grpc.StatusCode.UNAVAILABLE, "Socket closed"), ConnectionLostError),
        (ended(grpc.StatusCode.INTERNAL, "Internal error from Core"), ConnectionLostError),
        (ended(grpc.StatusCode.INTERNAL, "internal error"), TransportError),
        (ended(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), TransportError),
        (
            ended(
                grpc.StatusCode.UNAVAILABLE, "disk", **{rpc.REASON_METADATA: "audit-unavailable"}
            ),
            LogUnavailableError,
        ),
        (
            ended(grpc.StatusCode.NOT_FOUND, "none", **{rpc.REASON_METADATA: "receipt-unknown"}),
            UnknownEntryError,
        ),
        (
            ended(
                grpc.StatusCode.FAILED_PRECONDITION,
                "1 of 3",
                **{rpc.REASON_METADATA: "witnesses-missing"},
            ),
            WitnessError,
        ),
    ],
)
def test_a_connection_that_broke_is_told_from_a_refusal(error, kind):
    assert type(_translated(error, "server:1")) is kind
