from __future__ import annotations

import pytest

from protocol.parameters import MAX_MODULUS_BITS
from wire import rpc
from wire.v1 import audit_pb2, inference_pb2, keys_pb2, models_pb2


def test_the_procedures_are_those_of_the_contract():
    described = {
        f"/{service.full_name}/{method.name}"
        for module in (audit_pb2, models_pb2, keys_pb2, inference_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert {method.path for method in rpc.METHODS} == described


@pytest.mark.parametrize("degree", sorted(MAX_MODULUS_BITS))
def test_one_ciphertext_of_every_supported_ring_fits_a_message(degree: int):
    limbs = MAX_MODULUS_BITS[degree] // 60
    assert limbs * degree * 8 + 1024 < rpc.MAX_MESSAGE_BYTES
