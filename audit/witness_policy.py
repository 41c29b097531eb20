"""The file that says which witnesses count, how many must sign, and where a log finds them.

JSON, the same for clients, servers and auditors::

    {"format": "blindproof witness policy 1",
     "threshold": 2,
     "witnesses": [{"name": "witness.example/w1",
                    "key": "witness.example/w1+<identifier>+<base64>",
                    "url": "https://w1.witness.example/",
                    "bls_key": "<base64>", "bls_proof": "<base64>"}, ...]}

The key is a C2SP verifier key for cosignatures.  The URL is the witness's submission prefix: a log
needs one, a client does not.  The BLS key and its proof of possession come together or not at all;
the proof is verified when an aggregate is, since that takes a while (`audit.bls`).
"""

from __future__ import annotations

import base64
import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from audit.bls import BlsKey
from audit.cosignature import MAX_WITNESSES, Witness, WitnessPolicy
from audit.errors import NoteError, PolicyError
from audit.signed_note import MAX_NAME, NoteKey, decode_base64

FORMAT = "blindproof witness policy 1"
MAX_FILE_BYTES = 1 << 18
MAX_URL = 1 << 10

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class _WitnessEntry(BaseModel):
    model_config = _STRICT

    name: str = Field(max_length=MAX_NAME)
    key: str = Field(max_length=2 * MAX_NAME)
    url: str | None = Field(default=None, max_length=MAX_URL)
    bls_key: str | None = Field(default=None, max_length=MAX_NAME)
    bls_proof: str | None = Field(default=None, max_length=MAX_NAME)


class _PolicyFile(BaseModel):
    model_config = _STRICT

    format: Literal["blindproof witness policy 1"]
    threshold: int
    witnesses: tuple[_WitnessEntry, ...] = Field(max_length=MAX_WITNESSES)


def read_policy(path: Path) -> WitnessPolicy:
    """Read a policy file.

    Raises:
        PolicyError: it cannot be read, is too large, or is no policy; the message names the file,
            what is wrong, and what to do.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PolicyError(
            f"{path}: cannot be read: {error.strerror}; give a file as `blindproof witness policy` "
            "writes it"
        ) from error
    try:
        return decode_policy(data)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error


def decode_policy(data: bytes) -> WitnessPolicy:
    """Parse the bytes of a policy file.

    Raises:
        PolicyError: too large, or no policy.
    """
    if len(data) > MAX_FILE_BYTES:
        raise PolicyError(f"a policy has at most {MAX_FILE_BYTES} bytes; this is another file")
    try:
        parsed = _PolicyFile.model_validate_json(data)
    except ValidationError as error:
        raise PolicyError(_first_problem(error)) from None
    witnesses = tuple(map(_witness, parsed.witnesses))
    try:
        return WitnessPolicy(witnesses, parsed.threshold)
    except NoteError as error:
        raise PolicyError(f"{error}; correct 'threshold' or 'witnesses'") from error


def decode_witness(data: bytes) -> Witness:
    """Parse one witness's entry, as `encode_witness` writes it.

    Raises:
        PolicyError: too large, or no such entry.
    """
    if len(data) > MAX_FILE_BYTES:
        raise PolicyError(f"an entry has at most {MAX_FILE_BYTES} bytes; this is another file")
    try:
        parsed = _WitnessEntry.model_validate_json(data)
    except ValidationError as error:
        raise PolicyError(_first_problem(error)) from None
    return _witness(parsed)


def encode_policy(policy: WitnessPolicy) -> str:
    """The text of a policy file."""
    content = {
        "format": FORMAT,
        "threshold": policy.threshold,
        "witnesses": [_content(witness) for witness in policy.witnesses],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def encode_witness(witness: Witness) -> str:
    """The text of one witness's entry, to be put into policies."""
    return json.dumps(_content(witness), indent=2, ensure_ascii=False) + "\n"


def require_url(url: str) -> None:
    """Refuse an address under which no witness is asked: TLS always, but on this machine.

    Raises:
        PolicyError: another scheme, no host, or a part which a prefix cannot have.
    """
    try:
        parts = urlsplit(url)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        raise PolicyError(f"not a URL: {url!r}") from None
    if not parts.hostname or not port_ok or parts.query or parts.fragment or parts.username:
        raise PolicyError(f"not the URL of a witness: {url!r}; give https://host/prefix")
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)):
        return
    raise PolicyError(f"{url!r}: witnesses are asked over https, over http only on this machine")


def is_loopback(host: str) -> bool:
    """Whether a host, without brackets, is this machine and can be no other."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _witness(entry: _WitnessEntry) -> Witness:
    where = f"witness '{entry.name}'"
    if (entry.bls_key is None) != (entry.bls_proof is None):
        raise PolicyError(f"{where}: 'bls_key' and 'bls_proof' come together; give or omit both")
    try:
        key = NoteKey.decoded(entry.key)
        bls = None
        if entry.bls_key is not None and entry.bls_proof is not None:
            bls = BlsKey(
                decode_base64(entry.bls_key, "bls_key"), decode_base64(entry.bls_proof, "bls_proof")
            )
        witness = Witness(key, entry.url, bls)
        if entry.url is not None:
            require_url(entry.url)
    except (NoteError, PolicyError) as error:
        raise PolicyError(f"{where}: {error}") from error
    if key.name != entry.name:
        raise PolicyError(f"{where}: its key is of '{key.name}'; one of the two is wrong")
    return witness


def _content(witness: Witness) -> dict[str, Any]:
    content: dict[str, Any] = {"name": witness.name, "key": witness.key.encoded()}
    if witness.url is not None:
        content["url"] = witness.url
    if witness.bls is not None:
        content["bls_key"] = base64.b64encode(witness.bls.public).decode()
        content["bls_proof"] = base64.b64encode(witness.bls.proof).decode()
    return content


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    what = first["msg"].lower()
    if not place:
        return f"not a '{FORMAT}' file: {what}"
    return f"not a '{FORMAT}' file: '{place}': {what}"
