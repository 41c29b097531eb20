"""Who does the work on words, as the settings have it: this machine, or a cluster of many."""

from __future__ import annotations

import structlog

from server.answering import Answering, InThreads
from server.inference import SECRET_BYTES, InferenceEngine
from server.settings import Executor, ServerSettings
from server.starting import ServerError, starting
from server.workers.pool import InProcesses
from server.workers.sizing import worker_count
from wire.files import make_private_directory, read_or_create_secret

_log = structlog.get_logger("blindproof.server")


def secret_of(settings: ServerSettings) -> bytes:
    """The secret of the state directory, made if there is none.

    Raises:
        ServerError: it cannot be read, made, or kept from others.
    """
    with starting(settings.state):
        path = make_private_directory(settings.state) / "server.secret"
        new = not path.exists()
        secret = read_or_create_secret(path, SECRET_BYTES)
    if new:
        _log.warning("new state created", path=str(settings.state))
    return secret


def engine_of(settings: ServerSettings) -> InferenceEngine:
    """The honest engine, with the secret of the state directory.  Raises as `secret_of`."""
    return InferenceEngine(secret_of(settings))


def works_at_once(settings: ServerSettings, engine: InferenceEngine | None = None) -> int:
    """How many pieces of work `answering_of` does at once."""
    if engine is None and settings.executor is not Executor.THREADS:
        return worker_count(settings.workers)
    return settings.compute_threads


def answering_of(settings: ServerSettings, engine: InferenceEngine | None = None) -> Answering:
    """What does the work of one server; to be closed at its end.

    Args:
        settings: name the executor.
        engine: one that is not the honest one, which only threads of this process have.

    Raises:
        ServerError: there is no secret for it, or no cluster.
    """
    if engine is not None:
        return InThreads(engine, settings.compute_threads)
    secret = secret_of(settings)
    if settings.executor is Executor.PROCESSES:
        return InProcesses(
            secret,
            workers=worker_count(settings.workers),
            threads=settings.worker_threads,
            memory_bytes=settings.max_worker_bytes,
        )
    if settings.executor is Executor.RAY:
        return _in_ray(settings, secret)
    return InThreads(InferenceEngine(secret), settings.compute_threads)


def _in_ray(settings: ServerSettings, secret: bytes) -> Answering:
    """Raises ServerError: Ray is not installed, or there is no such cluster."""
    if settings.ray_address is None or settings.workers is None:
        raise ServerError("the executor 'ray' needs the settings 'ray_address' and 'workers'")
    try:
        from server.ray_answering.answering import InRay
    except ImportError:
        detail = "the executor 'ray' needs Ray: install blindproof with the extra 'ray'"
        raise ServerError(detail) from None
    return InRay(
        secret,
        address=settings.ray_address,
        node_address=settings.ray_node_address,
        workers=settings.workers,
        threads=settings.worker_threads,
        memory_bytes=settings.max_worker_bytes,
        shared_bytes=settings.ray_shared_bytes,
    )
