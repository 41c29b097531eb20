"""Objects in a bucket of S3, or of whatever speaks its protocol.

Credentials come from where boto3 looks for them, never from the URL.  A bucket writes an object
whole or not at all, and compares it with the checksum that is sent along.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from audit.errors import ArchiveUnavailableError, ObjectMissingError
from audit.object_store import ADDRESS_BYTES, address_of, checked_object

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CONNECT_SECONDS = 5
READ_SECONDS = 60
ATTEMPTS = 3
_OPTIONS = {"endpoint_url": "endpoint_url", "region": "region_name"}
_NO_OBJECT = frozenset({"NoSuchKey", "404"})


class S3Store:
    """The objects under one prefix of a bucket, see `audit.object_store.ObjectStore`."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:  # noqa: ANN401 - boto3 has no types
        """Use a bucket.

        Args:
            client: of boto3, for the service s3.
            bucket: which exists.
            prefix: empty, or what the names of all objects begin with.
        """
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def put(self, data: bytes) -> bytes:
        """Keep an object, see `ObjectStore.put`."""
        address = address_of(data)
        # Always written, never asked for first: then it is new, and nobody removes it as an orphan.
        with _translated_errors():
            self._client.put_object(
                **self._named(address),
                Body=data,
                ChecksumSHA256=base64.b64encode(address).decode(),
            )
        return address

    def get(self, address: bytes) -> bytes:
        """The object at an address, see `ObjectStore.get`."""
        with _translated_errors(address):
            found = self._client.get_object(**self._named(address))
            with found["Body"] as body:
                data = bytes(body.read())
        return checked_object(address, data)

    def delete(self, address: bytes) -> None:
        """Remove an object, see `ObjectStore.delete`."""
        with _translated_errors():
            self._client.delete_object(**self._named(address))

    def delete_older(self, address: bytes, time_ns: int) -> bool:
        """Remove an object unless it is newer, see `ObjectStore.delete_older`.

        Who puts it between the question and the removal loses it: the protocol has no condition on
        times.  Between the two are milliseconds, in which an old object without a row, or with one
        that has just expired, would have to be put again.
        """
        try:
            with _translated_errors(address):
                written = self._client.head_object(**self._named(address))["LastModified"]
        except ObjectMissingError:
            with _translated_errors():  # without a bucket, the answer is the same
                self._client.head_bucket(Bucket=self._bucket)
            return True
        if written.timestamp() * 1e9 > time_ns:
            return False
        self.delete(address)
        return True

    def addresses(self) -> Iterator[bytes]:
        """The addresses of all objects, see `ObjectStore.addresses`."""
        with _translated_errors():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for found in page.get("Contents", ()):
                    address = _address(found["Key"].removeprefix(self._prefix))
                    if address is not None:
                        yield address

    def discard_drafts(self, time_ns: int) -> int:  # noqa: ARG002 - there are none, of any age
        """Nothing: what a bucket has not received whole is not there."""
        return 0

    def _named(self, address: bytes) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{address.hex()}"}


def open_s3_store(url: str) -> S3Store:
    """The store at `s3://bucket/prefix?endpoint_url=...&region=...`; nothing is connected yet.

    Raises:
        ArchiveUnavailableError: not such a URL, credentials in it, or no boto3.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError as error:
        raise ArchiveUnavailableError("S3 needs boto3: pip install 'blindproof[s3]'") from error
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = options.keys() <= _OPTIONS.keys()
    if not parts.netloc or "@" in parts.netloc or parts.fragment or not known:
        raise ArchiveUnavailableError(
            f"an archive in S3 is s3://bucket/prefix, with options {' and '.join(_OPTIONS)} only"
        )
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
    )
    chosen = {_OPTIONS[name]: value for name, value in options.items()}
    try:
        client = boto3.session.Session().client("s3", config=config, **chosen)
    except (BotoCoreError, ValueError) as error:
        raise ArchiveUnavailableError(f"S3 cannot be used: {type(error).__name__}") from error
    return S3Store(client, parts.netloc, parts.path.strip("/"))


def _address(name: str) -> bytes | None:
    """The address in a name of ours; None for what others keep under the prefix."""
    try:
        address = bytes.fromhex(name)
    except ValueError:
        return None
    return address if len(address) == ADDRESS_BYTES and address.hex() == name else None


@contextmanager
def _translated_errors(address: bytes | None = None) -> Iterator[None]:
    """Errors of boto3 as errors of the archive; with an address, that it is missing is one too."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        if address is not None and _code(error) in _NO_OBJECT:
            raise ObjectMissingError(f"the archive holds no object {address.hex()}") from error
        raise ArchiveUnavailableError(f"S3 refused: {_code(error)}") from error
    except (BotoCoreError, HTTPError, OSError) as error:
        raise ArchiveUnavailableError(f"S3 failed: {type(error).__name__}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
