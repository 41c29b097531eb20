"""Thousands of random mutations of proofs and statements: all are refused, by the typed error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from protocol.errors import BlindproofError, VerificationError
from protocol.keys import EnrolledKey, KeyRequest
from tests.adversarial.malicious_prover import without
from tests.adversarial.scenario import (
    DEGREE,
    MODULI,
    SERVER_KEY,
    Batch,
    Single,
    make_card,
    random_model,
)
from zk_layers.checks import Check
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.ligero.messages import projection_bytes
from zk_layers.ligero.shape import limb_shapes
from zk_layers.merkle import HASH_BYTES, SALT_BYTES
from zk_layers.prove import EnrolmentProver, prove_registration
from zk_layers.registration import RegistrationRelation
from zk_layers.relation import Relation
from zk_layers.verify import verify_enrolment, verify_linear, verify_registration

MUTATIONS_PER_PROOF = 720
MUTATIONS_PER_STATEMENT = 60


@dataclass(frozen=True)
class Subject:
    """A proof, its relation, and how it is verified."""

    relation: Relation
    proof: bytes
    verification: Callable[[bytes], object]


@pytest.fixture(scope="module")
def subjects(batch, batch_proof, single, single_proof) -> dict[str, Subject]:
    integers, opening = random_model(31, 1, 3)
    card = make_card(integers, opening)
    registration = prove_registration(card, integers, opening, SERVER_KEY)
    request = KeyRequest("client", "server", DEGREE, MODULI[:1], 1)
    secret = np.random.default_rng(4).integers(-1, 2, DEGREE).astype(np.int8)
    key, enrolment = EnrolmentProver(request, secret).answer(bytes(32))
    return {
        "batch": Subject(
            batch.relation, batch_proof, lambda proof: verify_linear(batch.relation, proof)
        ),
        "single": Subject(
            single.relation, single_proof, lambda proof: verify_linear(single.relation, proof)
        ),
        "registration": Subject(
            RegistrationRelation(card),
            registration,
            lambda proof: verify_registration(card, proof),
        ),
        "enrolment": Subject(
            EnrolmentRelation(request, key),
            enrolment,
            lambda proof: verify_enrolment(key, proof),
        ),
    }


NAMES = ["batch", "single", "registration", "enrolment"]


def regions(subject: Subject) -> dict[str, range]:
    """Byte ranges of the fields of a proof."""
    relation, code = subject.relation, subject.relation.code
    shapes = limb_shapes(relation)
    limbs, quadratic = len(shapes), sum(shape.quadratic for shape in shapes)
    sizes = {
        "root": HASH_BYTES,
        "integers": projection_bytes(relation.families),
        "proximity": 16 * limbs * code.row_degree,
        "linear": 16 * limbs * code.linear_length,
        "quadratic": 16 * quadratic * code.quotient_length,
        "columns": 8 * code.opened_columns * sum(shape.rows for shape in shapes),
        "salts": SALT_BYTES * code.opened_columns,
    }
    found, at = {}, 0
    for name, size in sizes.items():
        if size:
            found[name] = range(at, at + size)
        at += size
    return {**found, "paths": range(at, len(subject.proof))}


def mutations(rng: np.random.Generator, subject: Subject, count: int) -> Iterator[bytes]:
    """Flips, zeroed, repeated and swapped stretches, boundary words, cuts and additions."""
    proof, fields = subject.proof, list(regions(subject).values())
    boundaries = [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
    boundaries += [q + d for q in subject.relation.moduli for d in (-1, 0, 1)]
    for index in range(count):
        field = fields[index % len(fields)]
        at = int(rng.integers(field.start, field.stop))
        size = int(min(rng.integers(1, 65), field.stop - at))
        other = int(rng.integers(field.start, field.stop - size + 1))
        kind = (index // len(fields)) % 8
        changed = bytearray(proof)
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at : at + size] = bytes(size)
        elif kind == 2:
            changed[at : at + size] = proof[other : other + size]
        elif kind == 3:
            changed[at : at + size], changed[other : other + size] = (
                proof[other : other + size],
                proof[at : at + size],
            )
        elif kind == 4:
            word = field.start + (at - field.start) // 8 * 8
            chosen = boundaries[int(rng.integers(len(boundaries)))]
            changed[word : word + 8] = chosen.to_bytes(8, "little")
        elif kind == 5:
            del changed[at : at + size]
        elif kind == 6:
            changed[at:at] = rng.bytes(size)
        else:
            changed[at : at + size] = rng.bytes(size)
        yield bytes(changed)


@pytest.mark.rejects("C-35")
@pytest.mark.rejects("C-39")
@pytest.mark.parametrize("name", NAMES)
def test_mutated_proofs(subjects, name):
    subject = subjects[name]
    subject.verification(subject.proof)
    rng = np.random.default_rng(NAMES.index(name))
    tried = 0
    for changed in mutations(rng, subject, MUTATIONS_PER_PROOF):
        if changed == subject.proof:
            continue  # a swap with itself, or zeros over zeros
        with pytest.raises(VerificationError):
            subject.verification(changed)
        tried += 1
    assert tried > 0.9 * MUTATIONS_PER_PROOF


@pytest.mark.rejects("C-31")
@pytest.mark.rejects("C-39")
@pytest.mark.parametrize("name", NAMES)
def test_mutated_columns_if_no_tree_bound_them(subjects, name):
    """With the Merkle check removed the algebra has to see every word, and never to stumble."""
    subject = subjects[name]
    columns = regions(subject)["columns"]
    rng = np.random.default_rng(60 + NAMES.index(name))
    boundaries = [0, 1, (1 << 63) - 1, (1 << 64) - 1]
    boundaries += [q + d for q in subject.relation.moduli for d in (-1, 0, 1)]
    with without(Check.MERKLE):
        for index in range(60):
            at = columns.start + 8 * int(rng.integers(len(columns) // 8))
            word = int.from_bytes(subject.proof[at : at + 8], "little")
            changed = boundaries[index % len(boundaries)] if index % 2 else word ^ (1 << index % 60)
            if changed == word:
                continue
            proof = subject.proof[:at] + changed.to_bytes(8, "little") + subject.proof[at + 8 :]
            with pytest.raises(VerificationError) as refused:
                subject.verification(proof)
            assert refused.value.check in {
                Check.CANONICAL,
                Check.PROXIMITY,
                Check.LINEAR,
                Check.QUADRATIC,
            }


@pytest.mark.rejects("C-35")
@pytest.mark.parametrize("name", NAMES)
def test_proofs_cut_at_every_field(subjects, name):
    subject = subjects[name]
    ends = [field.stop for field in regions(subject).values()]
    for end in {0, 1, 31, *ends[:-1], *(end - 1 for end in ends), *(end + 1 for end in ends[:-1])}:
        with pytest.raises(VerificationError) as refused:
            subject.verification(subject.proof[:end])
        assert refused.value.check == Check.SIZE
    for tail in (b"\0", bytes(8), bytes(32), subject.proof):
        with pytest.raises(VerificationError) as refused:
            subject.verification(subject.proof + tail)
        assert refused.value.check == Check.SIZE


@pytest.mark.rejects("C-34")
@pytest.mark.parametrize("name", NAMES)
def test_columns_salts_and_paths_reordered(subjects, name):
    subject = subjects[name]
    code, fields = subject.relation.code, regions(subject)
    for field, parts in (
        ("columns", code.opened_columns),
        ("salts", code.opened_columns),
        ("paths", len(fields["paths"]) // HASH_BYTES),
    ):
        span = fields[field]
        size = len(span) // parts
        pieces = [subject.proof[at : at + size] for at in range(span.start, span.stop, size)]
        for order in (pieces[::-1], [*pieces[1:], pieces[0]], [pieces[1], pieces[0], *pieces[2:]]):
            moved = subject.proof[: span.start] + b"".join(order) + subject.proof[span.stop :]
            with pytest.raises(VerificationError) as refused:
                subject.verification(moved)
            assert refused.value.check == Check.MERKLE


@pytest.mark.rejects("C-34")
@pytest.mark.parametrize("name", NAMES)
def test_columns_moved_between_fields_of_the_same_leaf(subjects, name):
    """A leaf is salt and words: shifting words inside one column is another leaf."""
    subject = subjects[name]
    columns = regions(subject)["columns"]
    size = len(columns) // subject.relation.code.opened_columns
    leaf = subject.proof[columns.start : columns.start + size]
    rolled = leaf[8:] + leaf[:8]
    moved = subject.proof[: columns.start] + rolled + subject.proof[columns.start + size :]
    with pytest.raises(VerificationError) as refused:
        subject.verification(moved)
    assert refused.value.check == Check.MERKLE


def mutated_words(rng: np.random.Generator, words: np.ndarray) -> np.ndarray:
    """One word changed by one of five rules."""
    flat = words.reshape(-1).copy()
    at, other = (int(i) for i in rng.integers(0, flat.size, 2))
    rule = int(rng.integers(5))
    if rule == 0:
        flat[at] ^= np.uint64(1) << np.uint64(rng.integers(64))
    elif rule == 1:
        flat[at] = 0
    elif rule == 2:
        flat[at], flat[other] = flat[other], flat[at]
    elif rule == 3:
        flat[at] = np.uint64((1 << 64) - 1)
    else:
        flat[at] = MODULI[int(rng.integers(len(MODULI)))]
    return flat.reshape(words.shape)


def mutated_statements(
    rng: np.random.Generator, answer: Batch | Single
) -> Iterator[Batch | Single]:
    names = ["outputs", "keys"] if isinstance(answer, Batch) else ["mask", "body", "key"]
    for index in range(MUTATIONS_PER_STATEMENT):
        if index % 3 == 0:
            request = answer.request
            field = ("nonce", "request_id", "key_digest", "input_digest", "log_head")[index % 5]
            data = bytearray(getattr(request, field))
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
            yield replace(answer, request=replace(request, **{field: bytes(data)}))
        else:
            name = names[index % len(names)]
            yield replace(answer, **{name: mutated_words(rng, getattr(answer, name))})


@pytest.mark.rejects("C-05")
@pytest.mark.rejects("C-06")
@pytest.mark.parametrize("name", ["batch", "single"])
def test_mutated_statements(request, name):
    answer = request.getfixturevalue(name)
    proof = request.getfixturevalue(f"{name}_proof")
    rng = np.random.default_rng(50)
    for changed in mutated_statements(rng, answer):
        same = all(
            np.array_equal(getattr(changed, part), getattr(answer, part))
            for part in ("inputs", "outputs", "keys", "mask", "body", "key")
            if hasattr(answer, part)
        )
        if same and changed.request == answer.request:
            continue
        with pytest.raises(VerificationError):
            verify_linear(changed.relation, proof)


@pytest.mark.rejects("C-23")
def test_mutated_keys(subjects):
    subject = subjects["enrolment"]
    key: EnrolledKey = subject.relation.key
    rng = np.random.default_rng(51)
    for _ in range(MUTATIONS_PER_STATEMENT):
        words = mutated_words(rng, key.b)
        if np.array_equal(words, key.b):
            continue
        with pytest.raises(BlindproofError):  # a word too large is refused as a key already
            verify_enrolment(replace(key, b=words), subject.proof)
