"""Private inference that proves itself.

The names users need, loaded when first used: `import blindproof` alone loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blindproof.network_publishing import NetworkModel, publish_network
    from blindproof.publishing import LinearModel, publish_linear
    from client_sdk import (
        AsyncClient,
        Client,
        KeyStore,
        Result,
        VerificationError,
        verify_evidence,
    )
    from fhe_layers.spec import NetworkSpec
    from protocol.errors import BlindproofError

__all__ = [
    "AsyncClient",
    "BlindproofError",
    "Client",
    "KeyStore",
    "LinearModel",
    "NetworkModel",
    "NetworkSpec",
    "Result",
    "VerificationError",
    "__version__",
    "publish_linear",
    "publish_network",
    "verify_evidence",
]

_HOMES = {
    "AsyncClient": "client_sdk",
    "BlindproofError": "protocol.errors",
    "Client": "client_sdk",
    "KeyStore": "client_sdk",
    "LinearModel": "blindproof.publishing",
    "NetworkModel": "blindproof.network_publishing",
    "NetworkSpec": "fhe_layers.spec",
    "Result": "client_sdk",
    "VerificationError": "protocol.errors",
    "publish_linear": "blindproof.publishing",
    "publish_network": "blindproof.network_publishing",
    "verify_evidence": "client_sdk",
}

try:
    __version__ = metadata.version("blindproof")
except metadata.PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> object:
    """Load a public name from the package it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'blindproof' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
