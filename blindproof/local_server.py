"""A server of one's own for a trial: published to, asked and taken down from one Python program."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from blindproof.auditing.exporting import Chosen, Exported, export_everything
from blindproof.authority import Authority
from blindproof.compiled import Compiled
from blindproof.loopback import server_process
from blindproof.network_publishing import NetworkModel, publish_network
from blindproof.publishing import LinearModel, publish_linear
from client_sdk.ephemeral import EphemeralKeyStore
from client_sdk.keystore import KeyStore
from client_sdk.verified_model import ClientOptions, VerifiedModel
from protocol.errors import BlindproofError, ModelError
from protocol.model import ModelCard
from server.settings import ServerSettings
from server.trail_files import open_trail_files
from wire.files import make_private_directory

SERVER_ID = "local-trial"


class NotRunningError(BlindproofError, RuntimeError):
    """A local server is used outside its context."""


class LocalServer:
    """A blindproof server on loopback, for trials, demonstrations and tests.

        with LocalServer() as server:
            model = server.serve(blindproof.compile(fitted, X))
            model.predict(X)

    It is the real server in a process of its own, behind TLS with a certificate made for it.
    Models, state, certificate and the client's keys are in a temporary directory, deleted at the
    end.  Client and server share a machine and a user here, so nothing is hidden from anybody; for
    anything but a trial, run `blindproof serve` where the model is and `VerifiedModel` where the
    records are.
    """

    def __init__(self, models: str | Path | None = None) -> None:
        """Configure; the server starts when the context is entered.

        Args:
            models: a directory of published models, made if missing and kept; a temporary one if
                None.
        """
        self._given = None if models is None else Path(models)
        self._running: ExitStack | None = None

    def __repr__(self) -> str:
        where = "not running" if self._running is None else repr(self._address)
        return f"LocalServer({where})"

    def __enter__(self) -> Self:
        """Start.

        Raises:
            RuntimeError: it runs already.
            LocalServerError: it did not start.
        """
        if self._running is not None:
            raise RuntimeError("this server runs already")
        with ExitStack() as stack:
            home = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="blindproof-server-"))
            )
            self._models = make_private_directory(self._given or home / "models")
            authority = Authority.fresh()
            self._ca = authority.write(home / "ca.pem")
            certificate, key = authority.issue(home, "localhost")
            self._state = make_private_directory(home / "state")
            settings = ServerSettings(
                listen="127.0.0.1:0",
                server_id=SERVER_ID,
                tls_certificate=certificate,
                tls_key=key,
                models=self._models,
                state=self._state,
                address_file=home / "address",
            )
            self._address, self._process = stack.enter_context(server_process(settings))
            self._keys = stack.enter_context(EphemeralKeyStore())
            self._running = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.close()

    @property
    def address(self) -> str:
        """Host and port."""
        self._require_running()
        return self._address

    @property
    def process(self) -> int:
        """The server's process."""
        self._require_running()
        return self._process

    @property
    def ca(self) -> Path:
        """PEM file of the authority that signed the server's certificate."""
        self._require_running()
        return self._ca

    @property
    def models(self) -> Path:
        """The directory of published models."""
        self._require_running()
        return self._models

    @property
    def keys(self) -> KeyStore:
        """The key store that models of this server share, so that each enrols its keys once."""
        self._require_running()
        return self._keys

    @property
    def log_key(self) -> str:
        """The key of the server's log, for those who verify its receipts and exports."""
        self._require_running()
        with closing(open_trail_files(self._state)) as trail:
            return trail.log_key.encoded()

    def export_audit(self, path: str | Path, *, plaintext: bool = False) -> Exported:
        """Write the whole audit trail to a file that `blindproof audit verify` checks.

        Args:
            path: of the file; one that is there is replaced.
            plaintext: with requests that hold columns in clear.

        Raises:
            AuditError: log or archive cannot be read.
            OSError: the file cannot be written.
        """
        self._require_running()
        with closing(open_trail_files(self._state)) as trail:
            return export_everything(Path(path), trail, trail.key, Chosen(plaintext=plaintext))

    def publish(
        self,
        model: Compiled | LinearModel | NetworkModel,
        **options: Any,  # noqa: ANN401 -- those of the kind of model
    ) -> ModelCard:
        """Publish a compiled, a linear or a network model; it is served at once.

        Args:
            model: what to publish.
            **options: those of `Compiled.publish`, `publish_linear` or `publish_network`.

        Raises:
            ModelError: something else than a model.
            BlindproofError: it cannot be published.
        """
        self._require_running()
        if isinstance(model, LinearModel):
            return publish_linear(self._models, model, **options)
        if isinstance(model, NetworkModel):
            return publish_network(self._models, model, **options)
        if isinstance(model, Compiled):
            return model.publish(self._models, **options)
        raise ModelError(
            f"cannot publish a '{type(model).__name__}': pass what blindproof.compile returns, a "
            "LinearModel or a NetworkModel"
        )

    def model(
        self,
        card: ModelCard | str | bytes,
        *,
        packing: str = "auto",
        progress: bool = False,
        **options: Unpack[ClientOptions],
    ) -> VerifiedModel:
        """A client of a served model; closed with the server.

        Args:
            card: its card or digest.
            packing: see `VerifiedModel`.
            progress: see `VerifiedModel`.
            **options: see `VerifiedModel`.
        """
        self._require_running()
        assert self._running is not None  # noqa: S101 -- just required
        pinned = card.digest if isinstance(card, ModelCard) else card
        chosen: ClientOptions = {"ca": self._ca, "server_id": SERVER_ID, **options}
        model = VerifiedModel(
            self._address,
            model=pinned,
            keys=self._keys,
            packing=packing,
            progress=progress,
            **chosen,
        )
        return self._running.enter_context(model)

    def serve(
        self,
        model: Compiled | LinearModel | NetworkModel,
        **options: Any,  # noqa: ANN401 -- as for `publish`
    ) -> VerifiedModel:
        """Publish a model, and return a client of it: `publish` and `model` in one."""
        return self.model(self.publish(model, **options))

    def _require_running(self) -> None:
        if self._running is None:
            raise NotRunningError("the server runs inside its context only: with LocalServer() ...")
