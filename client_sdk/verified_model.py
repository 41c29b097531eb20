"""A served model with the methods of a scikit-learn estimator, every prediction verified.

`predict`, `predict_proba` and `decision_function` encrypt, send, verify the proof and only then
decrypt, as `Client.predict` does; `last_result` is the evidence of the latest of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from audit.signed_note import NoteKey
from client_sdk.aio import AsyncClient, Phase
from client_sdk.client import Client
from client_sdk.ephemeral import EphemeralKeyStore
from client_sdk.keystore import KeyStore
from client_sdk.metering import Meter
from client_sdk.pinning import parse_digest
from client_sdk.receipts import VerifiedReceipt, Witnesses
from client_sdk.records import Records
from client_sdk.result import Result
from client_sdk.streaming import AsyncSource, RequestPlan, Source, pieces, stream_pieces
from client_sdk.tables import (
    Answer,
    NotOfferedError,
    Table,
    accuracy,
    classes_of,
    determination,
    is_classifier,
    require_decision_values,
    require_probabilities,
)
from protocol.model import ModelCard

if TYPE_CHECKING:
    import pandas as pd

    from client_sdk.progress import PhaseProgress


class ClientOptions(TypedDict, total=False):
    """What else `AsyncClient` takes; see there."""

    ca: str | Path | None
    certificate: str | Path | None
    certificate_key: str | Path | None
    token: str | None
    token_file: str | Path | None
    server_id: str | None
    client_id: str | None
    tolerance: float | None
    min_disclosure_log2: int | None
    plaintext: Collection[str] | None
    seconds: float
    max_memory_bytes: int
    tenant: str
    actor: str | None
    purpose: str
    log_key: NoteKey | str | None
    witnesses: Witnesses | None
    retries: int
    observer: Callable[[Phase], None] | None
    meter: Meter | None


class _Watch:
    """Hands phases to the caller's own observer and meter, and to a bar while there is one."""

    def __init__(self, options: ClientOptions, *, shown: bool) -> None:
        self._observer = options.get("observer")
        self._meter = options.get("meter")
        self.shown = shown
        self._bar: PhaseProgress | None = None

    def relaying(self, options: ClientOptions) -> ClientOptions:
        """Options of a client that reports here."""
        return {**options, "observer": self._begin, "meter": self._advance}

    @contextlib.contextmanager
    def showing(self, requests: int) -> Iterator[None]:
        """Draw a bar for so many requests."""
        from client_sdk.progress import PhaseProgress  # rich: for those who watch

        with PhaseProgress() as bar:
            bar.expect(requests)
            self._bar = bar
            try:
                yield
            finally:
                self._bar = None

    def _begin(self, phase: Phase) -> None:
        if self._observer is not None:
            self._observer(phase)
        if self._bar is not None:
            self._bar.begin(phase)

    def _advance(self, part: float) -> None:
        if self._meter is not None:
            self._meter(part)
        if self._bar is not None:
            self._bar.advance(part)


class _Connection:
    """What both kinds of model keep: whom they ask, for what, and with which secrets."""

    def __init__(
        self,
        target: str,
        model: str | bytes,
        keys: KeyStore | str | Path | None,
        packing: str,
        watch: _Watch,
    ) -> None:
        self.target = target
        self.pinned = parse_digest(model)
        self.packing = packing
        self.watch = watch
        self.ephemeral = EphemeralKeyStore() if keys is None else None
        self.keys: KeyStore
        if self.ephemeral is not None:
            self.keys = self.ephemeral
        else:
            self.keys = keys if isinstance(keys, KeyStore) else KeyStore(Path(str(keys)))

    def described(self, kind: str, card: ModelCard | None) -> str:
        """For `repr`: name and version once they are known."""
        named = "" if card is None else f"{card.name!r} version {card.version!r}, "
        return f"{kind}({named}model={self.pinned.hex()[:16]}…, server={self.target!r})"

    def showing(self, card: ModelCard, records: Records) -> AbstractContextManager[None]:
        """A bar for these records."""
        if not self.watch.shown:
            return contextlib.nullcontext()
        size = RequestPlan.of(card, self.packing).size
        return self.watch.showing(sum(1 for _ in pieces(records, size)))

    def close(self) -> None:
        """Delete secrets made for this model alone."""
        if self.ephemeral is not None:
            self.ephemeral.close()


class _Estimator:
    """The attributes that a model card gives an estimator."""

    @property
    def card(self) -> ModelCard:
        """The pinned model's card, verified."""
        raise NotImplementedError

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The labels, in the order of `predict_proba`: int64 or texts, as the model has them.

        Raises:
            NotOfferedError: the model is a regression.
        """
        return classes_of(self.card)

    @property
    def feature_names_in_(self) -> npt.NDArray[Any]:
        """The columns the model takes, as an array of objects, which is how scikit-learn has it."""
        return np.array([column.name for column in self.card.features], dtype=object)

    @property
    def n_features_in_(self) -> int:
        """How many columns the model takes."""
        return len(self.card.features)

    def fit(self, X: object, y: object = None) -> NoReturn:
        """Refused: the model was fitted by its publisher.

        The method is here because scikit-learn's tools that only predict, such as
        `permutation_importance` and `RocCurveDisplay.from_estimator`, look for it.  Those that read
        probabilities want arrays: give them `X.to_numpy()`.

        Raises:
            NotOfferedError: always.
        """
        del X, y
        raise NotOfferedError("this model is served, not fitted: compile and publish a new one")

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 -- a type of scikit-learn's, which asks for it
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        classifies = is_classifier(self.card)
        return Tags(
            estimator_type="classifier" if classifies else "regressor",
            target_tags=TargetTags(required=False),
            classifier_tags=ClassifierTags() if classifies else None,
            regressor_tags=None if classifies else RegressorTags(),
        )


class VerifiedModel(_Estimator):
    """One pinned model at one server, used like a fitted scikit-learn estimator.

        with VerifiedModel("host:50443", model="<digest>", keys="keys", ca="ca.pem") as model:
            model.predict(patients)

    Records are arrays, data frames, or dicts by name.  A data frame's predictions are a series or a
    data frame with its index.  A whole table is checked before anything of it is sent; one that is
    larger than a request holds is sent in several, one after another.  For tables that do not fit
    into memory, see `stream`.

    Use as a context manager, or call `close`.  Not for several threads at a time.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str | bytes,
        keys: KeyStore | str | Path | None = None,
        packing: str = "auto",
        progress: bool = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        """Configure; nothing is sent before the card or a prediction is asked for.

        Args:
            target: host and port.
            model: digest of the model, 32 bytes or hexadecimal: what is pinned.
            keys: the client's secrets, or the directory of its key store, which is made if missing
                (its passphrase comes from BLINDPROOF_PASSPHRASE or the terminal).  None is for
                trials: the secrets are fresh, and deleted with this object, so that every new one
                enrols its keys again, which for a network takes seconds and megabytes.
            packing: 'batch', 'single' or 'auto'; see `AsyncClient.predict`.
            progress: whether to draw a bar on standard error when a prediction takes long.
            **options: as `AsyncClient` takes them.

        Raises:
            ModelError: the digest is malformed.
            KeyStoreError: the key store cannot be opened.
            BlindproofError: see `AsyncClient`.
        """
        watch = _Watch(options, shown=progress)
        self._connection = _Connection(target, model, keys, packing, watch)
        try:
            self._client = Client(
                target,
                model=self._connection.pinned,
                keys=self._connection.keys,
                **watch.relaying(options),
            )
        except BaseException:
            self._connection.close()
            raise
        self._card: ModelCard | None = None
        self._last: Result | None = None

    def __repr__(self) -> str:
        return self._connection.described("VerifiedModel", self._card)

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
        """Close the connection and forget the secrets; delete ephemeral ones.  Twice is fine."""
        self._client.close()
        self._connection.close()

    @property
    def card(self) -> ModelCard:
        """The pinned model's card, fetched and verified when first asked for."""
        if self._card is None:
            self._card = self._client.card()
        return self._card

    @property
    def log_key(self) -> str | None:
        """Verifier key of the server's log that is in use; None before the first prediction."""
        return self._client.log_key

    def verify_receipt(self, path: str | Path) -> VerifiedReceipt:
        """Verify a receipt file against the server's log; see `AsyncClient.verify_receipt`."""
        return self._client.verify_receipt(path)

    @property
    def last_result(self) -> Result | None:
        """What proves the latest prediction: values, error bound, evidence and receipts to save.

        None before the first one, and after one that failed.
        """
        return self._last

    def predict(self, X: Records, *, subject: str | None = None) -> Table:
        """Verified labels (records,) in their own type, or a regression's values.

        A regression gives float64 (records,), (records, J) if the model has J > 1 outputs.

        Args:
            X: records.
            subject: whom all of them are about, for the receipt; see `AsyncClient.predict`.

        Raises:
            InputError: the records do not fit the model; nothing was sent.
            VerificationError: an answer or its proof was refused; nothing was decrypted.
            AuditError: a receipt was refused; the same.
            BlindproofError: see `AsyncClient.predict`.
        """
        return self.answer(X, subject=subject).predictions

    def predict_proba(self, X: Records, *, subject: str | None = None) -> Table:
        """Verified probabilities (records, labels), in the order of `classes_`.

        Raises:
            NotOfferedError: the model's link has none; nothing was sent.
            BlindproofError: see `predict`.
        """
        require_probabilities(self.card)
        return self.answer(X, subject=subject).probabilities

    def decision_function(self, X: Records, *, subject: str | None = None) -> Table:
        """Verified values that a label is chosen by: (records,) of one output, else (records, J).

        Raises:
            NotOfferedError: a regression, or outputs that are probabilities; nothing was sent.
            BlindproofError: see `predict`.
        """
        require_decision_values(self.card)
        return self.answer(X, subject=subject).decision_values

    def predict_frame(self, X: Records, *, subject: str | None = None) -> pd.DataFrame:
        """Everything about every record, with the records' index; see `Answer.frame`.

        Raises:
            MissingPackageError: pandas is not installed.
            BlindproofError: see `predict`.
        """
        return self.answer(X, subject=subject).frame()

    def score(self, X: Records, y: Sequence[object] | Table) -> float:
        """Accuracy of a classification, R^2 of a regression, on verified predictions.

        Raises:
            InputError: `y` does not belong to the records or to this model.
            BlindproofError: see `predict`.
        """
        return _score(self.card, self.predict(X), y)

    def answer(self, X: Records, *, subject: str | None = None) -> Answer:
        """One prediction from which labels, probabilities and all else can be had at no cost.

        Raises:
            BlindproofError: see `predict`.
        """
        card = self.card
        self._last = None  # a failure leaves no older evidence that could be taken for its own
        with self._connection.showing(card, X):
            self._last = self._client.predict(X, self._connection.packing, subject=subject)
        return Answer.to(X, card, self._last)

    def stream(
        self, X: Source, *, batch: int | None = None, evidence: str | Path | None = None
    ) -> Iterator[Answer]:
        """Answers request by request, for tables of any length; see `Client.stream`.

        Raises:
            BlindproofError: see `Client.stream`.
        """
        answers = self._client.stream_pieces(
            X, batch=batch, packing=self._connection.packing, evidence=evidence
        )
        with contextlib.closing(answers):
            for piece, result in answers:
                self._last = result
                yield Answer.to(piece.records, self.card, result)


class AsyncVerifiedModel(_Estimator):
    """`VerifiedModel` for asyncio: the same methods, awaited.

        async with AsyncVerifiedModel("host:50443", model="<digest>", keys="keys") as model:
            await model.predict(patients)

    Attributes that come from the card are there once `connect` was awaited, or the context entered.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str | bytes,
        keys: KeyStore | str | Path | None = None,
        packing: str = "auto",
        progress: bool = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        """Configure; arguments and errors are those of `VerifiedModel`."""
        watch = _Watch(options, shown=progress)
        self._connection = _Connection(target, model, keys, packing, watch)
        try:
            self._client = AsyncClient(
                target,
                model=self._connection.pinned,
                keys=self._connection.keys,
                **watch.relaying(options),
            )
        except BaseException:
            self._connection.close()
            raise
        self._card: ModelCard | None = None
        self._last: Result | None = None

    def __repr__(self) -> str:
        return self._connection.described("AsyncVerifiedModel", self._card)

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self) -> ModelCard:
        """Fetch and verify the pinned model's card, once.

        Raises:
            BlindproofError: see `AsyncClient.model`.
        """
        if self._card is None:
            self._card = (await self._client.model()).card
        return self._card

    async def close(self) -> None:
        """Close the connection and forget the secrets; delete ephemeral ones."""
        await self._client.close()
        self._connection.close()

    @property
    def card(self) -> ModelCard:
        """The pinned model's card.

        Raises:
            NotOfferedError: not connected yet.
        """
        if self._card is None:
            raise NotOfferedError("not connected: enter 'async with', or await connect(), first")
        return self._card

    @property
    def log_key(self) -> str | None:
        """See `VerifiedModel.log_key`."""
        return self._client.log_key

    async def verify_receipt(self, path: str | Path) -> VerifiedReceipt:
        """See `VerifiedModel.verify_receipt`."""
        return await self._client.verify_receipt(path)

    @property
    def last_result(self) -> Result | None:
        """What proves the latest prediction that has ended."""
        return self._last

    async def predict(self, X: Records, *, subject: str | None = None) -> Table:
        """See `VerifiedModel.predict`."""
        return (await self.answer(X, subject=subject)).predictions

    async def predict_proba(self, X: Records, *, subject: str | None = None) -> Table:
        """See `VerifiedModel.predict_proba`."""
        require_probabilities(await self.connect())
        return (await self.answer(X, subject=subject)).probabilities

    async def decision_function(self, X: Records, *, subject: str | None = None) -> Table:
        """See `VerifiedModel.decision_function`."""
        require_decision_values(await self.connect())
        return (await self.answer(X, subject=subject)).decision_values

    async def predict_frame(self, X: Records, *, subject: str | None = None) -> pd.DataFrame:
        """See `VerifiedModel.predict_frame`."""
        return (await self.answer(X, subject=subject)).frame()

    async def score(self, X: Records, y: Sequence[object] | Table) -> float:
        """See `VerifiedModel.score`."""
        return _score(await self.connect(), await self.predict(X), y)

    async def answer(self, X: Records, *, subject: str | None = None) -> Answer:
        """See `VerifiedModel.answer`.  Several may be awaited at a time."""
        card = await self.connect()
        with self._connection.showing(card, X):
            result = await self._client.predict(X, self._connection.packing, subject=subject)
        self._last = result
        return Answer.to(X, card, result)

    async def stream(
        self,
        X: AsyncSource,
        *,
        batch: int | None = None,
        evidence: str | Path | None = None,
    ) -> AsyncIterator[Answer]:
        """See `VerifiedModel.stream`; the source may be asynchronous too."""
        card = await self.connect()
        answers = stream_pieces(
            self._client, X, batch=batch, packing=self._connection.packing, evidence=evidence
        )
        async with contextlib.aclosing(answers):
            async for piece, result in answers:
                self._last = result
                yield Answer.to(piece.records, card, result)


def _score(card: ModelCard, predicted: Table, truth: Sequence[object] | Table) -> float:
    if is_classifier(card):
        return accuracy(card, predicted, truth)
    return determination(predicted, truth)
