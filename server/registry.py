"""Published models on disk, each named by the digest of its card: a directory or a bundle file.

    <digest>/card.bin           canonical model card, public
    <digest>/registration.bin   registration proof, public, empty for a public model
    <digest>/private.bin        canonical (integers, opening), the model's secret
    <any name>.blindproof       the same in one file, see `wire.bundle_file`

Models are added and removed while a server runs. A directory appears by one rename; what is read is
compared with its name before it is parsed, and its registration proof verified.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from protocol.digests import DIGEST_BYTES
from protocol.errors import BlindproofError, ModelError
from protocol.model import MAX_CARD_BYTES
from server.bundles import ModelBundle, bundle_of, parts_of
from server.refusals import Refusal
from server.storage import StorageError, reading
from wire.bundle_file import MAX_PRIVATE_BYTES, SUFFIX, BundleParts, read_bundle
from wire.files import make_private_directory, read_regular, sync_directory, write_private
from wire.models import MAX_REGISTRATION_BYTES, ModelSummary
from wire.rpc import Reason

__all__ = ["ModelBundle", "ModelRegistry", "StoredModel"]

MAX_LOADED = 128
"""Models kept in memory: what was used longest ago is read again when it is asked for."""
LEFT_OVER_SECONDS = 3600.0
"""After which no process is at work any more on what it has written beside a model's place."""
_DIGEST_NAME = re.compile(r"[0-9a-f]{64}")
_PASSING_NAME = re.compile(r"\.[0-9a-f]{16}")
_CARD, _REGISTRATION, _PRIVATE = "card.bin", "registration.bin", "private.bin"
_log = structlog.get_logger("blindproof.server")


@dataclass(frozen=True)
class StoredModel:
    """Where a model is, and which one it says it is; nothing else is known yet.

    Attributes:
        path: a directory or a bundle file.
        digest: of the card in it; of a directory, its name.
    """

    path: Path
    digest: bytes

    def parts(self) -> BundleParts:
        """The bytes of the model, those of its card compared with the digest.

        Raises:
            StorageError: a file is missing, unreadable, oversized, or another model's.
        """
        with reading(self.path):
            parts = read_bundle(self.path) if self.path.is_file() else _read_directory(self.path)
            if parts.digest != self.digest:
                raise ModelError(f"the card has the digest {parts.digest.hex()}")
            return parts


class ModelRegistry:
    """The published models of one directory.  Models are never changed.  Threads may share it."""

    def __init__(self, directory: Path, limit: int | None = None) -> None:
        """Open a directory of models, or make it.

        Args:
            directory: where they are.
            limit: of models in it, beyond which none is published; as many as fit if None.

        Raises:
            StorageError: it cannot be one.
        """
        with reading(directory):
            self._directory = make_private_directory(directory)
        self._limit = limit
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        self._loaded: OrderedDict[bytes, tuple[StoredModel, ModelBundle]] = OrderedDict()
        self._summaries: dict[bytes, tuple[Path, ModelSummary]] = {}
        self._files: dict[Path, tuple[tuple[int, int], bytes]] = {}
        self._reported: dict[Path, str] = {}

    def publish(
        self, bundle: ModelBundle, before: Callable[[ModelBundle], None] | None = None
    ) -> bytes:
        """Store a model as a directory and return its digest.

        A model that is already there, and whole, is left as it is; a damaged one is replaced.

        Args:
            bundle: the model.
            before: called once it is written and before it can be used, with what will be served:
                this one, or the one that is there; if it fails, the model is not published.

        Raises:
            Refusal: there are as many models as there may be (models-full).
            StorageError: it cannot be written.
        """
        target = self._path(bundle.digest)
        with self._changing:
            if self._limit is not None:
                self._require_room(bundle.digest, self._limit)
            with reading(self._directory):
                found = _whole(target, bundle.digest)
                draft = None if found is not None else self._drafted(bundle)
            try:
                if before is not None:
                    before(found or bundle)
                if draft is not None:
                    with reading(self._directory):
                        self._put(draft, target, bundle.digest)
                    with self._lock:  # of a bundle file, whose registration may be another
                        self._loaded.pop(bundle.digest, None)
            finally:
                if draft is not None:
                    shutil.rmtree(draft, ignore_errors=True)
        return bundle.digest

    def withdraw(self, digest: bytes, before: Callable[[], None] | None = None) -> None:
        """Remove a model from wherever it is; whoever uses it already goes on.

        Args:
            digest: of the model.
            before: called if there is one; if it fails, the model stays.

        Raises:
            Refusal: there is none (model-unknown).
            StorageError: it cannot be removed.
        """
        with self._changing:
            places = [stored.path for stored in self._places(digest)]
            if not places:
                raise _unknown(digest)
            if before is not None:
                before()
            with self._lock:
                self._loaded.pop(digest, None)
                self._summaries.pop(digest, None)
            with reading(self._directory):
                for path in places:
                    _set_aside(path)
                sync_directory(self._directory)

    def remove_leftovers(self) -> None:
        """Remove what a process left that was killed while it published or withdrew: weights.

        Raises:
            StorageError: the directory cannot be read.
        """
        for path in self._entries():
            if _PASSING_NAME.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError), reading(path):
                    if time.time() - path.lstat().st_ctime > LEFT_OVER_SECONDS:
                        _removed(path)
                        _log.warning("what was left of a model is removed", path=str(path))

    def _require_room(self, digest: bytes, limit: int) -> None:
        stored = {model.digest for model in self.stored()}
        if digest not in stored and len(stored) >= limit:
            raise Refusal(
                Reason.MODELS_FULL, f"{len(stored)} models are published: withdraw one first"
            )

    def _drafted(self, bundle: ModelBundle) -> Path:
        """A model written beside its place.  Raises OSError."""
        draft = make_private_directory(self._directory / f".{secrets.token_hex(8)}")
        parts = parts_of(bundle)
        try:
            write_private(draft / _CARD, parts.card)
            write_private(draft / _REGISTRATION, parts.registration)
            write_private(draft / _PRIVATE, parts.private or b"")
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return draft

    def _put(self, draft: Path, target: Path, digest: bytes) -> None:
        """Rename a draft to its place.  Raises OSError."""
        try:
            draft.rename(target)
        except OSError:  # something is there
            if _whole(target, digest) is not None:
                return  # another process published the same model meanwhile
            _set_aside(target)
            draft.rename(target)
        sync_directory(self._directory)

    def get(self, digest: bytes) -> ModelBundle:
        """The model of a digest, from the first place that has it whole.

        Raises:
            Refusal: there is none, or no longer (model-unknown).
            StorageError: what is on disk is not that model; of several places, the first's.
        """
        with self._lock:
            known = self._loaded.get(digest)
            if known is not None and known[0].path.exists():
                self._loaded.move_to_end(digest)
                return known[1]
            self._loaded.pop(digest, None)
        stored, bundle = self._read(digest)
        with self._lock:
            self._summaries[digest] = stored.path, ModelSummary.of(bundle.card)
            self._loaded[digest] = stored, bundle
            while len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)
        return bundle

    def _read(self, digest: bytes) -> tuple[StoredModel, ModelBundle]:
        """Raises Refusal (model-unknown), StorageError.

        A damaged directory, a public bundle or a forged one must not hide a whole model.
        """
        failure: StorageError | None = None
        for stored in self._places(digest):
            try:
                with reading(stored.path):
                    bundle = bundle_of(stored.parts())
            except StorageError as error:
                self._report(stored.path, error)
                failure = failure or error
            else:
                self._reported.pop(stored.path, None)
                return stored, bundle
        if failure is not None:
            raise failure
        raise _unknown(digest)

    def _places(self, digest: bytes) -> Iterator[StoredModel]:
        """Where a model says it is: a directory first, then bundle files by name."""
        if len(digest) != DIGEST_BYTES:
            return
        directory = self._path(digest)
        if directory.is_dir():
            yield StoredModel(directory, digest)
        for stored in self._bundle_files():
            if stored.digest == digest:
                yield stored

    def stored(self) -> list[StoredModel]:
        """Every model there is, each once, unread; what cannot be a model is logged once."""
        found = {
            bytes.fromhex(path.name): path
            for path in self._entries()
            if _DIGEST_NAME.fullmatch(path.name) and path.is_dir()
        }
        for model in self._bundle_files():
            found.setdefault(model.digest, model.path)
        return [StoredModel(path, digest) for digest, path in sorted(found.items())]

    def load_all(self) -> list[ModelSummary]:
        """List every model, by name and version; damaged ones are logged once.

        What was read and verified before is not read again for this, however many models there are.
        """
        summaries = []
        for model in self.stored():
            try:
                summaries.append(self._summary(model.digest))
            except (StorageError, Refusal) as error:  # a refusal: removed since it was listed
                self._report(model.path, error)
        return sorted(summaries, key=lambda model: (model.name, model.version, model.digest))

    def _summary(self, digest: bytes) -> ModelSummary:
        """As a model was when it was read, if what was read is still there.  Raises as `get`."""
        known = self._summaries.get(digest)
        if known is not None and known[0].exists():
            return known[1]
        return ModelSummary.of(self.get(digest).card)

    def _bundle_files(self) -> Iterator[StoredModel]:
        """Bundle files with their digests; each is read once, and again when it changes."""
        for path in self._entries():
            if path.suffix != SUFFIX or path.name.startswith("."):
                continue
            try:
                status = path.stat()
                version = (status.st_mtime_ns, status.st_size)
                known = self._files.get(path)
                if known is None or known[0] != version:
                    known = version, read_bundle(path).digest
                    self._files[path] = known
            except (OSError, BlindproofError) as error:  # such as one that is still being copied
                self._report(path, error)
                continue
            yield StoredModel(path, known[1])

    def _entries(self) -> list[Path]:
        """Raises StorageError."""
        with reading(self._directory):
            return sorted(self._directory.iterdir())

    def _report(self, path: Path, error: Exception) -> None:
        if self._reported.get(path) != str(error):
            self._reported[path] = str(error)
            _log.error("model skipped", path=str(path), error=str(error))

    def _path(self, digest: bytes) -> Path:
        return self._directory / digest.hex()


def _unknown(digest: bytes) -> Refusal:
    return Refusal(Reason.MODEL_UNKNOWN, f"no model has the digest {digest.hex()}")


def _read_directory(path: Path) -> BundleParts:
    """Raises OSError, EncodingError."""
    return BundleParts(
        read_regular(path / _CARD, MAX_CARD_BYTES),
        read_regular(path / _REGISTRATION, MAX_REGISTRATION_BYTES),
        read_regular(path / _PRIVATE, MAX_PRIVATE_BYTES),
    )


def _whole(path: Path, digest: bytes) -> ModelBundle | None:
    """The model in a directory, if there is one which can be served."""
    if not path.is_dir():
        return None
    try:
        with reading(path):
            return bundle_of(StoredModel(path, digest).parts())
    except StorageError as error:
        _log.warning("damaged model found", path=str(path), error=str(error))
        return None


def _set_aside(path: Path) -> None:
    """Free a model's place: renamed first, so that no reader meets half of it."""
    if not os.path.lexists(path):
        return
    aside = path.with_name(f".{secrets.token_hex(8)}")
    path.rename(aside)
    _removed(aside)


def _removed(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
