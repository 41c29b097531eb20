from __future__ import annotations

from collections.abc import Callable

import pytest

from client_sdk.evidence import FORMAT, decode_evidence
from client_sdk.pinning import parse_digest, require_pinned
from protocol.encoding import encode
from protocol.errors import EncodingError, ModelError
from protocol.model import ModelCard

EMPTY = (b"", None, (), b"", b"", None, (), b"")


@pytest.fixture
def parsed(monkeypatch) -> list[bytes]:
    """The bytes given to the parser of cards, which still works."""
    seen: list[bytes] = []
    decoded: Callable[[bytes], ModelCard] = ModelCard.decoded

    def watched(data: bytes) -> ModelCard:
        seen.append(data)
        return decoded(data)

    monkeypatch.setattr(ModelCard, "decoded", watched)
    return seen


@pytest.mark.accepts("C-45")
def test_the_pinned_card_is_parsed(card, parsed):
    encoded = card.encoded()
    require_pinned(encoded, card.digest, "the card served has")
    with pytest.raises(EncodingError, match="request"):  # past the card, at what is empty here
        decode_evidence(encode((FORMAT, ((encoded, *EMPTY),))), card.digest)
    assert parsed == [encoded]


@pytest.mark.rejects("C-45")
@pytest.mark.parametrize("second", [b"no card", b""])
def test_no_card_of_an_evidence_file_is_parsed_before_all_are_the_pinned_one(card, parsed, second):
    data = encode((FORMAT, ((card.encoded(), *EMPTY), (second, *EMPTY))))
    with pytest.raises(ModelError, match=r"mismatch: expected .*, the evidence holds"):
        decode_evidence(data, card.digest)
    assert parsed == []


@pytest.mark.rejects("C-45")
def test_an_altered_card_is_not_the_pinned_one(card):
    altered = bytearray(card.encoded())
    altered[-1] ^= 1
    with pytest.raises(ModelError, match="the card served has"):
        require_pinned(bytes(altered), card.digest, "the card served has")


def test_digests_are_32_bytes_or_64_digits():
    assert parse_digest("ab" * 32) == parse_digest(b"\xab" * 32) == b"\xab" * 32
    for wrong in ("ab" * 31, b"\xab" * 33, "zz" * 32):
        with pytest.raises(ModelError, match="digest"):
            parse_digest(wrong)
