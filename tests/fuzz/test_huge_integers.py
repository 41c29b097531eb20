"""Integers of many thousand digits where smaller ones belong: refused by type, never printed.

Python refuses to print an integer of more than 4300 digits, with a ValueError from inside the very
message that was to refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client_sdk.evidence import Evidence, decode_evidence, encode_evidence
from client_sdk.keystore import KeyStore
from protocol.encoding import Value, decode, encode
from protocol.errors import BlindproofError
from protocol.model import ModelCard
from tests.integration import example_models
from tests.integration.conftest import World
from tests.integration.test_networks import BUNDLES
from wire.stored_key import decode_enrolment, decode_key, encode_enrolment, encode_key

HUGE = 1 << 20_000


def spoiled(value: Value) -> Iterator[Value]:
    """The value with one leaf, each in turn, replaced by a huge integer of either sign."""
    if not isinstance(value, tuple):
        yield HUGE
        yield -HUGE
        return
    for index, item in enumerate(value):
        for other in spoiled(item):
            yield (*value[:index], other, *value[index + 1 :])


def refuse_all(read, data: bytes) -> None:
    read(data)
    for value in spoiled(decode(data)):
        encoded = encode(value)
        with pytest.raises(BlindproofError):
            read(encoded)


@pytest.fixture(scope="module")
def evidence(world: World) -> Evidence:
    with world.client() as client:
        return client.predict(example_models.records(1)).evidence[0]


def test_the_printing_of_such_integers_fails():
    with pytest.raises(ValueError, match="4300 digits"):
        str(HUGE)


@pytest.mark.parametrize("name", ["private", "public", "two outputs"])
def test_cards_of_linear_models(world: World, name: str):
    refuse_all(ModelCard.decoded, world.models[name].card.encoded())


@pytest.mark.parametrize("name", ["perceptron", "public, every layer"])
def test_cards_of_networks(name: str):
    refuse_all(ModelCard.decoded, BUNDLES[name]().card.encoded())


def test_enrolled_keys(evidence: Evidence):
    refuse_all(decode_key, encode_key(evidence.enrolment.key))
    refuse_all(decode_enrolment, encode_enrolment(evidence.enrolment))


def test_evidence(evidence: Evidence):
    refuse_all(decode_evidence, encode_evidence((evidence,)))


def test_key_stores(tmp_path):
    keys = tmp_path / "keys"
    KeyStore(keys, passphrase="right")
    path = keys / "secrets.bin"
    for value in spoiled(decode(path.read_bytes())):
        path.write_bytes(encode(value))
        with pytest.raises(BlindproofError):
            KeyStore(keys, passphrase="right")
