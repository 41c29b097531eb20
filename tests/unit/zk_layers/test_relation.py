from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RequestError
from protocol.families import (
    Family,
    FamilyKind,
    flooding_family,
    opening_family,
    small_family,
    weights_family,
)
from tests.adversarial.malicious_prover import MaliciousProver, violations
from tests.adversarial.network_scenario import one_output
from tests.adversarial.scenario import (
    MODULI,
    SERVER_KEY,
    make_batch,
    make_card,
    make_single,
    random_model,
)
from zk_layers.fields import field
from zk_layers.layers.linear import BatchLinearRelation, LinearWitness, flooding_bits
from zk_layers.ligero.messages import (
    decode_projections,
    encode_projections,
    projection_bytes,
)
from zk_layers.ligero.shape import limb_shapes
from zk_layers.merkle import sibling_nodes
from zk_layers.prove import prove_linear
from zk_layers.registration import RegistrationRelation
from zk_layers.relation import Block, Layout, mask_name
from zk_layers.shortness import Projection, integer_residues
from zk_layers.transcript import Transcript


@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=6),
    st.sampled_from([4, 8, 16]),
)
def test_blocks_never_overlap_and_aligned_ones_start_rows(sizes, length):
    blocks = [Block(f"b{i}", size, aligned) for i, (size, aligned) in enumerate(sizes)]
    layout = Layout(blocks, length)
    end = 0
    for block in blocks:
        span = layout.spans[block.name]
        assert span.start >= end
        assert span.stop - span.start == block.size
        assert span.start - end < length
        if block.aligned:
            assert span.start % length == 0
            assert len(layout.rows_of(block.name)) == -(-block.size // length)
        end = span.stop
    assert layout.rows * length - end < length


def test_placed_contents_come_back_and_gaps_are_zero():
    layout = Layout([Block("a", 5), Block("b", 9, aligned=True), Block("c", 2)], 4)
    rng = np.random.default_rng(1)
    contents = {
        name: rng.integers(1, 9, (2, size), dtype=np.uint64)
        for name, size in (("a", 5), ("b", 9), ("c", 2))
    }
    placed = layout.place(contents, 2)
    assert placed.shape == (2, layout.rows, 4)
    flat = placed.reshape(2, -1)
    covered = np.zeros(flat.shape[1], dtype=bool)
    for name, content in contents.items():
        assert (flat[:, layout.spans[name]] == content).all()
        covered[layout.spans[name]] = True
    assert not flat[:, ~covered].any()
    assert list(layout.rows_of("b")) == [2, 3, 4]


@pytest.mark.rejects("C-33")
@pytest.mark.parametrize("make", [make_batch, make_single])
def test_rows_of_products_hold_nothing_but_their_block(make):
    """A product is checked row by row: a neighbour in the last row would be dragged in."""
    integers, opening = random_model(1, 2, 3)
    for relation in (make(outputs=2).relation, RegistrationRelation(make_card(integers, opening))):
        for limb, layout in enumerate(relation.layouts()):
            for names in relation.products(limb):
                for name in names:
                    rows = layout.rows_of(name)
                    assert layout.spans[name].start == rows[0] * layout.message_length
                    for other, span in layout.spans.items():
                        first = span.start // layout.message_length
                        last = (span.stop - 1) // layout.message_length
                        assert other == name or last < rows[0] or first > rows[-1]


FAMILIES = [
    flooding_family(100, 92, (0, 1, 2)),
    small_family(100, 100, (0, 1)),
    weights_family(31, (0, 1)),
    opening_family(),
]


@pytest.mark.rejects("C-20")
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_projections_survive_their_encoding_at_the_edges_of_the_interval(family):
    edge = family.interval
    limit = 1 << (8 * family.encoded_bytes - 1)
    assert edge + 1 <= limit, "the edge itself must be representable"
    assert limit <= edge << 9, "no more than a byte too wide"
    values = [0, 1, -1, edge, -edge, edge - 1, limit - 1, -limit]
    values += [0] * (family.projections - len(values))
    data = encode_projections([family], [values])
    assert len(data) == projection_bytes([family]) == family.encoded_bytes * family.projections
    assert decode_projections([family], data) == (tuple(values),)
    for outside in (limit, -limit - 1):
        with pytest.raises(OverflowError):
            encode_projections([family], [[outside] * family.projections])


@given(st.lists(st.integers(-(1 << 23), (1 << 23) - 1), min_size=128, max_size=128))
def test_projections_of_several_families_come_back(values):
    small = opening_family()
    wide = replace(small, name="wide", mask_bound=small.mask_bound << 9)
    data = encode_projections([small, wide], [values, values[::-1]])
    assert decode_projections([small, wide], data) == (tuple(values), tuple(values[::-1]))


@pytest.mark.rejects("C-21")
@pytest.mark.parametrize("kind", list(FamilyKind))
def test_folding_and_projecting_are_transposes(kind):
    family = Family("x", 37, (0,), kind, 1, 1 << 57)
    projection = Projection.draw(Transcript("t"), family)
    rng = np.random.default_rng(3)
    members = rng.integers(-1000, 1000, 37)
    modulus = MODULI[0]
    gammas = rng.integers(0, modulus, (2, family.projections), dtype=np.uint64)
    projected = integer_residues(projection.project(members), modulus)
    folded = projection.fold(gammas, modulus)
    words = field(modulus).reduce_i64(members)
    for c in range(2):
        left = field(modulus).dot(gammas[c].copy(), projected)
        assert left == field(modulus).dot(folded[c].copy(), words)


def test_projection_vectors_have_their_distribution():
    binary = Projection.draw(Transcript("b"), Family("x", 4096, (0,), FamilyKind.BINARY, 1, 2))
    bits = np.unpackbits(binary.vectors.view(np.uint8))
    assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)
    integer = Projection.draw(Transcript("i"), Family("x", 4096, (0,), FamilyKind.INTEGER, 1, 2))
    values = integer.vectors.astype(float)
    assert values.min() < -(2.0**30)
    assert values.max() > 2.0**30
    assert abs(values.mean()) < 5 * 2.0**31 / np.sqrt(3 * values.size)


@pytest.mark.rejects("C-21")
@pytest.mark.parametrize("make", [make_batch, make_single])
@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_the_linear_forms_hold_on_an_honest_witness(make, outputs):
    """Checked directly on the committed residues, without any code or tree."""
    answer = make(outputs=outputs, seed=outputs)
    prover = MaliciousProver(answer.relation, answer.blocks)
    prover.answer(answer.relation)
    assert violations(answer.relation, prover) == [(0, 0)] * len(answer.moduli)


@pytest.mark.parametrize("make", [make_batch, make_single])
def test_the_witness_of_a_relation_is_the_one_the_attacks_start_from(make):
    answer = make(outputs=2, seed=9)
    witness = answer.relation.witness(answer.secrets)
    for limb, block in enumerate(answer.blocks):
        assert set(witness.blocks[limb]) == set(block)
        for name, words in block.items():
            assert (witness.blocks[limb][name] == words).all()
        masks = {mask_name(f) for f in answer.relation.families if limb in f.limbs}
        names = {b.name for b in answer.relation.blocks(limb)}
        assert names == set(block) | masks
    assert isinstance(answer.secrets, LinearWitness)


@pytest.mark.rejects("C-10")
@given(st.lists(st.integers(-(1 << 20), (1 << 20) - 1), min_size=1, max_size=4))
def test_flooding_bits_spell_their_values(values):
    bits = flooding_bits(tuple(values), 20).reshape(len(values), 21)
    assert set(np.unique(bits)) <= {0, 1}
    spelled = [sum(int(b) << i for i, b in enumerate(row)) - (1 << 20) for row in bits]
    assert spelled == values


@pytest.mark.rejects("C-35")
@pytest.mark.parametrize(("make", "limit"), [(make_batch, 190_000), (make_single, 160_000)])
def test_the_size_of_a_proof_follows_from_its_statement(make, limit):
    answer = make()
    proof = prove_linear(answer.relation, answer.secrets, SERVER_KEY)
    relation, code = answer.relation, answer.relation.code
    shapes = limb_shapes(relation)
    words = 2 * sum(
        code.row_degree + code.linear_length + s.quadratic * code.quotient_length for s in shapes
    )
    words += code.opened_columns * sum(shape.rows for shape in shapes)
    fixed = 32 + projection_bytes(relation.families) + 8 * words + 32 * code.opened_columns
    paths = len(proof) - fixed
    assert paths % 32 == 0
    depth = code.codeword_length.bit_length() - 1
    worst = code.opened_columns * (depth - 7) + code.opened_columns  # distinct below level 7
    assert 0 < paths // 32 <= worst
    assert len(sibling_nodes(np.arange(0, 8192, 64, dtype=np.int64), 8192)) == 128 * 6
    assert len(proof) < limit


def test_linear_relations_are_not_stated_of_networks():
    """Their rows would not be the network's integers, however the words around them look."""
    request = one_output().relation.request
    linear = make_batch().relation
    assert request.packing is linear.packing
    with pytest.raises(RequestError, match="private linear models"):
        BatchLinearRelation(request, linear.inputs, linear.keys, linear.outputs)
