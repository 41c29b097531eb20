"""A key store for trials, which is gone when its client is."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from client_sdk.keystore import KeyStore

_PASSPHRASE_BYTES = 32


class EphemeralKeyStore(KeyStore):
    """Fresh secrets in a temporary directory, under a random passphrase that nobody is told.

    Use as a context manager, or call `close`: the directory is deleted then, or when the object or
    the process ends.  For trials and tests: every new one enrols again, and evidence cannot be
    followed by further predictions under the same keys.
    """

    def __init__(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="blindproof-keys-"))
        self._delete = weakref.finalize(self, _delete, directory, os.getpid())
        super().__init__(directory / "keys", passphrase=secrets.token_hex(_PASSPHRASE_BYTES))

    def __repr__(self) -> str:
        return f"EphemeralKeyStore({'open' if self._delete.alive else 'deleted'})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete the secrets.  Twice does no harm."""
        self._delete()


def _delete(directory: Path, process: int) -> None:
    if os.getpid() == process:  # a forked child leaves its parent's secrets alone
        shutil.rmtree(directory, ignore_errors=True)
