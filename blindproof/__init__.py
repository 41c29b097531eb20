"""Private inference that proves itself.

The names users need, loaded when first used: `import blindproof` alone loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blindproof.collapsed_publishing import publish_collapsed
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
    from fhe_layers.spec import (
        AddSpec,
        BatchNormSpec,
        Conv2dSpec,
        DenseSpec,
        FlattenSpec,
        MulSpec,
        NetworkSpec,
        PolynomialSpec,
        PoolSpec,
        ScaleSpec,
        SelectionSpec,
    )
    from protocol.errors import BlindproofError
    from protocol.model import Feature
    from protocol.parameters import Mode, Packing

__all__ = [
    "AddSpec",
    "AsyncClient",
    "BatchNormSpec",
    "BlindproofError",
    "Client",
    "Conv2dSpec",
    "DenseSpec",
    "Feature",
    "FlattenSpec",
    "KeyStore",
    "LinearModel",
    "Mode",
    "MulSpec",
    "NetworkModel",
    "NetworkSpec",
    "Packing",
    "PolynomialSpec",
    "PoolSpec",
    "Result",
    "ScaleSpec",
    "SelectionSpec",
    "VerificationError",
    "__version__",
    "publish_collapsed",
    "publish_linear",
    "publish_network",
    "verify_evidence",
]

_HOMES = {
    "AddSpec": "fhe_layers.spec",
    "AsyncClient": "client_sdk",
    "BatchNormSpec": "fhe_layers.spec",
    "BlindproofError": "protocol.errors",
    "Client": "client_sdk",
    "Conv2dSpec": "fhe_layers.spec",
    "DenseSpec": "fhe_layers.spec",
    "Feature": "protocol.model",
    "FlattenSpec": "fhe_layers.spec",
    "KeyStore": "client_sdk",
    "LinearModel": "blindproof.publishing",
    "Mode": "protocol.parameters",
    "MulSpec": "fhe_layers.spec",
    "NetworkModel": "blindproof.network_publishing",
    "NetworkSpec": "fhe_layers.spec",
    "Packing": "protocol.parameters",
    "PolynomialSpec": "fhe_layers.spec",
    "PoolSpec": "fhe_layers.spec",
    "Result": "client_sdk",
    "ScaleSpec": "fhe_layers.spec",
    "SelectionSpec": "fhe_layers.spec",
    "VerificationError": "protocol.errors",
    "publish_collapsed": "blindproof.collapsed_publishing",
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
