"""`python -m server`: a server with its settings from the environment; exit code 2 if it cannot."""

from __future__ import annotations

import sys

from protocol.errors import BlindproofError
from server.main import main
from server.settings import read_settings

EXIT_CODE = 2

if __name__ == "__main__":
    try:
        main(read_settings())
    except BlindproofError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(EXIT_CODE)
