"""`python -m server`: a server whose settings nobody gives as options; exit code 2 if it cannot.

They are in the environment, and in the file that BLINDPROOF_CONFIG names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from protocol.errors import BlindproofError
from server.configuration import FILE_VARIABLE, Configuration
from server.main import main

EXIT_CODE = 2

if __name__ == "__main__":
    try:
        file = os.environ.get(FILE_VARIABLE)
        main(Configuration(Path(file) if file else None))
    except BlindproofError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(EXIT_CODE)
