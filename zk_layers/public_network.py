"""The public network: Y = f(X) for public integers, proved for thin verifiers and auditors.

The same reductions as for a private network without pads, commitment or sanitiser: every message
is in the clear and the verifier computes what it needs of weights and inputs.  Whoever holds the
ciphertexts could recompute Y as well; the proof is for whoever should not spend that
(docs/protocol.md, section 19).

The first claim is Y_sigma at a random point:  sum_{j,n} eq(r_j, j) eq(r_n, n) Y_sigma(j, n).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

import kernels
from protocol.encoding import Value, encode
from protocol.errors import RequestError
from protocol.inputs import RequestInputs
from protocol.parameters import PROTOCOL_VERSION, Mode, Packing
from protocol.request import Request, output_digest
from zk_layers.checks import Check, require, require_words
from zk_layers.extension import ZERO, Element, element
from zk_layers.fields import field
from zk_layers.reduction.exchange import ELEMENT_BYTES, Exchange
from zk_layers.reduction.forms import Form
from zk_layers.reduction.limb import limb_of
from zk_layers.reduction.rounds import rounds_of
from zk_layers.reduction.run import Point, Run, Speaker
from zk_layers.reduction.schedule import Schedule, schedule_of
from zk_layers.statement import require_inputs
from zk_layers.transcript import Transcript

Words = npt.NDArray[np.uint64]


class PublicNetwork:
    """One answer of a public network, batch packing.

    Built by `public_network`, which sees to it that `inputs` are what the request's digest covers.
    """

    label = "blindproof public network"

    def __init__(self, request: Request, inputs: Words, outputs: Words) -> None:
        """State what is proved.

        Args:
            request: who asked what.
            inputs: X, words (K, 2, L, N).
            outputs: Y, words (J, t, L, N).

        Raises:
            VerificationError: when words are not canonical or shapes are not the card's.
        """
        card = request.card
        if card.mode is not Mode.PUBLIC or request.packing is not Packing.BATCH or card.linear:
            raise RequestError("this proves batches of public networks")
        parameters, graph = card.profile(Packing.BATCH).parameters, card.graph
        self.request, self.card, self.graph = request, card, graph
        self.moduli = parameters.moduli
        self.degree = parameters.ring_degree
        self.polys = graph.output_polys
        limbs = len(self.moduli)
        require_words("input", inputs, (graph.inputs, 2, limbs, self.degree), self.moduli, 2)
        shape = (graph.outputs_count, self.polys, limbs, self.degree)
        require_words("output", outputs, shape, self.moduli, 2)
        self.inputs, self.outputs = inputs, outputs
        self.schedule: Schedule = schedule_of(
            graph, parameters.input_scale_log2, self.degree, hidden=False
        )
        self.integers = np.array(
            [weight for row in card.public_weights for weight in row], dtype=np.int64
        )

    @cached_property
    def statement(self) -> Value:
        """The request (with the input's digest) and the output's digest."""
        return (PROTOCOL_VERSION, self.moduli, self.request.value(), output_digest(self.outputs))

    @property
    def proof_bytes(self) -> int:
        """Length of every proof of this statement."""
        return ELEMENT_BYTES * len(self.moduli) * self.schedule.elements

    def soundness_terms(self) -> dict[str, int]:
        """Numerators over |E|, per limb."""
        point = rounds_of(self.graph.outputs_count) + rounds_of(self.degree)
        return {
            "sigma": self.polys - 1,
            "point": point,
            "sum-checks": self.schedule.rounds_degree,
        }

    def begin(self) -> Transcript:
        """A transcript with the statement absorbed."""
        transcript = Transcript(self.label)
        transcript.absorb("statement", encode(self.statement))
        return transcript

    def draw_sigmas(self, exchange: Exchange) -> Words:
        """sigma per limb: words (L, 2)."""
        return np.array([s for (s,) in exchange.challenge("sigma")], dtype=np.uint64)

    def reduce(self, exchange: Exchange, sigmas: Words, speaker: Speaker | None) -> None:
        """Run the reductions and check every equation they leave.

        Raises:
            VerificationError: an equation does not hold.
        """
        limbs = [limb_of(modulus) for modulus in self.moduli]
        run = Run(
            exchange,
            self.schedule.units,
            hidden=False,
            residues=[field(modulus).reduce_i64(self.integers) for modulus in self.moduli],
            sacrifices=[],
            speaker=speaker,
        )
        count = self.graph.outputs_count
        coordinates = rounds_of(count) + rounds_of(self.degree)
        point = Point.split(limbs, exchange.challenge("point", coordinates), count)
        sums = kernels.evaluate_folded(self.outputs, point.rows, sigmas, list(self.moduli))
        values: list[Element] = [
            element(limb.extension.inner(np.ascontiguousarray(sums[i]), point.units[i]))
            for i, limb in enumerate(limbs)
        ]
        claim = point.claim([Form(value) for value in values])
        for left in self.schedule.run(run, claim):
            sums = kernels.evaluate_folded(self.inputs, left.lam, sigmas, list(self.moduli))
            for index, algebra in enumerate(run.algebras):
                known = run.omega_form(index, left, np.ascontiguousarray(sums[index]))
                run.require_zero(index, algebra.sub(left.values[index], known))
        for index, forms in enumerate(run.constraints):
            holds = all(form.known() == ZERO for form in forms)
            require(holds, Check.SUM_CHECK, f"an equation of the reductions fails in limb {index}")


def public_network(request: Request, inputs: RequestInputs, outputs: Words) -> PublicNetwork:
    """The statement of one public answer: the way to build one from what travelled.

    Raises:
        VerificationError: inputs or outputs are not those of the request and its card.
    """
    require_inputs(request, inputs)
    return PublicNetwork(request, inputs.words, outputs)
