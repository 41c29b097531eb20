"""A simulator: accepting proofs made without any witness.

It programs the random oracle, draws everything that a prover sends at random, and computes the
blinding rows that make the opened columns fit.
"""

from __future__ import annotations

import hashlib
import io
import os

import numpy as np

import kernels
from zk_layers.fields import field, reed_solomon
from zk_layers.ligero.messages import encode_projections, row_challenges
from zk_layers.ligero.shape import limb_shapes
from zk_layers.merkle import HASH_BYTES, LEAF_PREFIX, merkle_tree, open_leaves
from zk_layers.randomness import ProverRandomness
from zk_layers.reduction.exchange import Reading
from zk_layers.relation import Relation
from zk_layers.transcript import Transcript


def programmed(seed: bytes) -> type[Transcript]:
    """A transcript whose challenges are chosen beforehand: the programmed random oracle."""

    class ProgrammedTranscript(Transcript):
        def __init__(self, label: str) -> None:
            super().__init__(label)
            self._state = hashlib.sha256(seed).digest()

        def absorb(self, label: str, data: bytes) -> None:
            """The oracle answers whatever is asked as it was programmed."""

    return ProgrammedTranscript


def uniform(shape: tuple[int, ...], modulus: int) -> np.ndarray:
    count = int(np.prod(shape))
    return kernels.chacha_field(os.urandom(32), modulus, count).reshape(shape)


def simulated_messages(relation: Relation) -> bytes:
    """Messages of the reductions in the order of their schedule: uniform, every one."""
    schedule = getattr(relation, "schedule", None)
    if schedule is None:
        return b""
    lengths = [len(pads) for pads in schedule.outputs.rounds]
    for _, steps in schedule.steps:
        for step in steps:
            rounds = getattr(step, "rounds", ())
            lengths += [len(pads) for pads in rounds]
            lengths.append(step.elements - sum(len(pads) for pads in rounds))
    return b"".join(
        uniform((length, 2), modulus).tobytes() for length in lengths for modulus in relation.moduli
    )


def simulated(relation: Relation) -> bytes:
    """An accepting proof made from the statement and the programmed challenges only."""
    transcript = relation.begin()
    relation.absorb_after_root(transcript)
    code, shapes = relation.code, limb_shapes(relation)
    projections = relation.draw_projections(transcript)
    generator = ProverRandomness(os.urandom(32))
    integers = tuple(
        tuple(generator.masks(family.name, family.projections, family.interval))
        for family in relation.families
    )
    challenges = relation.draw_challenges(transcript, projections, integers)
    stream = io.BytesIO(simulated_messages(relation))
    challenges = relation.converse(
        challenges, Reading(transcript, relation.moduli, stream.read), None
    )
    weights = [
        row_challenges(transcript, limb, modulus, shape)
        for limb, (modulus, shape) in enumerate(zip(relation.moduli, shapes, strict=True))
    ]
    positions = transcript.challenge_positions("columns", code.opened_columns, code.codeword_length)
    messages: dict[str, list[np.ndarray]] = {"proximity": [], "linear": [], "quadratic": []}
    columns = []
    forms = relation.complete_forms(challenges)
    for limb, (modulus, shape) in enumerate(zip(relation.moduli, shapes, strict=True)):
        arithmetic, rows = field(modulus), reed_solomon(modulus, code)
        witness = uniform((shape.witness_rows, code.opened_columns), modulus)
        proximity = uniform((2, code.row_degree), modulus)
        linear = uniform((2, code.linear_length), modulus)
        constraints = shape.layout.place(forms[limb].coefficients, 2)
        flat = constraints.reshape(-1, code.message_length)
        values = kernels.gemm(modulus, flat, rows.lagrange(positions))
        values = values.reshape(2, -1, code.opened_columns)
        ones = np.ones((1, shape.witness_rows), dtype=np.uint64)
        combined = []
        for c in range(2):
            missing = forms[limb].target[c] - rows.group_sum(linear[c].copy())
            share = missing * pow(code.message_length, -1, modulus)
            linear[c, 0] = (int(linear[c, 0]) + share) % modulus
            products = arithmetic.mul(np.ascontiguousarray(values[c]), witness)
            combined.append(kernels.combine_rows(modulus, products, ones)[0])
        blinding = [
            arithmetic.sub(
                rows.evaluate_at(proximity, positions),
                kernels.combine_rows(modulus, witness, weights[limb][0]),
            ),
            arithmetic.sub(rows.evaluate_at(linear, positions), np.stack(combined)),
        ]
        messages["proximity"].append(proximity)
        messages["linear"].append(linear)
        if shape.quadratic:
            quotient = uniform((2, code.quotient_length), modulus)
            vanishing = np.zeros((1, code.message_length + 1), dtype=np.uint64)
            vanishing[0, 0], vanishing[0, -1] = modulus - 1, 1
            factor = np.repeat(rows.evaluate_at(vanishing, positions), 2, axis=0)
            values = arithmetic.mul(rows.evaluate_at(quotient, positions), factor)
            first, second, product = (
                np.ascontiguousarray(witness[shape.triples[:, i]]) for i in range(3)
            )
            defects = arithmetic.sub(arithmetic.mul(first, second), product)
            defects = kernels.combine_rows(modulus, defects, weights[limb][1])
            blinding.append(arithmetic.sub(values, defects))
            messages["quadratic"].append(quotient)
        columns.append(np.concatenate([witness, *blinding]))
    opened = np.ascontiguousarray(np.concatenate(columns).T)
    salts = np.frombuffer(os.urandom(32 * len(positions)), dtype=np.uint8).reshape(-1, 32)
    leaves = np.frombuffer(os.urandom(HASH_BYTES * code.codeword_length), dtype=np.uint8)
    leaves = leaves.reshape(-1, HASH_BYTES).copy()  # closed leaves hide behind their salts
    leaves[positions] = kernels.hash_leaves(opened, salts, LEAF_PREFIX)
    tree = merkle_tree(leaves)
    tests = b"".join(words.tobytes() for message in messages.values() for words in message)
    sent = encode_projections(relation.families, integers)
    paths = open_leaves(tree, positions)
    said = stream.getvalue()
    return tree[1].tobytes() + sent + said + tests + opened.tobytes() + salts.tobytes() + paths
