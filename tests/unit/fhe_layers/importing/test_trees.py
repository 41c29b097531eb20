"""Tree ensembles: what is read, where thresholds go, and networks that compute exactly that."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_layers.importing.imported import Treatment
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from fhe_layers.importing.thresholds import quantile_edges
from fhe_layers.importing.tree_ensembles import (
    MAX_TREE_DEPTH,
    Leaf,
    Node,
    Split,
    TreeEnsemble,
    below_in_single_precision,
    tree_of_arrays,
)
from fhe_layers.importing.tree_network import Formulation, tree_network
from fhe_layers.importing.trees import IndicatorInput, LoweredTrees, RawInput, lower_ensemble
from fhe_layers.quantise_network import quantise_network, simulate
from fhe_layers.spec import DenseSpec
from protocol.errors import ModelError, NonFiniteError, ParameterError
from protocol.features import Category, Column, Privacy, Thermometer, encode_columns


def columns_of(*units: int) -> tuple[Column, ...]:
    """Columns of so many encoded units: thermometers."""
    return tuple(
        Thermometer(f"x{i}", 0.0, float(count + 1), tuple(range(1, count + 1)))
        for i, count in enumerate(units)
    )


def every_assignment(units: int) -> np.ndarray:
    """Every vector of so many bits, those that no record has included."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=units)))


def random_tree(rng: np.random.Generator, depth: int, units: int, outputs: int = 1) -> Node:
    """A tree over bits, of at most this depth."""
    if not depth or rng.random() < 0.15:
        return Leaf(rng.normal(size=outputs))
    below = [random_tree(rng, depth - 1, units, outputs) for _ in range(2)]
    return Split(int(rng.integers(units)), 0.5, *below)


def full_tree(tests: Sequence[int], leaves: Sequence[float]) -> Node:
    """A tree whose level i tests unit tests[i]."""
    if not tests:
        return Leaf(np.array([leaves[0]]))
    half = len(leaves) // 2
    below = [full_tree(tests[1:], part) for part in (leaves[:half], leaves[half:])]
    return Split(tests[0], 0.5, *below)


def sample(records: int = 300, columns: int = 3, seed: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(records, columns))


# ------------------------------------------------------------------------------------ what is read


def test_a_tree_of_arrays_is_walked_as_its_arrays_say():
    leaves = np.array([[0.0], [1.0], [0.0], [2.0], [3.0]])
    tree = tree_of_arrays(
        [1, -1, 3, -1, -1], [2, -1, 4, -1, -1], [0, 0, 1, 0, 0], [0.5] * 5, leaves
    )
    ensemble = TreeEnsemble((tree,), 2, np.array([10.0]))
    inputs = np.array([[0.5, 9.0], [0.6, 0.5], [0.6, 0.6]])
    assert ensemble.values(inputs).tolist() == [[11.0], [12.0], [13.0]]
    assert ensemble.depth == 2


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([1, -1, -1], [1, -1, -1]),  # two parents
        ([0, -1, -1], [2, -1, -1]),  # its own child
        ([1, -1, -1], [3, -1, -1]),  # there is none
        ([1, 0, -1], [2, 2, -1]),  # a ring
    ],
)
def test_arrays_that_are_no_tree_are_refused(left: list[int], right: list[int]):
    with pytest.raises(ModelError, match="do not form a tree"):
        tree_of_arrays(left, right, [0] * 3, [0.0] * 3, np.zeros((3, 1)))


def test_a_tree_too_deep_to_walk_is_refused():
    tree: Node = Leaf(np.zeros(1))
    for _ in range(MAX_TREE_DEPTH):
        tree = Split(0, 0.0, tree, Leaf(np.ones(1)))
    with pytest.raises(ModelError, match="deeper than 64"):
        Split(0, 0.0, tree, Leaf(np.ones(1)))


def test_what_is_not_a_number_is_refused():
    with pytest.raises(NonFiniteError, match="leaf"):
        Leaf(np.array([np.inf]))
    with pytest.raises(NonFiniteError, match="threshold"):
        Split(0, float("nan"), Leaf(np.zeros(1)), Leaf(np.ones(1)))


def test_trees_of_other_inputs_or_outputs_are_refused():
    stump = Split(3, 0.0, Leaf(np.zeros(1)), Leaf(np.ones(1)))
    with pytest.raises(ModelError, match="reads input 3 of 3"):
        TreeEnsemble((stump,), 3, np.zeros(1))
    with pytest.raises(ModelError, match="a leaf of 1 values for 2"):
        TreeEnsemble((stump,), 4, np.zeros(2))


@given(
    st.floats(
        width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100
    )
)
def test_less_than_is_at_most_the_number_below(threshold: float):
    exact = np.float32(threshold)
    around = [
        np.nextafter(exact, np.float32(-np.inf)),
        exact,
        np.nextafter(exact, np.float32(np.inf)),
    ]
    below = below_in_single_precision(threshold)
    assert [float(x) <= below for x in around] == [bool(x < exact) for x in around]


# -------------------------------------------------------------------------- edges and thresholds


@given(
    st.lists(st.integers(-20, 20), min_size=2, max_size=60),
    st.integers(1, 12),
)
def test_edges_are_distinct_and_between_values(values: list[int], count: int):
    distinct = len(set(values))
    edges = quantile_edges(np.array(values, dtype=float), count)
    assert len(edges) == max(min(count, distinct - 1), 1)
    assert list(edges) == sorted(set(edges))
    # Each edge separates the values in a way of its own, unless there is but one value.
    ways = {tuple(value > edge for value in values) for edge in edges}
    assert len(ways) == len(edges)
    assert distinct == 1 or all(any(way) and not all(way) for way in ways)


def test_edges_are_near_quantiles():
    edges = quantile_edges(np.arange(100.0), 4)
    assert edges == (19.5, 39.5, 59.5, 79.5)


def test_an_edge_of_neighbouring_doubles_still_separates_them():
    low = 1.0
    high = float(np.nextafter(low, 2))
    assert quantile_edges(np.array([low, high]), 3) == (low,)


def lowered_stump(threshold: float, raw: np.ndarray, **changes: object) -> LoweredTrees:
    """A stump over one column: 0 on the left, 1 on the right."""
    stump = Split(0, threshold, Leaf(np.zeros(1)), Leaf(np.ones(1)))
    item = RawInput(0, **changes)  # type: ignore[arg-type]
    return lower_ensemble(
        TreeEnsemble((stump,), 1, np.zeros(1)), [item], Table.of(raw), ImportOptions(edges=8)
    )


@pytest.mark.parametrize(("factor", "offset"), [(1.0, 0.0), (0.25, -3.0), (-2.0, 1.0)])
def test_thresholds_move_to_the_edge_that_misplaces_the_fewest(factor: float, offset: float):
    raw = np.arange(90.0).reshape(-1, 1)  # edges at 9.5, 19.5, ...
    lowered = lowered_stump(factor * 41.0 + offset, raw, factor=factor, offset=offset)
    bits = encode_columns(lowered.features, raw)
    right = lowered.network.forward(bits)[:, 0]
    wanted = raw[:, 0] > 39.5
    assert (right == (wanted if factor > 0 else ~wanted)).all()


@given(
    st.lists(st.integers(-9, 9), min_size=2, max_size=40),
    st.floats(-10, 10),
    st.sampled_from([1.0, -0.5]),
    st.integers(1, 6),
)
def test_no_other_edge_misplaces_fewer(
    values: list[int], threshold: float, factor: float, edges: int
):
    raw = np.array(values, dtype=float).reshape(-1, 1)
    stump = Split(0, factor * threshold, Leaf(np.zeros(1)), Leaf(np.ones(1)))
    ensemble = TreeEnsemble((stump,), 1, np.zeros(1))
    options = ImportOptions(edges=edges)
    lowered = lower_ensemble(ensemble, [RawInput(0, factor)], Table.of(raw), options)
    bits = encode_columns(lowered.features, raw)
    made = lowered.network.forward(bits)[:, 0] > 0.5
    right = factor * raw[:, 0] > factor * threshold
    offered = [bits[:, unit] > 0 for unit in range(bits.shape[1])]
    offered += [np.zeros_like(right), np.ones_like(right)]
    fewest = min(int(((bit ^ (factor < 0)) != right).sum()) for bit in offered)
    assert int((made != right).sum()) == fewest


def test_a_threshold_outside_the_sample_is_a_constant():
    raw = np.arange(90.0).reshape(-1, 1)
    for threshold, value in ((200.0, 0.0), (-200.0, 1.0), (np.inf, 0.0)):
        lowered = lowered_stump(threshold, raw)
        assert (lowered.network.forward(encode_columns(lowered.features, raw)) == value).all()


@pytest.mark.parametrize("threshold", [-0.5, 0.0, 0.5, 1.5, 2.0, 7.0])
def test_grids_given_are_exact(threshold: float):
    raw = sample(200, 1)
    grid = (-0.7, 0.1, 0.9)
    lowered = lowered_stump(threshold, raw, edges=grid)
    (column,) = lowered.features
    assert isinstance(column, Thermometer)
    assert column.edges == grid
    ordinal = (raw > np.array(grid)).sum(axis=1)
    made = lowered.network.forward(encode_columns(lowered.features, raw))[:, 0]
    assert (made == (ordinal > threshold)).all()


def test_grids_of_the_library_are_used_where_they_are_short():
    raw = sample(200, 1)
    stump = Split(0, 0.25, Leaf(np.zeros(1)), Leaf(np.ones(1)))
    ensemble = TreeEnsemble((stump,), 1, np.zeros(1), grids=((-0.3, 0.25, 0.8),))
    lowered = lower_ensemble(ensemble, [RawInput(0)], Table.of(raw), ImportOptions(edges=3))
    (column,) = lowered.features
    assert isinstance(column, Thermometer)
    assert column.edges == (-0.3, 0.25, 0.8)
    assert lowered.loss == 0


def test_splits_that_others_settle_are_left_out():
    # Right of 60 is right of 20 as well: the inner split says nothing.
    inner = Split(0, 20.0, Leaf(np.array([5.0])), Leaf(np.array([7.0])))
    tree = Split(0, 60.0, Leaf(np.zeros(1)), inner)
    raw = np.arange(90.0).reshape(-1, 1)
    lowered = lower_ensemble(
        TreeEnsemble((tree,), 1, np.zeros(1)), [RawInput(0)], Table.of(raw), ImportOptions(edges=8)
    )
    assert lowered.ensemble.depth == 1


def test_edges_do_not_depend_on_the_trees():
    raw, options = sample(), ImportOptions(edges=6)
    rng = np.random.default_rng(9)
    cards = set()
    for _ in range(3):
        tree = random_tree(rng, 3, 3)
        trees = (tree, Split(1, 0.3, random_tree(rng, 2, 3), random_tree(rng, 2, 3)))
        ensemble = TreeEnsemble(trees, 3, np.zeros(1))
        inputs = [RawInput(index) for index in range(3)]
        cards.add(lower_ensemble(ensemble, inputs, Table.of(raw), options).features)
    assert len(cards) == 1


def test_the_fewest_edges_that_keep_the_outputs_are_taken():
    raw = np.arange(1000.0).reshape(-1, 1)
    exact = Split(0, 428.5, Leaf(np.zeros(1)), Leaf(np.ones(1)))
    tables = Table.of(raw)
    coarse = lower_ensemble(
        TreeEnsemble((Split(0, 399.5, exact.left, exact.right),), 1, np.zeros(1)),
        [RawInput(0)],
        tables,
        ImportOptions(),
    )
    assert (coarse.features[0].inputs, coarse.loss) == (4, 0.0)  # 399.5 is one of four
    fine = lower_ensemble(
        TreeEnsemble((exact,), 1, np.zeros(1)), [RawInput(0)], tables, ImportOptions()
    )
    assert (fine.features[0].inputs, fine.loss) == (6, pytest.approx(0, abs=0.005))


def test_what_is_lost_is_said():
    raw = sample(500)
    tree = Split(0, 0.37, Leaf(np.zeros(1)), Leaf(np.ones(1)))
    lowered = lower_ensemble(
        TreeEnsemble((tree,), 3, np.array([-0.5])),
        [RawInput(index) for index in range(3)],
        Table.of(raw),
        ImportOptions(edges=2),
        link="logistic",
    )
    assert lowered.loss > 0.0025
    client, encrypted = lowered.steps
    assert client.treatment is Treatment.CLIENT
    assert f"{100 * lowered.loss:.2f}% of the sample's labels change" in client.note
    assert "KBinsDiscretizer" in client.note
    assert encrypted.treatment is Treatment.ENCRYPTED


def test_columns_keep_what_options_say_of_them():
    raw = sample()
    stump = Split(0, 0.0, Leaf(np.zeros(1)), Leaf(np.ones(1)))
    lowered = lower_ensemble(
        TreeEnsemble((stump,), 2, np.zeros(1)),
        [RawInput(0), RawInput(1, missing=0.5)],
        Table.of(raw),
        ImportOptions(
            edges=3,
            plaintext=frozenset({"x1"}),
            local=("x2",),
            ranges={"x0": (-10.0, 10.0)},
            measured_in={"x0": "mm"},
        ),
    )
    first, second = lowered.features
    assert isinstance(first, Thermometer)
    assert (first.low, first.high, first.measured_in) == (-10.0, 10.0, "mm")
    assert isinstance(second, Thermometer)
    assert (second.privacy, second.missing) == (Privacy.PLAINTEXT, 0.5)


def test_missing_values_are_replaced_or_refused():
    raw = sample()
    raw[5, 0] = np.nan
    stump = Split(0, 0.0, Leaf(np.zeros(1)), Leaf(np.ones(1)))
    ensemble = TreeEnsemble((stump,), 1, np.zeros(1))
    table = Table.of(raw[:, :1])
    with pytest.raises(ModelError, match="put an imputer before the trees"):
        lower_ensemble(ensemble, [RawInput(0)], table, ImportOptions())
    lowered = lower_ensemble(ensemble, [RawInput(0, missing=3.0)], table, ImportOptions(edges=3))
    complete = np.where(np.isnan(table.values), 3.0, table.values)
    assert (lowered.network.forward(encode_columns(lowered.features, complete))[5] == 1).all()


def test_columns_that_nothing_reads_are_named():
    stump = Split(0, 0.0, Leaf(np.zeros(1)), Leaf(np.ones(1)))
    ensemble = TreeEnsemble((stump,), 1, np.zeros(1))
    with pytest.raises(ModelError, match="does not read column 'x1' and 1 others"):
        lower_ensemble(ensemble, [RawInput(0)], Table.of(sample()), ImportOptions())
    with pytest.raises(ModelError, match="reads column 'x0', which is local"):
        lower_ensemble(
            ensemble, [RawInput(0)], Table.of(sample()), ImportOptions(local=("x0", "x1", "x2"))
        )


def test_a_column_cannot_be_read_in_two_ways():
    raw = sample()
    stump = Split(0, 0.0, Leaf(np.zeros(1)), Leaf(np.ones(1)))
    ensemble = TreeEnsemble((stump,), 2, np.zeros(1))
    inputs = [RawInput(0), RawInput(0, edges=(0.0, 1.0))]
    with pytest.raises(ModelError, match="in several ways"):
        lower_ensemble(ensemble, inputs, Table.of(raw[:, :1]), ImportOptions())


def mixed_table(records: int = 200) -> Table:
    """Numbers, an indicator and texts."""
    rng = np.random.default_rng(12)
    return Table.of(
        {
            "age": rng.normal(50, 10, records).tolist(),
            "smoker": rng.integers(0, 2, records).tolist(),
            "city": rng.choice(["Bonn", "Graz", "Lyon"], records).tolist(),
        }
    )


def mixed_inputs() -> list[RawInput | IndicatorInput]:
    return [RawInput(0), RawInput(1), *(IndicatorInput(2, index) for index in range(3))]


@pytest.mark.parametrize("edges", [3, 8])
def test_categories_and_binary_columns_take_the_units_they_need(edges: int):
    table = mixed_table()
    # edges are midpoints of the sample, so that a threshold among values is exact
    middle = quantile_edges(table.values[:, 0], edges)[1]
    tree = Split(
        3, 0.5, Split(0, middle, Leaf([1.0]), Leaf([2.0])), Split(1, 0.5, Leaf([3.0]), Leaf([5.0]))
    )
    constant = Split(4, 2.0, Leaf([10.0]), Leaf([99.0]))  # an indicator is never above 2
    ensemble = TreeEnsemble((tree, constant), 5, np.zeros(1))
    lowered = lower_ensemble(ensemble, mixed_inputs(), table, ImportOptions(edges=edges))
    age, smoker, city = lowered.features
    assert (age.inputs, smoker.inputs, city.inputs) == (edges, 1, 3)
    assert isinstance(city, Category)
    bits = encode_columns(lowered.features, table.values)
    read = np.column_stack([item.values(table.values[:, item.column]) for item in mixed_inputs()])
    assert np.allclose(lowered.network.forward(bits), ensemble.values(read), atol=1e-12)
    assert lowered.loss == 0


# ------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_networks_are_the_trees_at_every_assignment_of_bits(
    depth: int, average: bool, outputs: int
):
    rng = np.random.default_rng(depth)
    for _ in range(5):
        trees = tuple(random_tree(rng, depth, 8, outputs) for _ in range(4))
        ensemble = TreeEnsemble(trees, 8, rng.normal(size=outputs), average=average)
        bits = every_assignment(8)
        lowered = tree_network(ensemble, columns_of(3, 3, 2))
        if lowered.formulation is Formulation.ADDITIVE:  # of thermometers only
            bits = encode_columns(columns_of(3, 3, 2), rng.uniform(0.01, 2.9, (200, 3)))
        assert np.allclose(lowered.network.forward(bits), ensemble.values(bits), atol=1e-9)


def test_oblivious_trees_take_fewer_choices():
    rng = np.random.default_rng(3)
    trees = tuple(full_tree((i, i + 3, i + 5), rng.normal(size=8).tolist()) for i in range(3))
    ensemble = TreeEnsemble(trees, 9, np.zeros(1))
    lowered = tree_network(ensemble, columns_of(3, 3, 3))
    assert lowered.formulation is Formulation.OBLIVIOUS
    bits = every_assignment(9)
    assert np.allclose(lowered.network.forward(bits), ensemble.values(bits), atol=1e-9)
    chosen = quantise_network(lowered.network)
    # Bits, then coefficients of degree 1 to 3 with their biases.
    assert chosen.integers.size == 3 * 3 * 9 + (9 + 1) + (9 + 1) + (3 + 1)
    assert chosen.graph.multiplicative_depth == 2


def test_any_depth_over_one_column_each_is_one_dense_layer():
    rng = np.random.default_rng(8)
    first, second = (random_tree(rng, 6, 4) for _ in range(2))

    def moved(tree: Node) -> Node:
        if isinstance(tree, Leaf):
            return tree
        return Split(tree.feature + 4, 0.5, moved(tree.left), moved(tree.right))

    columns = (*columns_of(4), Category("city", ("a", "b", "c", "d")))
    ensemble = TreeEnsemble((first, moved(second)), 8, np.array([2.0]))
    lowered = tree_network(ensemble, columns)
    assert lowered.formulation is Formulation.ADDITIVE
    assert [type(layer) for layer in lowered.network.layers] == [DenseSpec]
    raw = np.array(list(itertools.product(np.arange(5) + 0.5, range(4))))
    bits = encode_columns(columns, raw)
    assert np.allclose(lowered.network.forward(bits), ensemble.values(bits), atol=1e-12)


def test_choices_go_by_column_and_edge_where_they_would_take_too_many_integers():
    rng = np.random.default_rng(5)
    trees = tuple(
        Split(int(rng.integers(120)), 0.5, random_tree(rng, 2, 120), random_tree(rng, 2, 120))
        for _ in range(40)
    )
    ensemble = TreeEnsemble(trees, 120, np.zeros(1))
    bits = rng.integers(0, 2, (100, 120)).astype(float)
    for columns in (columns_of(*[8] * 15), columns_of(*[8] * 14, 5, 3), columns_of(*[7] * 17, 1)):
        lowered = tree_network(ensemble, columns)
        assert lowered.factored
        assert np.allclose(lowered.network.forward(bits), ensemble.values(bits), atol=1e-9)
        assert quantise_network(lowered.network).integers.size <= 16384


def layer_shapes(ensemble: TreeEnsemble, columns: tuple[Column, ...]) -> object:
    """All that a card shows of a network, but for the sizes of weights."""
    quantised = quantise_network(tree_network(ensemble, columns).network)
    return [type(layer) for layer in quantised.graph.layers if type(layer).__name__ != "Scale"]


def test_shapes_show_the_depth_and_the_number_of_trees_and_no_more():
    def leaf(value: float) -> Leaf:
        return Leaf(np.array([value]))

    full = full_tree((0, 3, 5), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    left = Split(0, 0.5, Split(3, 0.5, Split(5, 0.5, leaf(1), leaf(2)), leaf(3)), leaf(4))
    right = Split(7, 0.5, leaf(1), Split(2, 0.5, leaf(9), Split(1, 0.5, leaf(3), leaf(2))))
    stump = Split(4, 0.5, leaf(1), leaf(2))
    bent = Split(1, 0.5, Split(4, 0.5, leaf(1), leaf(2)), Split(6, 0.5, leaf(0), leaf(5)))
    columns = columns_of(3, 3, 2)
    shown = {
        str(layer_shapes(TreeEnsemble((bent, *pair), 8, np.zeros(1)), columns))
        for pair in itertools.product((full, left, right), (left, stump, leaf(3.0), full))
    }
    assert len(shown) == 1


def test_integer_networks_keep_leaves():
    rng = np.random.default_rng(6)
    trees = tuple(random_tree(rng, 3, 12) for _ in range(20))
    ensemble = TreeEnsemble(trees, 12, np.array([150.0]))
    bits = rng.integers(0, 2, (200, 12)).astype(float)
    quantised = quantise_network(tree_network(ensemble, columns_of(4, 4, 4)).network)
    made = simulate(quantised.graph, quantised.integers, bits) * quantised.unit
    assert np.abs(made - ensemble.values(bits)).max() < 20 * 8 * 256 / 2**15
    assert quantised.graph.multiplicative_depth == 2


def test_deep_trees_are_refused_with_advice():
    tree: Node = Leaf(np.zeros(1))
    for level in range(4):
        tree = Split(level, 0.5, tree, Leaf(np.array([level + 1.0])))
    with pytest.raises(ModelError, match=r"depth 4: at most 3.*max_depth=3.*max_depth=1"):
        tree_network(TreeEnsemble((tree,), 8, np.zeros(1)), columns_of(2, 2, 2, 2))


def test_too_many_trees_are_refused_with_a_number_that_fits():
    rng = np.random.default_rng(7)
    pair = Split(1, 0.5, Leaf(rng.normal(size=1)), Leaf(rng.normal(size=1)))
    tree = Split(20, 0.5, pair, Split(40, 0.5, pair, Leaf(rng.normal(size=1))))
    trees = (tree,) * 300
    columns = columns_of(*[8] * 30)
    with pytest.raises(ModelError, match=r"use at most \d+ trees") as caught:
        tree_network(TreeEnsemble(trees, 240, np.zeros(1)), columns)
    fitting = int(str(caught.value).split("use at most ")[1].split()[0])
    assert tree_network(TreeEnsemble(trees[:fitting], 240, np.zeros(1)), columns).factored


def test_more_comparisons_than_a_network_takes_are_refused():
    tree = Split(0, 0.5, Leaf([0.0]), Split(300, 0.5, Leaf([1.0]), Leaf([2.0])))
    with pytest.raises(ModelError, match="offer fewer edges"):
        tree_network(TreeEnsemble((tree,), 5000, np.zeros(1)), columns_of(*[250] * 20))


def test_thresholds_that_may_be_shown_are_the_edges():
    raw = sample(columns=3)
    rng = np.random.default_rng(9)

    def tree(depth: int) -> Node:
        if not depth:
            return Leaf(rng.normal(size=1))
        feature = int(rng.integers(2))  # never the third
        return Split(feature, float(rng.choice(raw[:, feature])), tree(depth - 1), tree(depth - 1))

    ensemble = TreeEnsemble(tuple(tree(3) for _ in range(5)), 3, np.zeros(1))
    table = Table.of(raw)
    inputs = [RawInput(i, 1.0, 0.0) for i in range(3)]
    lowered = lower_ensemble(ensemble, inputs, table, ImportOptions(show_thresholds=True))
    units = encode_columns(lowered.features, raw)
    assert np.array_equal(lowered.ensemble.values(units), ensemble.values(raw))
    for column in lowered.features[:2]:
        assert isinstance(column, Thermometer)
        assert set(column.edges) <= set(raw[:, int(column.name[1:])])
    assert lowered.features[2].inputs == 1  # nothing of what is not compared
    hidden = lower_ensemble(ensemble, inputs, table, ImportOptions())
    assert hidden.loss > lowered.loss == 0


def test_thresholds_are_shown_or_edges_are_counted():
    with pytest.raises(ParameterError, match="give one"):
        ImportOptions(edges=8, show_thresholds=True)
