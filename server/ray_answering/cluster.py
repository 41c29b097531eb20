"""The connection between a server and its cluster."""

from __future__ import annotations

import logging
import os
import socket
import threading
from concurrent.futures import Future

import ray

from server.starting import ServerError

CONNECT_SECONDS = 60.0
REACH_SECONDS = 5.0
AUTO = "auto"
"""The address of a cluster which has a node on this machine and is the only one to have."""


def connect(address: str, node_address: str | None) -> None:
    """Make this process a driver of a cluster which has a node on this machine.

    Ray is asked in a thread of its own: it would try for minutes, and take the handling of SIGTERM
    away from the server.

    Args:
        address: host:port of the cluster's head, or "auto".
        node_address: this machine's address among the nodes; what Ray finds if None.

    Raises:
        ServerError: the cluster cannot be joined.
    """
    if ray.is_initialized():
        raise ServerError("this process is connected to a Ray cluster already")
    _require_listener(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    outcome: Future[object] = Future()

    def join() -> None:
        try:
            outcome.set_result(
                ray.init(
                    address=address,
                    log_to_driver=False,
                    configure_logging=False,
                    _node_ip_address=node_address,
                )
            )
        except Exception as error:  # noqa: BLE001 -- whatever it is, there is no connection
            outcome.set_exception(error)

    threading.Thread(target=join, name="blindproof-ray", daemon=True).start()
    try:
        outcome.result(CONNECT_SECONDS)
    except TimeoutError:
        raise ServerError(f"the Ray cluster at {address} cannot be joined") from None
    except Exception as error:
        raise ServerError(f"the Ray cluster at {address} cannot be joined: {error}") from error


def disconnect() -> None:
    """Leave the cluster, which ends what the server started there."""
    ray.shutdown()


def _require_listener(address: str) -> None:
    """Raises ServerError."""
    if address == AUTO:
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ServerError(f"there is no Ray cluster at {address}") from error
