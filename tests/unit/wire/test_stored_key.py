from __future__ import annotations

import numpy as np
import pytest

from protocol.encoding import decode, encode
from protocol.errors import BlindproofError
from wire.stored_key import decode_key, encode_key


def test_a_key_comes_back_as_the_same_key(key):
    again = decode_key(encode_key(key))
    assert again.digest == key.digest
    assert again.request == key.request
    assert np.array_equal(again.b, key.b)


@pytest.mark.parametrize("index", range(4))
def test_every_field_is_checked(key, index: int):
    fields = list(decode(encode_key(key)))
    for wrong in (None, b"", (), "text", 1):
        changed = [*fields[:index], wrong, *fields[index + 1 :]]
        with pytest.raises(BlindproofError):
            decode_key(encode(tuple(changed)))


def test_another_protocol_version_is_refused(key):
    request, *rest = decode(encode_key(key))
    with pytest.raises(BlindproofError, match="protocol version"):
        decode_key(encode((("blindproof/0", *request[1:]), *rest)))


def test_words_above_the_modulus_are_refused(key):
    *fields, data = decode(encode_key(key))
    with pytest.raises(BlindproofError, match="not below"):
        decode_key(encode((*fields, b"\xff" * len(data))))
