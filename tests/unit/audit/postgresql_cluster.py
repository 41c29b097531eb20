"""A PostgreSQL cluster of the tests' own: a directory under /tmp, and a socket in it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")
ACCOUNTS = ("postgres", "nobody")
GUARD = 'read line; "$0" --pgdata="$1/data" --wait --mode=immediate stop; rm -rf "$1"'


def find_binaries():
    """The directory of initdb and pg_ctl, None if PostgreSQL is not installed."""
    places = [Path(found).parent] if (found := shutil.which("initdb")) else []
    if DEBIAN.is_dir():
        versions = [path for path in DEBIAN.iterdir() if path.name.isdigit()]
        places += [path / "bin" for path in sorted(versions, key=lambda path: -int(path.name))]
    return next((place for place in places if (place / "pg_ctl").exists()), None)


class Cluster:
    """Started by `start`; what it is told of durability is for tests, which kill only clients."""

    def __init__(self, binaries):
        self._binaries = binaries
        account = _account()
        self._user = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid}
        self._directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        if account is not None:
            os.chown(self._directory, account.pw_uid, account.pw_gid)
        self._guard = self._guarded()
        self._run(
            "initdb",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--no-locale",
            "--username=audit",
        )
        self.start()

    def start(self):
        socket = f"-k {self._directory} -c listen_addresses= -c fsync=off"
        log = self._directory / "log"
        self._run("pg_ctl", "--wait", f"--log={log}", f"--options={socket}", "start")

    def stop(self):
        """As if the machine had gone: connections end in the middle of what they do."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")

    def remove(self):
        self._guard.communicate(timeout=120)

    def url(self, database):
        return f"postgresql:///{database}?host={self._directory}&user=audit"

    def _guarded(self):
        """A process that ends the server and its files once this one has ended, however it did."""
        return subprocess.Popen(
            ["/bin/sh", "-c", GUARD, self._binaries / "pg_ctl", self._directory],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **self._user,
        )

    def _run(self, program, *arguments):
        subprocess.run(
            [self._binaries / program, f"--pgdata={self._directory}/data", *arguments],
            check=True,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            **self._user,
        )


def _account():
    """Who runs the server: it refuses to be run by root; None for oneself."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LookupError(f"PostgreSQL needs an account other than root: {' or '.join(ACCOUNTS)}")
