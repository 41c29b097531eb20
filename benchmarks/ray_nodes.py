"""A Ray cluster of two nodes on loopback, in a process of its own.

The nodes have loopback addresses of their own and one processor each, open no dashboard, report no
usage, and keep nothing on disk but their logs, which go when the cluster does.  Nothing here needs
a network.  Whoever is on this machine can use them: a cluster for work has a token.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

HEAD, SECOND = "127.0.0.2", "127.0.0.3"
STORE_BYTES = 200 << 20
SESSION = "session"
_NODE_ID_BYTES = 28
_QUIET = {
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
}
_SYSTEM = {
    "automatic_object_spilling_enabled": False,
    "prestart_worker_first_driver": False,
    # A single record's request and answer go with their call, and not through object stores.
    "max_direct_call_object_size": 2 << 20,
    # Of a node that is gone its machine says so at once; these are for one that says nothing.
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 6,
}


@dataclass
class RayNodes:
    """A running cluster.

    Attributes:
        address: of its head.
        node_address: of the node that drivers of this machine use.
    """

    address: str
    node_address: str
    _orders: IO[str]
    _answers: IO[str]

    def lose_second(self) -> None:
        """Kill every process of the second node, without any farewell."""
        print("lose", file=self._orders, flush=True)
        self._answers.readline()


@contextmanager
def ray_nodes() -> Iterator[RayNodes]:
    """Run a cluster while the context lasts.

    Raises:
        RuntimeError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="ray") as home:
        process = subprocess.Popen(  # noqa: S603 -- this module
            [sys.executable, "-m", "benchmarks.ray_nodes", home],
            env={**os.environ, **_QUIET, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
        with process:
            try:
                address = process.stdout.readline().strip()
                if not address:
                    raise RuntimeError("the Ray cluster did not start")
                yield RayNodes(address, HEAD, process.stdin, process.stdout)
            finally:
                with suppress(BrokenPipeError):
                    process.stdin.close()  # the end of orders is the end of the cluster


def main(home: Path) -> None:
    """Run the cluster until the input ends; a line of it is the end of the second node."""
    from ray.cluster_utils import Cluster

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints is no answer
    cluster = Cluster()
    try:
        cluster.add_node(
            **_node(home, HEAD), temp_dir=str(home), session_name=SESSION, _system_config=_SYSTEM
        )
        second = cluster.add_node(**_node(home, SECOND))
        print(cluster.address, file=answers, flush=True)
        for _ in sys.stdin:
            cluster.remove_node(second, allow_graceful=False)
            print("lost", file=answers, flush=True)
    finally:
        cluster.shutdown()


def _node(home: Path, address: str) -> dict[str, Any]:
    """Parameters of a node that does not wait for its helpers.

    A node gives up for good when one of its helper processes takes more than 15 seconds to say on
    which ports it serves (ray-project/ray#65983), as on a machine that is busy with other tests.
    The one for the dashboard serves none in an installation without dashboard: that is said here in
    its place.  The port of the other is chosen here.
    """
    from ray._raylet import (
        DASHBOARD_AGENT_LISTEN_PORT_NAME,
        METRICS_AGENT_PORT_NAME,
        METRICS_EXPORT_PORT_NAME,
        persist_port,
    )

    session, node_id = home / SESSION, secrets.token_hex(_NODE_ID_BYTES)
    session.mkdir(exist_ok=True)
    for name in (
        DASHBOARD_AGENT_LISTEN_PORT_NAME,
        METRICS_AGENT_PORT_NAME,
        METRICS_EXPORT_PORT_NAME,
    ):
        persist_port(str(session), node_id, name, -1)
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    return {
        "node_ip_address": address,
        "num_cpus": 1,
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
        "include_log_monitor": False,
        "no_monitor": True,
        "runtime_env_agent_port": port,
        "env_vars": {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": node_id},
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
