"""Private inference that proves itself.

The names users need, loaded when first used: `import blindproof` alone loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blindproof.collapsed_publishing import publish_collapsed
    from blindproof.compiled import Compiled, Simulated
    from blindproof.compiling import compile  # noqa: A004
    from blindproof.local_server import LocalServer
    from blindproof.network_publishing import NetworkModel, publish_network
    from blindproof.publishing import LinearModel, publish_linear
    from client_sdk import (
        AsyncClient,
        AuditError,
        Client,
        KeyStore,
        Result,
        verify_evidence,
        verify_receipt,
    )
    from client_sdk.verified_model import AsyncVerifiedModel, VerifiedModel
    from fhe_layers.importing.imported import UnsupportedModelError
    from fhe_layers.spec import (
        AddSpec,
        BatchNormSpec,
        Conv2dSpec,
        DenseSpec,
        FlattenSpec,
        GatherSpec,
        GroupedSelectionSpec,
        MulSpec,
        NetworkSpec,
        PolynomialSpec,
        PoolSpec,
        ScaleSpec,
        SelectionSpec,
    )
    from protocol.about import About
    from protocol.errors import BlindproofError, VerificationError
    from protocol.features import Category, Feature, Privacy, Thermometer
    from protocol.parameters import Mode, Packing

__all__ = [
    "About",
    "AddSpec",
    "AsyncClient",
    "AsyncVerifiedModel",
    "AuditError",
    "BatchNormSpec",
    "BlindproofError",
    "Category",
    "Client",
    "Compiled",
    "Conv2dSpec",
    "DenseSpec",
    "Feature",
    "FlattenSpec",
    "GatherSpec",
    "GroupedSelectionSpec",
    "KeyStore",
    "LinearModel",
    "LocalServer",
    "Mode",
    "MulSpec",
    "NetworkModel",
    "NetworkSpec",
    "Packing",
    "PolynomialSpec",
    "PoolSpec",
    "Privacy",
    "Result",
    "ScaleSpec",
    "SelectionSpec",
    "Simulated",
    "Thermometer",
    "UnsupportedModelError",
    "VerificationError",
    "VerifiedModel",
    "__version__",
    "compile",
    "publish_collapsed",
    "publish_linear",
    "publish_network",
    "verify_evidence",
    "verify_receipt",
]

_HOMES = {
    "About": "protocol.about",
    "AddSpec": "fhe_layers.spec",
    "AsyncClient": "client_sdk",
    "AsyncVerifiedModel": "client_sdk.verified_model",
    "AuditError": "client_sdk",
    "BatchNormSpec": "fhe_layers.spec",
    "BlindproofError": "protocol.errors",
    "Category": "protocol.features",
    "Client": "client_sdk",
    "Compiled": "blindproof.compiled",
    "Conv2dSpec": "fhe_layers.spec",
    "DenseSpec": "fhe_layers.spec",
    "Feature": "protocol.features",
    "FlattenSpec": "fhe_layers.spec",
    "GatherSpec": "fhe_layers.spec",
    "GroupedSelectionSpec": "fhe_layers.spec",
    "KeyStore": "client_sdk",
    "LinearModel": "blindproof.publishing",
    "LocalServer": "blindproof.local_server",
    "Mode": "protocol.parameters",
    "MulSpec": "fhe_layers.spec",
    "NetworkModel": "blindproof.network_publishing",
    "NetworkSpec": "fhe_layers.spec",
    "Packing": "protocol.parameters",
    "PolynomialSpec": "fhe_layers.spec",
    "PoolSpec": "fhe_layers.spec",
    "Privacy": "protocol.features",
    "Result": "client_sdk",
    "ScaleSpec": "fhe_layers.spec",
    "SelectionSpec": "fhe_layers.spec",
    "Simulated": "blindproof.compiled",
    "Thermometer": "protocol.features",
    "UnsupportedModelError": "fhe_layers.importing.imported",
    "VerificationError": "protocol.errors",
    "VerifiedModel": "client_sdk.verified_model",
    "compile": "blindproof.compiling",
    "publish_collapsed": "blindproof.collapsed_publishing",
    "publish_linear": "blindproof.publishing",
    "publish_network": "blindproof.network_publishing",
    "verify_evidence": "client_sdk",
    "verify_receipt": "client_sdk",
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
