"""The fuzz tests attack the server of the integration tests."""

from __future__ import annotations

from tests.integration.conftest import quiet_server, world

__all__ = ["quiet_server", "world"]
