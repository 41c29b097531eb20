"""What operators see of the parts of a server: read from each when somebody asks."""

from __future__ import annotations

import datetime as dt

from server.admission import Admission
from server.answering import Answering
from server.reloading import Reloading
from server.telemetry import Telemetry, catalogue
from server.tls import ServerTls
from server.uploads import ParkedUploads
from server.workers.pool import Pool

_DAY = dt.timedelta(days=1)


def watch(
    telemetry: Telemetry,
    *,
    reloading: Reloading,
    admission: Admission,
    uploads: ParkedUploads,
    answering: Answering,
    tls: ServerTls,
) -> None:
    """Watch the parts of a server for as long as it runs."""
    for metric, read in (
        (catalogue.QUEUE_DEPTH, lambda: admission.waiting),
        (catalogue.PLACES_USED, lambda: admission.placed),
        (catalogue.PLACES_LIMIT, lambda: reloading.settings.max_requests),
        (catalogue.MEMORY_RESERVED, lambda: admission.held_bytes),
        (catalogue.MEMORY_LIMIT, lambda: reloading.settings.max_memory_bytes),
        (catalogue.UPLOADS_PARKED, lambda: len(uploads)),
        (catalogue.CONFIGURATION_REFUSED, lambda: int(reloading.refused)),
        (catalogue.UPLOADS_PARKED_SIZE, lambda: uploads.held_bytes),
    ):
        telemetry.watch(metric, read)
    telemetry.watch(
        catalogue.CERTIFICATE_EXPIRY,
        lambda: {"server": (tls.expires - dt.datetime.now(dt.UTC)) / _DAY},
    )
    if isinstance(answering, Pool):
        _watch_workers(telemetry, answering)


def _watch_workers(telemetry: Telemetry, pool: Pool) -> None:
    def states() -> dict[str, float]:
        state = pool.state
        return {"idle": state.workers - state.busy, "busy": state.busy}

    telemetry.watch(catalogue.WORKERS, states)
    telemetry.watch(catalogue.WORKS_WAITING, lambda: pool.state.waiting)
    telemetry.watch(
        catalogue.WORKERS_ENDED, lambda: {"lost": pool.state.lost, "stopped": pool.state.stopped}
    )
    telemetry.watch(catalogue.WORKER_MEMORY, lambda: pool.state.resident_bytes)
