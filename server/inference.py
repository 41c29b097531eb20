"""From a validated request to its answer: expand, evaluate, sanitise, prove.

Nothing here knows gRPC.  `InferenceEngine` is the honest server; its steps are methods so that the
demonstration and the tests can put a dishonest one in its place.

Symbols: K inputs, J outputs, t polynomials of an output, L limbs, L' <= L of them kept in the
outputs, N ring degree; words `(unit, poly, limb, n)`, NTT domain.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fhe_layers import rns
from fhe_layers.layers.linear import bias_residues, evaluate_batch, evaluate_single
from fhe_layers.network import Evaluation
from fhe_layers.sanitise import sanitise_batch, sanitise_single
from protocol.digests import Words
from protocol.errors import RequestError
from protocol.parameters import Mode, Packing
from server import networks
from server.jobs import Job
from server.stages import StageClock
from wire.inference import (
    BatchOutputs,
    Outputs,
    Response,
    SingleOutputs,
    join_outputs,
    output_shapes,
)
from zk_layers.layers.linear import (
    BatchLinearRelation,
    LinearWitness,
    SingleLinearRelation,
    linear_relation,
)
from zk_layers.network import NetworkWitness
from zk_layers.prove import prove_linear
from zk_layers.soundness import SoundnessReport, extension_terms, report_of, soundness

SECRET_BYTES = 32


@dataclass(frozen=True, eq=False, repr=False)
class Sanitised:
    """Outputs as they will be sent, and the secrets that explain them; none in public mode.

    Attributes:
        outputs: what is sent.
        witness: what a private answer's proof shows to exist.
        kept: intermediate tensors of a network that its proof starts from, by index.
    """

    outputs: Outputs
    witness: LinearWitness | NetworkWitness | None
    kept: Mapping[int, Words] = field(default_factory=dict)


class InferenceEngine:
    """The honest server's work on one job.  Threads may share it: it remembers no request."""

    def __init__(self, secret: bytes) -> None:
        """Derive the engine's keys from the server's secret (32 bytes)."""
        self._sanitiser_key = hmac.digest(secret, b"blindproof sanitiser", hashlib.sha256)
        self.prover_key = hmac.digest(secret, b"blindproof prover", hashlib.sha256)
        self._soundness: dict[tuple[bytes, Packing], float] = {}

    def answer(self, job: Job) -> Response:
        """Evaluate and prove.

        Raises:
            BlindproofError: the job cannot be answered.
        """
        clock = StageClock(
            {} if job.bundle.card.linear else networks.predicted_seconds(job),
            model=job.bundle.digest.hex(),
        )
        with clock.stage("expand"):
            inputs = job.inputs.words
        with clock.stage("evaluate"):
            evaluated = self.evaluate(job, inputs)
        with clock.stage("sanitise"):
            if job.bundle.card.mode is Mode.PRIVATE:
                sanitised = self.sanitise(job, evaluated)
            else:
                sanitised = Sanitised(_read_out(job, evaluated.outputs), None, evaluated.kept)
        with clock.stage("prove"):
            proof = self.prove(job, sanitised)
        return Response(sanitised.outputs, proof, clock.timings)

    def evaluate(self, job: Job, inputs: Words) -> Evaluation:
        """Bare outputs (J, t, L, N) of inputs (K, 2, L, N); a single record's (1, ...), (2, L, N).

        They say everything of the weights to whoever knows the inputs.
        """
        parameters, bundle = job.profile.parameters, job.bundle
        if not bundle.card.linear:
            return networks.evaluate(job, inputs)
        if job.request.packing is Packing.SINGLE:
            return Evaluation(
                evaluate_single(
                    inputs[0], bundle.weights, layout=job.layout, moduli=parameters.moduli
                ),
                {},
            )
        return Evaluation(
            evaluate_batch(
                inputs,
                bundle.weights,
                bundle.bias,
                input_scale_log2=parameters.input_scale_log2,
                moduli=parameters.moduli,
            ),
            {},
        )

    def sanitise(self, job: Job, evaluated: Evaluation) -> Sanitised:
        """Hide the bare outputs; the noise is a secret function of all that determines them."""
        if job.profile.flooding_log2 is None:
            raise RequestError("a public model's outputs are not sanitised")
        digest = job.request.computation_digest(job.inputs.evaluated_digest)
        seed = hmac.digest(self._sanitiser_key, digest, hashlib.sha256)
        if job.request.packing is Packing.SINGLE:
            return _sanitised_record(job, evaluated.outputs, job.profile.flooding_log2, seed)
        if job.bundle.card.linear:
            return _sanitised_batch(job, evaluated.outputs, job.profile.flooding_log2, seed)
        outputs, witness = networks.sanitise(job, evaluated, job.profile.flooding_log2, seed)
        return Sanitised(BatchOutputs(outputs), witness)

    def prove(self, job: Job, sanitised: Sanitised) -> bytes:
        """The proof of an answer; a public linear model's is checked without."""
        witness, outputs = sanitised.witness, sanitised.outputs
        if isinstance(witness, LinearWitness):
            return prove_linear(answer_relation(job, outputs), witness, self.prover_key)
        if isinstance(outputs, SingleOutputs) or job.bundle.card.linear:
            return b""
        if witness is None:
            return networks.prove_public(job, outputs, sanitised.kept)
        return networks.prove(job, outputs, witness, self.prover_key)

    def soundness_bits(self, job: Job, response: Response) -> float | None:
        """What the proof of an answer is worth to who verifies it; None if there is none.

        It follows from the relation's public parameters, the same for all requests of a model in
        one packing: computed once.
        """
        if not response.proof:
            return None
        key = job.bundle.digest, job.request.packing
        if key not in self._soundness:
            self._soundness[key] = _soundness(job).bits
        return self._soundness[key]


def _soundness(job: Job) -> SoundnessReport:
    """As the client's verifier reports it, whatever words are in the outputs."""
    card, packing = job.bundle.card, job.request.packing
    zeros = [np.zeros(shape, dtype=np.uint64) for shape in output_shapes(card, packing)]
    outputs = join_outputs(card, packing, zeros)
    if isinstance(outputs, SingleOutputs) or job.bundle.card.linear:
        return soundness(answer_relation(job, outputs))
    if job.bundle.card.mode is Mode.PRIVATE:
        return soundness(networks.answer_relation(job, outputs))
    statement = networks.public_statement(job, outputs)
    return report_of(extension_terms(statement.soundness_terms(), statement.moduli))


def answer_relation(job: Job, outputs: Outputs) -> BatchLinearRelation | SingleLinearRelation:
    """What a private linear model's answer claims."""
    if job.key is None:
        raise RequestError("a private answer needs an enrolled key")
    return linear_relation(job.request, job.inputs, job.key, outputs.arrays)


def _sanitised_record(job: Job, output: Words, flooding_log2: int, seed: bytes) -> Sanitised:
    """A single record's answer: bare (2, L, N)."""
    bundle, parameters = job.bundle, job.profile.parameters
    record = sanitise_single(
        output,
        job.key_pairs()[0],
        bundle.bias,
        seed,
        layout=job.layout,
        input_scale_log2=parameters.input_scale_log2,
        flooding_log2=flooding_log2,
        moduli=parameters.moduli,
    )
    hidden = record.noise
    witness = LinearWitness(bundle.integers, bundle.opening, hidden.u, hidden.e0, hidden.e1)
    return Sanitised(SingleOutputs(record.mask, record.body), witness)


def _sanitised_batch(job: Job, outputs: Words, flooding_log2: int, seed: bytes) -> Sanitised:
    """A linear model's batch: bare (J, 2, L, N)."""
    bundle = job.bundle
    batch = sanitise_batch(
        outputs,
        job.key_pairs(),
        seed,
        flooding_log2=flooding_log2,
        moduli=job.profile.parameters.moduli,
    )
    hidden = batch.noise
    witness = LinearWitness(bundle.integers, bundle.opening, hidden.u, hidden.e0, hidden.e1)
    return Sanitised(BatchOutputs(batch.outputs), witness)


def _read_out(job: Job, evaluated: Words) -> Outputs:
    """Outputs of a public model: as evaluated, or the owed coefficients of a single record."""
    if job.request.packing is Packing.BATCH:
        return BatchOutputs(evaluated)
    parameters, positions = job.profile.parameters, job.layout.output_positions
    first = rns.to_coefficients(evaluated[0], parameters.moduli)
    body = np.stack(
        [
            rns.modulus(prime).add(
                np.ascontiguousarray(first[limb, positions]),
                bias_residues(job.bundle.bias, parameters.input_scale_log2, prime),
            )
            for limb, prime in enumerate(parameters.moduli)
        ],
        axis=1,
    )
    return SingleOutputs(np.ascontiguousarray(evaluated[1]), body)
