"""EZKL as its users run it: the same networks, proved on plaintext, one record at a time.

EZKL (Halo2 with KZG commitments) proves that a committed model gave a public output for an input
that the verifier does not see. That is another statement than ours: the prover reads the record in
the clear, so the proof hides nothing from whoever runs the model. Input private, parameters fixed
and output public is the cheapest of its settings: weights are constants of the verifying key.

The reference string is made here, by someone who therefore could forge. Proofs cost the same as
under a ceremony's string, which users download; making it is not timed. Keys are read from files in
every call, which is what EZKL's Python interface offers.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.onnx_export import write_onnx
from fhe_layers.spec import NetworkSpec
from protocol.errors import BlindproofError

Floats = npt.NDArray[np.float64]

ABSENT = "EZKL is not installed and not measured: pip install 'blindproof[peers]'"
TOLERANCE = 0.05
"""Relative and absolute, the one of the comparison with TenSEAL."""


class PeerError(BlindproofError):
    """EZKL's proof is refused, or the output it proves is not the network's."""


@dataclass(frozen=True)
class Tuning:
    """What makes EZKL's circuit small.

    Its defaults rescale after every product and look up digits of 14 bits, which forces a table,
    and so every column, to 2^15 rows. Squares need neither: scales may grow to the end, where one
    output is written in small digits. For 30-64-1 that is 2^11 rows, and a proof takes about a
    tenth of the time.

    Attributes:
        scale_log2: fractional bits of inputs and of weights.
        digit_bits: a range check's table has 2^digit_bits rows.
        digits: of the largest number; digits * digit_bits bits hold any output at its full scale.
        rebase: rescale only what is finer than this many times `scale_log2`.
    """

    scale_log2: int
    digit_bits: int
    digits: int
    rebase: int


# 30-64-1 ends at five times the scale, the digits' network at eleven times; both with some bits for
# the integer part. EZKL computes in 128 bits, which is what limits the scale of the second.
ONE_SQUARE = Tuning(scale_log2=13, digit_bits=10, digits=7, rebase=10)
TWO_SQUARES = Tuning(scale_log2=10, digit_bits=10, digits=12, rebase=20)


def installed() -> bool:
    """Whether the extra `peers` is there."""
    return all(find_spec(name) is not None for name in ("ezkl", "onnx"))


def measure(network: NetworkSpec, record: Floats, tuning: Tuning, runs: int) -> dict[str, float]:
    """Prove and verify one normalised record (K,) `runs` times; needs the extra `peers`.

    Returns:
        Medians: `ezkl_prove_s`, witness and proof, and `ezkl_verify_s`; and `ezkl_setup_s`, from
        the settings to the keys; `ezkl_proof_bytes`, without the output; `ezkl_max_error`, of the
        proved output against the network in double precision.

    Raises:
        PeerError: a proof is refused, or its output is off by more than TOLERANCE.
        ExportError: the network has layers that are not exported.
    """
    import ezkl

    with tempfile.TemporaryDirectory() as name:
        files = _Files.below(Path(name))
        write_onnx(network, files.model)
        files.record.write_text(json.dumps({"input_data": [record.tolist()]}))
        settings = _settings(files, tuning)
        ezkl.gen_srs(files.reference_string, settings["run_args"]["logrows"])
        started = time.perf_counter()
        ezkl.compile_circuit(files.model, files.circuit, files.settings)
        ezkl.setup(files.circuit, files.verifying_key, files.proving_key, files.reference_string)
        setup = time.perf_counter() - started
        prove, verify = [], []
        for _ in range(runs):
            clock = [time.perf_counter()]
            _prove(files)
            clock.append(time.perf_counter())
            _verify(files)
            clock.append(time.perf_counter())
            prove.append(clock[1] - clock[0])
            verify.append(clock[2] - clock[1])
        proof = json.loads(files.proof.read_text())
    (scale_log2,) = settings["model_output_scales"]
    output = [ezkl.felt_to_float(element, scale_log2) for element in proof["instances"][0]]
    expected = network.forward(record[None, :])[0]
    if not np.allclose(output, expected, rtol=TOLERANCE, atol=TOLERANCE):
        raise PeerError("the output that EZKL proves is not that of the network")
    return {
        "ezkl_prove_s": median(prove),
        "ezkl_verify_s": median(verify),
        "ezkl_setup_s": setup,
        "ezkl_proof_bytes": float(len(proof["proof"])),
        "ezkl_max_error": float(np.abs(output - expected).max()),
    }


@dataclass(frozen=True)
class _Files:
    """What EZKL's calls hand to one another."""

    model: Path
    record: Path
    settings: Path
    circuit: Path
    reference_string: Path
    proving_key: Path
    verifying_key: Path
    witness: Path
    proof: Path

    @classmethod
    def below(cls, directory: Path) -> _Files:
        """Each under its own name."""
        return cls(*(directory / field.name for field in fields(cls)))


def _settings(files: _Files, tuning: Tuning) -> dict[str, Any]:
    """The circuit's settings, with as few rows as the record needs at this tuning."""
    import ezkl

    arguments = ezkl.PyRunArgs()
    arguments.input_visibility = "private"
    arguments.param_visibility = "fixed"
    arguments.output_visibility = "public"
    arguments.decomp_base = 1 << tuning.digit_bits
    arguments.decomp_legs = tuning.digits
    ezkl.gen_settings(files.model, files.settings, py_run_args=arguments)
    with _standard_output_dropped():
        ezkl.calibrate_settings(
            str(files.record),
            files.model,
            files.settings,
            "resources",
            scales=[tuning.scale_log2],
            scale_rebase_multiplier=[tuning.rebase],
        )
    settings: dict[str, Any] = json.loads(files.settings.read_text())
    return settings


def _prove(files: _Files) -> None:
    import ezkl

    ezkl.gen_witness(str(files.record), files.circuit, files.witness)
    ezkl.prove(files.witness, files.circuit, files.proving_key, files.proof, files.reference_string)


def _verify(files: _Files) -> None:
    """Raises PeerError."""
    import ezkl

    try:
        accepted = ezkl.verify(
            files.proof, files.settings, files.verifying_key, files.reference_string
        )
    except RuntimeError as error:
        raise PeerError(f"EZKL refuses its proof: {error}") from None
    if not accepted:
        raise PeerError("EZKL refuses its proof")


@contextmanager
def _standard_output_dropped() -> Iterator[None]:
    """Calibration prints a table from native code, which no Python stream sees."""
    kept = os.dup(1)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
