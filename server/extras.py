"""Optional dependencies: what a setting asks for must be installed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from protocol.errors import BlindproofError


class ExtraMissingError(BlindproofError):
    """A setting asks for something whose dependencies are not installed."""


@contextlib.contextmanager
def needing(extra: str) -> Iterator[None]:
    """Import what an extra brings.  Raises ExtraMissingError, which says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissingError(
            f"{error.name} is not installed: pip install 'blindproof[{extra}]'"
        ) from error
