"""From a validated request to its answer: expand, evaluate, sanitise, prove.

Nothing here knows gRPC.  `InferenceEngine` is the honest server; its steps are methods so that the
demonstration and the tests can put a dishonest one in its place.

Symbols: K features, J outputs, L limbs, N ring degree; words `(unit, poly, limb, n)`, NTT domain.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import time
from dataclasses import dataclass

import numpy as np

from fhe_layers import rns
from fhe_layers.layers.linear import bias_residues, evaluate_batch, evaluate_single
from fhe_layers.packing import SingleRecordLayout
from fhe_layers.sanitise import sanitise_batch, sanitise_single
from protocol.ciphertexts import SeededCiphertexts
from protocol.digests import DIGEST_BYTES, Words
from protocol.errors import RequestError
from protocol.keys import EnrolledKey
from protocol.model import Profile
from protocol.parameters import Mode, Packing
from protocol.request import Request
from server.refusals import Refusal
from server.registry import ModelBundle
from wire.inference import (
    BatchOutputs,
    InferenceHeader,
    Outputs,
    Response,
    ServerTimings,
    SingleOutputs,
    input_ciphertexts,
)
from wire.rpc import Reason
from zk_layers.layers.linear import (
    BatchLinearRelation,
    LinearWitness,
    SingleLinearRelation,
    linear_relation,
)
from zk_layers.prove import prove_linear

SECRET_BYTES = 32


@dataclass(frozen=True, eq=False)
class Job:
    """A request that may be answered.

    Attributes:
        bundle: the model.
        key: the client's enrolled key, None for a public model.
        request: who asks what.
        ciphertexts: the K input ciphertexts, or the one.
    """

    bundle: ModelBundle
    key: EnrolledKey | None
    request: Request
    ciphertexts: SeededCiphertexts

    @property
    def profile(self) -> Profile:
        """The parameters of the packing."""
        return self.bundle.card.profile(self.request.packing)

    @property
    def layout(self) -> SingleRecordLayout:
        """Where a single record's features and answers sit."""
        card = self.bundle.card
        return SingleRecordLayout(card.ring_degree, len(card.features), len(card.outputs))

    def key_pairs(self) -> Words:
        """Enrolled (b, a), words (J or 1, 2, L, N)."""
        if self.key is None:
            raise RequestError("a public model uses no enrolled key")
        keys = len(self.bundle.card.outputs) if self.request.packing is Packing.BATCH else 1
        return self.key.pairs(keys, len(self.profile.parameters.moduli))


@dataclass(frozen=True, eq=False, repr=False)
class Sanitised:
    """Outputs as they will be sent, and the secrets that explain them; none in public mode."""

    outputs: Outputs
    witness: LinearWitness | None


def admit(
    header: InferenceHeader, bundle: ModelBundle, key: EnrolledKey | None, server_id: str
) -> None:
    """Judge a header before anything is allocated for its ciphertexts.

    Raises:
        Refusal: the request does not fit this server, the model or the key.
        ModelError: the model does not offer the packing.
    """
    card = bundle.card
    parameters = card.profile(header.packing).parameters
    if header.server_id != server_id:
        raise Refusal(Reason.IDENTITY_REFUSED, f"this server is '{server_id}'")
    if header.registration_digest != bundle.registration_digest:
        raise Refusal(
            Reason.REQUEST_REFUSED, "the registration is not the one served with the model"
        )
    expected = input_ciphertexts(card, header.packing)
    if header.ciphertexts != expected:
        raise Refusal(
            Reason.REQUEST_REFUSED, f"{header.ciphertexts} ciphertexts announced, not {expected}"
        )
    if key is None:
        if header.key_digest != bytes(DIGEST_BYTES):
            raise Refusal(Reason.KEY_UNFIT, "a public model takes no key: send 32 zero bytes")
        return
    enrolled = key.request
    if (enrolled.client_id, enrolled.server_id) != (header.client_id, server_id):
        raise Refusal(Reason.KEY_UNFIT, "the key was enrolled under other identities")
    keys = len(card.outputs) if header.packing is Packing.BATCH else 1
    if (
        enrolled.ring_degree != parameters.ring_degree
        or enrolled.moduli[: len(parameters.moduli)] != parameters.moduli
        or enrolled.keys < keys
    ):
        raise Refusal(Reason.KEY_UNFIT, "the key was enrolled for other parameters: enrol again")


def request_of(
    header: InferenceHeader, bundle: ModelBundle, ciphertexts: SeededCiphertexts
) -> Request:
    """The request as the transcript absorbs it, with the server's own digest of the input.

    Raises:
        RequestError: more records than the packing holds.
    """
    return Request(
        request_id=header.request_id,
        nonce=header.nonce,
        client_id=header.client_id,
        server_id=header.server_id,
        card=bundle.card,
        packing=header.packing,
        records=header.records,
        key_digest=header.key_digest,
        registration_digest=header.registration_digest,
        input_digest=ciphertexts.digest,
    )


class InferenceEngine:
    """The honest server's work on one job.  Holds two keys and no state: threads may share it."""

    def __init__(self, secret: bytes) -> None:
        """Derive the engine's keys from the server's secret (32 bytes)."""
        self._sanitiser_key = hmac.digest(secret, b"blindproof sanitiser", hashlib.sha256)
        self.prover_key = hmac.digest(secret, b"blindproof prover", hashlib.sha256)

    def answer(self, job: Job) -> Response:
        """Evaluate and prove.

        Raises:
            BlindproofError: the job cannot be answered.
        """
        clock = [time.perf_counter()]
        inputs = job.ciphertexts.words
        clock.append(time.perf_counter())
        evaluated = self.evaluate(job, inputs)
        clock.append(time.perf_counter())
        if job.bundle.card.mode is Mode.PRIVATE:
            sanitised = self.sanitise(job, evaluated)
        else:
            sanitised = Sanitised(_read_out(job, evaluated), None)
        clock.append(time.perf_counter())
        proof = self.prove(job, sanitised)
        clock.append(time.perf_counter())
        spans = (end - start for start, end in itertools.pairwise(clock))
        return Response(sanitised.outputs, proof, ServerTimings(*spans))

    def evaluate(self, job: Job, inputs: Words) -> Words:
        """Bare outputs: (K, 2, L, N) to (J, 2, L, N), a single record's (1, ...) to (2, L, N)."""
        parameters, bundle = job.profile.parameters, job.bundle
        if job.request.packing is Packing.SINGLE:
            return evaluate_single(
                inputs[0], bundle.weights, layout=job.layout, moduli=parameters.moduli
            )
        return evaluate_batch(
            inputs,
            bundle.weights,
            bundle.bias,
            input_scale_log2=parameters.input_scale_log2,
            moduli=parameters.moduli,
        )

    def sanitise(self, job: Job, evaluated: Words) -> Sanitised:
        """Hide the bare outputs; the noise is a secret function of all that determines them."""
        profile, bundle = job.profile, job.bundle
        if profile.flooding_log2 is None:
            raise RequestError("a public model's outputs are not sanitised")
        parameters = profile.parameters
        digest = job.request.computation_digest
        seed = hmac.digest(self._sanitiser_key, digest, hashlib.sha256)
        if job.request.packing is Packing.SINGLE:
            record = sanitise_single(
                evaluated,
                job.key_pairs()[0],
                bundle.bias,
                seed,
                layout=job.layout,
                input_scale_log2=parameters.input_scale_log2,
                flooding_log2=profile.flooding_log2,
                moduli=parameters.moduli,
            )
            noise = record.noise
            witness = LinearWitness(bundle.integers, bundle.opening, noise.u, noise.e0, noise.e1)
            return Sanitised(SingleOutputs(record.mask, record.body), witness)
        batch = sanitise_batch(
            evaluated,
            job.key_pairs(),
            seed,
            flooding_log2=profile.flooding_log2,
            moduli=parameters.moduli,
        )
        hidden = batch.noise
        return Sanitised(
            BatchOutputs(batch.outputs),
            LinearWitness(bundle.integers, bundle.opening, hidden.u, hidden.e0, hidden.e1),
        )

    def prove(self, job: Job, sanitised: Sanitised) -> bytes:
        """The proof of a private answer; a public one is checked without."""
        if sanitised.witness is None:
            return b""
        relation = answer_relation(job, sanitised.outputs)
        return prove_linear(relation, sanitised.witness, self.prover_key)


def answer_relation(job: Job, outputs: Outputs) -> BatchLinearRelation | SingleLinearRelation:
    """What a private answer claims."""
    if job.key is None:
        raise RequestError("a private answer needs an enrolled key")
    return linear_relation(job.request, job.ciphertexts, job.key, outputs.arrays)


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
