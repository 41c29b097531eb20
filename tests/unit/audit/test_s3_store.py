"""The store in S3 when things go wrong, over real HTTP."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import boto3
import pytest

import audit.s3_store
from audit.errors import ArchiveUnavailableError, ObjectDamagedError
from audit.object_store import address_of, open_store
from tests.unit.audit.s3_server import BUCKET, CREDENTIALS, running_s3, store_url


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(audit.s3_store, "ATTEMPTS", 1)
    monkeypatch.setattr(audit.s3_store, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(audit.s3_store, "READ_SECONDS", 4)


@pytest.fixture(scope="module")
def endpoint():
    with running_s3() as endpoint:
        yield endpoint


def client_of(endpoint):
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")


def attempts(store):
    return (
        lambda: store.put(b"two"),
        lambda: store.get(address_of(b"one")),
        lambda: store.delete(address_of(b"one")),
        lambda: store.delete_older(address_of(b"one"), 0),
        lambda: list(store.addresses()),
    )


def test_an_exchanged_object_is_damaged(endpoint):
    store = open_store(store_url(endpoint, "exchanged"))
    address = store.put(b"one")
    client_of(endpoint).put_object(Bucket=BUCKET, Key=f"exchanged/{address.hex()}", Body=b"two")
    with pytest.raises(ObjectDamagedError):
        store.get(address)
    store.put(b"one")
    assert store.get(address) == b"one"


def test_what_else_lies_under_the_prefix_is_not_an_object(endpoint):
    store = open_store(store_url(endpoint, "shared"))
    address = store.put(b"one")
    for name in ("shared/README", f"shared/deeper/{address.hex()}", f"shared/{'AB' * 32}", "other"):
        client_of(endpoint).put_object(Bucket=BUCKET, Key=name, Body=b"")
    assert list(store.addresses()) == [address]
    root = open_store(store_url(endpoint, ""))
    assert address not in set(root.addresses())
    assert root.get(root.put(b"two")) == b"two"


def test_more_objects_than_one_page(endpoint, monkeypatch):
    store = open_store(store_url(endpoint, "pages"))
    addresses = {store.put(bytes([number])) for number in range(5)}
    paginator = store._client.get_paginator("list_objects_v2")
    found = paginator.paginate(Bucket=BUCKET, Prefix="pages/", PaginationConfig={"PageSize": 2})
    paged = SimpleNamespace(paginate=lambda **_: found)
    monkeypatch.setattr(store._client, "get_paginator", lambda _: paged)
    assert set(store.addresses()) == addresses


def test_a_bucket_that_is_not_there_is_unavailable_and_not_empty(endpoint):
    store = open_store(f"s3://no-such-bucket/p?endpoint_url={endpoint}&region=us-east-1")
    for attempt in attempts(store):
        with pytest.raises(ArchiveUnavailableError):
            attempt()


def test_a_server_that_is_down_is_a_typed_error_and_recovers():
    with running_s3() as endpoint:
        store = open_store(store_url(endpoint))
        store.put(b"one")
    for attempt in attempts(store):
        with pytest.raises(ArchiveUnavailableError):
            attempt()
    with running_s3(int(endpoint.rpartition(":")[2])):
        assert list(store.addresses()) == [address_of(b"one")]  # nothing of what failed was done
        assert store.get(address_of(b"one")) == b"one"
        assert store.get(store.put(b"two")) == b"two"


def test_a_server_that_never_answers_is_a_typed_error():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = open_store(store_url(f"http://127.0.0.1:{silent.getsockname()[1]}"))
        with pytest.raises(ArchiveUnavailableError):
            store.put(b"one")


def test_no_credentials_are_a_typed_error(endpoint, monkeypatch):
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    store = open_store(store_url(endpoint))
    with pytest.raises(ArchiveUnavailableError, match="Credentials"):
        store.put(b"one")


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///prefix",
        "s3://key:secret@bucket/prefix",
        "s3://bucket/prefix?secret=1",
        "s3://bucket/prefix#part",
        "s3://bucket/prefix?endpoint_url=nonsense",
    ],
)
def test_only_places_in_s3_are_opened(url):
    with pytest.raises(ArchiveUnavailableError):
        open_store(url)
