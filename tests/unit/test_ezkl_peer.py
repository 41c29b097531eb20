from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import ezkl_peer, measuring, report
from benchmarks.cases import Case
from benchmarks.ezkl_peer import PeerError, Tuning
from benchmarks.onnx_export import ExportError, write_onnx
from fhe_layers.spec import SQUARE, Conv2dSpec, DenseSpec, NetworkSpec, PolynomialSpec, ScaleSpec
from protocol.parameters import Packing

SMALL = Tuning(scale_log2=8, digit_bits=7, digits=9, rebase=10)
METRICS = {"prove_s", "verify_s", "setup_s", "proof_bytes", "max_error"}


@pytest.fixture
def perceptron(rng):
    layers = (
        DenseSpec(rng.uniform(-1, 1, (4, 3)), rng.uniform(-1, 1, 4)),
        PolynomialSpec(SQUARE),
        DenseSpec(rng.uniform(-1, 1, (2, 4)), rng.uniform(-1, 1, 2)),
    )
    return NetworkSpec((3,), layers)


@pytest.fixture
def convolution(rng):
    kernels = Conv2dSpec(
        rng.uniform(-1, 1, (2, 1, 3, 2)), rng.uniform(-1, 1, 2), stride=(2, 1), padding=(1, 0)
    )
    dense = DenseSpec(rng.uniform(-1, 1, (3, 24)), rng.uniform(-1, 1, 3))
    return NetworkSpec((1, 5, 5), (kernels, PolynomialSpec(SQUARE), dense))


def case(peer) -> Case:
    return Case(
        name="mlp_private",
        network=True,
        publish=lambda directory: pytest.fail("not published here"),
        packing=Packing.BATCH,
        records=np.zeros((1, 1)),
        exact=np.zeros((1, 1)),
        baseline=lambda runs: 0.0,
        baseline_metric="tenseal_one_record_s",
        peer=peer,
    )


# ----------------------------------------------------------------------------- without the extra


def test_without_the_extra_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(ezkl_peer, "find_spec", lambda name: None)
    assert not ezkl_peer.installed()
    compared = case(lambda runs: pytest.fail("measured what is not installed"))
    assert measuring.peer_figures(compared, 5) == {}
    assert "machine.ezkl" not in measuring.machine(runs=5)


def test_one_of_the_two_packages_is_not_enough(monkeypatch):
    monkeypatch.setattr(ezkl_peer, "find_spec", lambda name: None if name == "onnx" else name)
    assert not ezkl_peer.installed()


def test_without_figures_the_rows_are_dashes():
    rows = dict(report.rows({}, [case(lambda runs: {})]))
    assert rows["EZKL, plaintext model: prove one record, ms"] == ["\N{EN DASH}"]


def test_a_figure_stands_beside_a_dash():
    compared = case(lambda runs: {})
    other = replace(compared, name="mlp_public", peer=None)
    figures = {
        "mlp_private.ezkl_prove_s": 1.25,
        "mlp_private.ezkl_verify_s": 0.0125,
        "mlp_private.ezkl_proof_bytes": 3072.0,
    }
    rows = dict(report.rows(figures, [compared, other]))
    assert rows["EZKL, plaintext model: prove one record, ms"] == ["1250", "\N{EN DASH}"]
    assert rows["EZKL, plaintext model: verify, ms"] == ["12.5", "\N{EN DASH}"]
    assert rows["EZKL, plaintext model: proof, KB"] == ["3", "\N{EN DASH}"]


def test_cases_without_a_peer_have_no_rows():
    titles = [title for title, _ in report.rows({}, [case(None)])]
    assert not any("EZKL" in title for title in titles)


# -------------------------------------------------------------------------------- with the extra


@pytest.mark.parametrize("name", ["perceptron", "convolution"])
def test_the_exported_network_computes_the_same(request, tmp_path, rng, name):
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    network = request.getfixturevalue(name)
    write_onnx(network, tmp_path / "model")
    record = rng.uniform(-1, 1, network.inputs)
    image = record.astype(np.float32).reshape(1, *network.shape)
    (output,) = ReferenceEvaluator(str(tmp_path / "model")).run(None, {"input": image})
    assert output == pytest.approx(network.forward(record[None, :]), abs=1e-5)


def test_layers_that_are_not_exported_are_named(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(ExportError, match=r"layer 0 \(scale\)"):
        write_onnx(NetworkSpec((2,), (ScaleSpec(2.0),)), tmp_path / "model")


def test_a_skipped_connection_is_not_exported(tmp_path, perceptron):
    pytest.importorskip("onnx")
    first, square, last = perceptron.layers
    network = NetworkSpec((3,), (first, square, replace(last, source=1)))
    with pytest.raises(ExportError, match="does not read the layer before it"):
        write_onnx(network, tmp_path / "model")


def test_a_small_network_is_proved_and_verified(perceptron, rng, capfd):
    for package in ("ezkl", "onnx"):
        pytest.importorskip(package)
    figures = ezkl_peer.measure(perceptron, rng.uniform(-1, 1, 3), SMALL, runs=1)
    assert {name.removeprefix("ezkl_") for name in figures} == METRICS
    assert min(figures.values()) > 0
    assert figures["ezkl_max_error"] < 1e-2
    assert capfd.readouterr().out == ""


def test_a_proof_for_another_output_is_no_measurement(perceptron, rng, monkeypatch):
    for package in ("ezkl", "onnx"):
        pytest.importorskip(package)
    prove = ezkl_peer._prove

    def prove_and_change_the_output(files):
        prove(files)
        proof = json.loads(files.proof.read_text())
        proof["instances"][0][0] = "01" + "00" * 31
        files.proof.write_text(json.dumps(proof))

    monkeypatch.setattr(ezkl_peer, "_prove", prove_and_change_the_output)
    with pytest.raises(PeerError, match="refuses"):
        ezkl_peer.measure(perceptron, rng.uniform(-1, 1, 3), SMALL, runs=1)


def test_an_output_of_another_network_is_no_measurement(perceptron, rng, monkeypatch):
    for package in ("ezkl", "onnx"):
        pytest.importorskip(package)
    first, square, last = perceptron.layers
    other = NetworkSpec((3,), (first, square, replace(last, bias=last.bias + 1.0)))
    monkeypatch.setattr(ezkl_peer, "write_onnx", lambda network, path: write_onnx(other, path))
    with pytest.raises(PeerError, match="not that of the network"):
        ezkl_peer.measure(perceptron, rng.uniform(-1, 1, 3), SMALL, runs=1)
