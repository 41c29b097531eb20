"""`python -m server.workers FD PARENT`: a worker on an inherited socket; see `server.workers`.

What a supervisor or a terminal sends to the whole group of processes is the server's to decide on:
a worker ends when its server closes the connection or kills it.
"""

from __future__ import annotations

import signal
import sys

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)  # before what takes long to import

from server.workers.start import main  # noqa: E402

if __name__ == "__main__":
    main(sys.argv[1:])
