"""`python -m witness`: a witness with the settings of its environment."""

from __future__ import annotations

from witness.main import main
from witness.settings import read_settings

if __name__ == "__main__":
    main(read_settings())
