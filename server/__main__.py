"""`python -m server`: a server with its settings from the environment."""

from __future__ import annotations

from server.main import main
from server.settings import ServerSettings

main(ServerSettings())
