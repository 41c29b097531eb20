from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest

from fhe_layers import seal_stream
from fhe_layers.ckks import CkksContext
from protocol.errors import EncodingError


def random_words(context: CkksContext, polys: int, rng: np.random.Generator) -> np.ndarray:
    moduli, degree = context.parameters.moduli, context.parameters.ring_degree
    return np.stack(
        [
            np.stack([rng.integers(0, q, degree, dtype=np.uint64) for q in moduli])
            for _ in range(polys)
        ]
    )


@pytest.mark.parametrize("polys", [2, 3])
def test_ciphertext_words_survive_seal(
    batch_context: CkksContext, rng: np.random.Generator, polys: int
) -> None:
    words = random_words(batch_context, polys, rng)
    parms_id = tuple(batch_context.seal.first_parms_id())
    stream = seal_stream.write_ciphertext(words, parms_id, 2.0**77, batch_context.stream_version)
    ciphertext = batch_context.library.Ciphertext()
    seal_stream.load(ciphertext, batch_context.seal, stream)
    assert (ciphertext.size(), ciphertext.scale, ciphertext.is_ntt_form()) == (polys, 2.0**77, True)
    assert ciphertext[12345] == words.reshape(-1)[12345]
    back = seal_stream.read_ciphertext(seal_stream.save(ciphertext))
    assert back.seed is None
    assert back.parms_id == parms_id
    np.testing.assert_array_equal(back.words, words)


def test_plaintext_words_survive_seal(batch_context: CkksContext, rng: np.random.Generator) -> None:
    words = random_words(batch_context, 1, rng)[0]
    parms_id = tuple(batch_context.seal.first_parms_id())
    stream = seal_stream.write_plaintext(words, parms_id, 2.0**5, batch_context.stream_version)
    plaintext = batch_context.library.Plaintext()
    seal_stream.load(plaintext, batch_context.seal, stream)
    back = seal_stream.read_plaintext(seal_stream.save(plaintext))
    assert (back.parms_id, plaintext.scale) == (parms_id, 2.0**5)
    np.testing.assert_array_equal(back.words, words.reshape(-1))


def test_what_is_written_is_what_is_read_without_seal(rng: np.random.Generator) -> None:
    words = rng.integers(0, 1 << 60, (2, 3, 16), dtype=np.uint64)
    stream = seal_stream.write_ciphertext(words, (1, 2, 3, 4), 1.0, (4, 3))
    assert seal_stream.stream_version(stream) == (4, 3)
    np.testing.assert_array_equal(seal_stream.read_ciphertext(stream).words, words)


def header(**changes: int) -> bytes:
    fields = {
        "magic": 0xA15E,
        "size": 16,
        "major": 4,
        "minor": 3,
        "compression": 0,
        "reserved": 0,
        "total": 16,
    } | changes
    return struct.pack("<HBBBBHQ", *fields.values())


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\x5e\xa1",
        header(magic=0xA15F),
        header(size=24),
        header(total=17),
        header(total=3),
        header(compression=1),
    ],
)
def test_a_bad_header_is_refused(stream: bytes) -> None:
    with pytest.raises(EncodingError):
        seal_stream.read_ciphertext(stream)


def test_a_word_count_that_does_not_fit_is_refused() -> None:
    words = np.zeros((2, 1, 8), dtype=np.uint64)
    stream = bytearray(seal_stream.write_ciphertext(words, (0, 0, 0, 0), 1.0, (4, 3)))
    count_offset = 16 + 73 + 16
    assert struct.unpack_from("<Q", stream, count_offset) == (16,)
    struct.pack_into("<Q", stream, count_offset, 15)
    with pytest.raises(EncodingError):
        seal_stream.read_ciphertext(bytes(stream))


def test_a_shape_that_does_not_fit_is_refused() -> None:
    words = np.zeros((2, 1, 8), dtype=np.uint64)
    stream = bytearray(seal_stream.write_ciphertext(words, (0, 0, 0, 0), 1.0, (4, 3)))
    size_offset = 16 + 33
    assert struct.unpack_from("<Q", stream, size_offset) == (2,)
    struct.pack_into("<Q", stream, size_offset, 3)
    with pytest.raises(EncodingError):
        seal_stream.read_ciphertext(bytes(stream))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_exchange_leaves_no_file_and_no_descriptor(batch_context: CkksContext) -> None:
    before = open_descriptors(), set(Path(tempfile.gettempdir()).iterdir())
    for _ in range(5):
        seal_stream.save(batch_context.library.KeyGenerator(batch_context.seal).secret_key())
    assert (open_descriptors(), set(Path(tempfile.gettempdir()).iterdir())) == before


def test_without_anonymous_files_a_private_directory_is_used_and_removed(
    batch_context: CkksContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    modes = []

    class Recorder:
        def save(self, path: str) -> None:
            modes.append(Path(path).parent.stat().st_mode & 0o777)
            Path(path).write_bytes(b"stream")

    assert seal_stream.save(Recorder()) == b"stream"
    assert modes == [0o700]
    secret = seal_stream.save(batch_context.library.KeyGenerator(batch_context.seal).secret_key())
    assert seal_stream.read_plaintext(secret).words.size == 4 * 8192
    assert list(tmp_path.iterdir()) == []
