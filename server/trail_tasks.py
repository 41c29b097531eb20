"""What runs beside the calls, for the audit trail: retention, and if configured witnesses and page.

Witnesses and the page need extras, and are loaded only if a setting asks for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from audit.errors import AuditError
from audit.retention import RetentionRules, sweep
from server.cosigning import Cosigning
from server.extras import needing
from server.settings import ServerSettings
from server.tls import ServerTls
from server.trail_files import TrailFiles

SWEEP_SECONDS = 3600.0
PAGE_TOKEN = "audit-page.token"  # noqa: S105 -- a file's name
_DAY_SECONDS = 86400.0

_log = structlog.get_logger("blindproof.server")


def retention_rules(settings: ServerSettings) -> RetentionRules:
    """How long archived bytes stay."""
    requests, responses = (
        None if days is None else days * _DAY_SECONDS
        for days in (settings.audit_requests_days, settings.audit_responses_days)
    )
    return RetentionRules(requests, responses)


@asynccontextmanager
async def sweeping(settings: ServerSettings, files: TrailFiles) -> AsyncIterator[None]:
    """Apply the retention rules now and every hour while the context lasts."""
    stop = asyncio.Event()
    task = asyncio.create_task(_sweep_until(stop, retention_rules(settings), files))
    try:
        yield
    finally:
        stop.set()
        await task


async def _sweep_until(stop: asyncio.Event, rules: RetentionRules, files: TrailFiles) -> None:
    while not stop.is_set():
        try:
            swept = await asyncio.to_thread(sweep, files.archive, rules, time.time_ns())
            if any(vars(swept).values()):
                _log.info("archive swept", **vars(swept))
        except (AuditError, OSError) as error:
            _log.error("archive not swept", error=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SWEEP_SECONDS)


@asynccontextmanager
async def witnesses(settings: ServerSettings, files: TrailFiles) -> AsyncIterator[Cosigning | None]:
    """Have the log cosigned by its witnesses while the context lasts, if it has some.

    Raises:
        PolicyError, WitnessError, ExtraMissingError: they cannot be asked.
    """
    if settings.audit_witnesses is None:
        yield None
        return
    with needing("witness"):
        from audit.witness_policy import read_policy
        from server.witnesses import Witnesses
    asked = Witnesses(read_policy(settings.audit_witnesses), files.log, files.key)
    stop = asyncio.Event()
    task = asyncio.create_task(asked.run(stop))
    try:
        yield asked
    finally:
        stop.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asked.aclose()


@asynccontextmanager
async def page(settings: ServerSettings, files: TrailFiles, tls: ServerTls) -> AsyncIterator[None]:
    """Serve the page while the context lasts, if it is asked for; browsers show no certificate.

    Raises:
        ListenError, PolicyError, StorageError, ExtraMissingError: it cannot be served.
    """
    if settings.audit_page is None:
        yield
        return
    with needing("web"):
        from server.page import TrailReader, serving
    policy = None
    if settings.audit_witnesses is not None:
        with needing("witness"):
            from audit.witness_policy import read_policy
        policy = read_policy(settings.audit_witnesses)
    reader = TrailReader(files.log, files.archive, files.key, policy)
    token = settings.audit_page_token or settings.state / PAGE_TOKEN
    async with serving(settings.audit_page, tls.context(), token, reader):
        yield
