"""A vendor's server that shows the licensed card and computes with other weights."""

import logging
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from blindproof.authority import Authority
from blindproof.demo.cheats import Cheat, DishonestEngine
from blindproof.loopback import server_thread
from server.inference import SECRET_BYTES
from server.settings import ServerSettings


@contextmanager
def cheating_server(models: Path) -> Iterator[tuple[str, Path]]:
    """Serve published models dishonestly; yields the address and the authority's certificate."""
    with tempfile.TemporaryDirectory() as home:
        authority = Authority.fresh()
        certificate, key = authority.issue(Path(home), "localhost")
        settings = ServerSettings(
            listen="127.0.0.1:0",
            tls_certificate=certificate,
            tls_key=key,
            models=models,
            state=Path(home),
        )
        engine = DishonestEngine(secrets.token_bytes(SECRET_BYTES))
        engine.cheat = Cheat.OTHER_MODEL
        quiet = structlog.make_filtering_bound_logger(logging.WARNING)
        structlog.configure(wrapper_class=quiet)
        with server_thread(settings, engine) as address:
            yield address, authority.write(Path(home) / "ca.pem")
