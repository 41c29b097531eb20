"""The keys of a witness, in one private file of its state directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from audit.bls import BlsSigningKey
from audit.cosignature import Witness
from audit.errors import AuditError
from audit.keys import SigningKey
from audit.signed_note import KeyType, NoteKey
from protocol.errors import EncodingError
from wire.files import make_private_directory, read_regular, write_private
from witness.errors import WitnessServiceError
from witness.seen import SeenHeads

KEYS_FILE = "witness.keys"
SEEN_FILE = "seen.db"
MAX_FILE_BYTES = 1 << 12
_OTHERS = 0o077


class _KeysFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    ed25519: str
    bls: str | None


@dataclass(frozen=True)
class WitnessKeys:
    """Who a witness is.

    Attributes:
        name: in its signature lines.
        ed25519: for cosignatures.
        bls: for signatures that can be aggregated; None if it makes none.
    """

    name: str
    ed25519: SigningKey
    bls: BlsSigningKey | None

    @classmethod
    def generate(cls, name: str, *, bls: bool = True) -> WitnessKeys:
        """New keys from the operating system's generator.

        Raises:
            NoteError: a name which signature lines cannot hold.
        """
        NoteKey(name, bytes(32), KeyType.COSIGNATURE)
        return cls(name, SigningKey.generate(), BlsSigningKey.generate() if bls else None)

    def entry(self, url: str | None = None) -> Witness:
        """What others put into their policies; proves possession of the BLS key (0.3 s)."""
        key = NoteKey(self.name, self.ed25519.public, KeyType.COSIGNATURE)
        return Witness(key, url, None if self.bls is None else self.bls.proven())


def make_state(state: Path, keys: WitnessKeys) -> None:
    """Make a state directory for keys that have signed nothing: the keys and an empty memory.

    Raises:
        WitnessServiceError: it has keys or a memory already.
        OSError: it cannot be written.
    """
    path = make_private_directory(state) / KEYS_FILE
    if path.exists():
        raise WitnessServiceError(f"{path}: this witness has keys already")
    # The memory first: keys without one are refused as keys that lost it.
    SeenHeads(state / SEEN_FILE, create=True).close()
    content = {
        "name": keys.name,
        "ed25519": keys.ed25519.secret().hex(),
        "bls": None if keys.bls is None else keys.bls.secret().hex(),
    }
    write_private(path, json.dumps(content, ensure_ascii=False).encode())


def read_keys(state: Path) -> WitnessKeys:
    """The keys of a state directory.

    Raises:
        WitnessServiceError: there are none, they are not keys, or others may read them.
    """
    path = state / KEYS_FILE
    try:
        if path.stat().st_mode & _OTHERS:
            raise WitnessServiceError(f"{path}: others may read or write this secret: chmod 600")
        parsed = _KeysFile.model_validate_json(read_regular(path, MAX_FILE_BYTES))
        return WitnessKeys(
            parsed.name,
            SigningKey.from_secret(bytes.fromhex(parsed.ed25519)),
            None if parsed.bls is None else BlsSigningKey.from_secret(bytes.fromhex(parsed.bls)),
        )
    except FileNotFoundError as error:
        raise WitnessServiceError(
            f"{path}: no keys; make them with `blindproof witness keys`"
        ) from error
    except OSError as error:
        raise WitnessServiceError(f"{path}: {error.strerror}") from error
    except (ValidationError, EncodingError, AuditError, ValueError):
        # Without its cause, which may show a secret.
        raise WitnessServiceError(f"{path}: not the keys of a witness") from None
