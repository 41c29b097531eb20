"""A witness that cosigns every step of a growing log, until it is killed.

Run by `test_witness_crash.py`: state directory, directory of requests, and whether to be killed
between the first commit and its signature.  Each answer is a line: the size that was cosigned.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from pathlib import Path

import structlog

import witness.cosigning
from tests.unit.audit.example_receipts import LOG_KEY
from witness.cosigning import CosigningWitness
from witness.errors import RefusedError
from witness.keys import SEEN_FILE, read_keys
from witness.seen import SeenHeads


def main() -> None:
    state, requests, killed_early = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "early"
    structlog.configure(processors=[lambda *_: ""], logger_factory=structlog.ReturnLoggerFactory())
    if killed_early:
        witness.cosigning.cosign = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    cosigning = CosigningWitness(read_keys(state), [LOG_KEY], SeenHeads(state / SEEN_FILE))
    for size in count(1):
        try:
            cosigning.add_checkpoint((requests / str(size)).read_bytes())
        except RefusedError:
            continue  # cosigned before this process began
        os.write(1, f"{size}\n".encode())


if __name__ == "__main__":
    main()
