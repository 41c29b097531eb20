"""The private network: Y'' = sanitised f(X), f a network with committed integers, sizes t > 2.

Symbols: K inputs, J outputs, t polynomials of an output; L limbs of which the first `kept` travel,
P the product of the others; (b_ji, a_ji) enrolled keys, one per output j and power i < t - 1; V the
NTT.  With Y = f(X) over all limbs, Y' = P Y'' and everything times P zero in dropped limbs,

    e_ji = V^-1 (Y'_ji - Y_ji - P (b_ji V u [i < t-1] + a_j,i-1 V u [i > 0]))

are the sanitiser's errors: short, linear in what is committed and in Y (docs/protocol.md, sections
16 to 18).  Their projections U_s,i = <r_s, e_i> + y_s,i share the vectors r and, folded by gamma_s
and powers of sigma, become the first claim of the reductions: with g_j = sum_s gamma_s r_s^(j) and
lam_j = V^-T g_j,

    sum_j <lam_j, Y_sigma,j> = sum_j <lam_j, Y'_sigma,j> - <V^T G, u>
                               + sum_i sigma^i sum_s gamma_s (y_s,i - U_s,i)
    G = sum_j P lam_j sum_i sigma^i (b_ji + sigma a_ji).

Families: 'flooding' {e_0}, 'error i' {e_i}, 'u' in kept limbs, 'weights', 'opening' in limb 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

import kernels
from protocol.digests import words_digest
from protocol.encoding import Value
from protocol.errors import RequestError
from protocol.families import COMMITMENT_DEGREE, OPENING_SIZE, Family, network_families
from protocol.inputs import RequestInputs
from protocol.keys import EnrolledKey
from protocol.parameters import NETWORK_CODE, Mode, Packing
from protocol.request import Request, output_digest
from zk_layers.checks import Check, require, require_words
from zk_layers.commitment import RANK, opened_form, opened_target
from zk_layers.extension import ZERO, Element, element, element_words
from zk_layers.fields import field, ntt
from zk_layers.reduction.exchange import Exchange
from zk_layers.reduction.forms import Form
from zk_layers.reduction.limb import limb_of
from zk_layers.reduction.run import Claim, Run, Speaker
from zk_layers.reduction.schedule import Schedule, schedule_of
from zk_layers.relation import (
    Block,
    Challenges,
    LinearForm,
    Relation,
    UniformSource,
    Witness,
)
from zk_layers.shortness import Integers, Pieces
from zk_layers.statement import require_inputs, require_key

Words = npt.NDArray[np.uint64]

FLOODING = "flooding"


@dataclass(frozen=True, eq=False, repr=False)
class NetworkWitness:
    """The server's secrets of one answer.

    Attributes:
        integers: the model's flat integers, int64.
        opening: r, int64 (5120,), ternary.
        u: int64 (N,), ternary.
        errors: per power i the members (J N,) of e_i, as pieces.
        tensors: words (units, polys, L, N) of every tensor `kept_tensors` names.
    """

    integers: npt.NDArray[np.int64]
    opening: npt.NDArray[np.int64]
    u: npt.NDArray[np.int64]
    errors: tuple[Pieces, ...]
    tensors: Mapping[int, Words]


@dataclass(frozen=True)
class NetworkChallenges(Challenges):
    """Challenges and what the reductions made of them.

    Attributes:
        folded_pads: per limb the coefficients of the pads, words (2, 2 pads).
        folded_weights: per limb those of the model's integers, words (2, integers).
        folded_u: per limb those of u, words (2, N), empty in dropped limbs.
        targets: per limb.
    """

    folded_pads: tuple[Words, ...]
    folded_weights: tuple[Words, ...]
    folded_u: tuple[Words, ...]
    targets: tuple[Element, ...]


class NetworkRelation(Relation):
    """One private answer of a network, batch packing.

    Built by `network_relation`, which sees to it that `inputs` are those of the request's digest.
    """

    label = "blindproof network"
    code = NETWORK_CODE

    def __init__(self, request: Request, inputs: Words, keys: Words, outputs: Words) -> None:
        """State the relation.

        Args:
            request: who asked what.
            inputs: X, words (K, 2, L, N).
            keys: enrolled (b_m, a_m), m = j (t - 1) + i, words (J (t - 1), 2, L, N).
            outputs: Y'', words (J, t, kept, N).

        Raises:
            VerificationError: when words are not canonical or shapes are not the card's.
        """
        card = request.card
        profile = card.profile(Packing.BATCH)
        if profile.flooding_log2 is None or request.packing is not Packing.BATCH or card.linear:
            raise RequestError("this relation proves batches of private networks")
        parameters, graph = profile.parameters, card.graph
        self.request, self.card, self.graph = request, card, graph
        self.moduli = parameters.moduli
        self.degree = parameters.ring_degree
        self.kept = len(self.moduli) - profile.dropped_limbs
        self.dropped_modulus = math.prod(self.moduli[self.kept :])
        self.outputs_count, self.polys = graph.outputs_count, graph.output_polys
        limbs, count = len(self.moduli), self.outputs_count * (self.polys - 1)
        kept = self.moduli[: self.kept]
        require_words("input", inputs, (graph.inputs, 2, limbs, self.degree), self.moduli, 2)
        require_words("key", keys, (count, 2, limbs, self.degree), self.moduli, 2)
        shape = (self.outputs_count, self.polys, self.kept, self.degree)
        require_words("output", outputs, shape, kept, 2)
        self.inputs, self.keys, self.outputs = inputs, keys, outputs
        self.families: tuple[Family, ...] = network_families(
            outputs=self.outputs_count,
            polys=self.polys,
            integers=graph.integers_count,
            ring_degree=self.degree,
            moduli=self.moduli,
            flooding_log2=profile.flooding_log2,
            dropped_limbs=profile.dropped_limbs,
        )
        self.schedule: Schedule = schedule_of(
            graph, parameters.input_scale_log2, self.degree, hidden=True
        )

    @cached_property
    def _statement(self) -> Value:
        return (
            self.request.value(),
            words_digest("blindproof network keys", self.keys),
            output_digest(self.outputs),
        )

    def statement(self) -> Value:
        """The request (with the input's digest), the keys' and the output's digests."""
        return self._statement

    def blocks(self, limb: int) -> tuple[Block, ...]:
        """weights, masks, pads; u in kept limbs; the opening in limb 0."""
        blocks = [
            Block("weights", self.graph.integers_count),
            *self.mask_blocks(limb),
            Block("pads", 2 * self.schedule.pads.count),
        ]
        if limb < self.kept:
            blocks.append(Block("u", self.degree))
        if limb == 0:
            blocks.append(Block("opening", OPENING_SIZE))
        return tuple(blocks)

    def fresh_blocks(self, limb: int, randomness: UniformSource) -> dict[str, Words]:
        """New pads for one attempt, products of pads included."""
        modulus = self.moduli[limb]
        pads = self.schedule.pads
        uniform = randomness.field(f"pads {limb}", (pads.count, 2), modulus)
        return {"pads": pads.fill(uniform, limb_of(modulus).extension).reshape(-1)}

    def extra_challenges(self, limb: int) -> dict[str, tuple[int, ...]]:
        """sigma, the challenge of multiplications, and in limb 0 the commitment's."""
        challenges: dict[str, tuple[int, ...]] = {"sigma": (2,), "sacrifice": (2,)}
        if limb == 0:
            challenges["commitment"] = (2, RANK, COMMITMENT_DEGREE)
        return challenges

    @property
    def message_elements(self) -> int:
        """Elements of E which the reductions send, per limb."""
        return self.schedule.elements

    def reduction_terms(self) -> dict[str, int]:
        """Numerators over |E| of the reductions' soundness terms, per limb."""
        return {
            "sigma": self.polys,
            "sum-checks": self.schedule.rounds_degree,
            "multiplications": 2 * self.schedule.multiplications,
            "constraints": 1,
        }

    def shares_projections(self, family: Family) -> bool:
        """Every error family is folded with the flooding."""
        return family.name.startswith("error ")

    def converse(
        self, challenges: Challenges, exchange: Exchange, speaker: Speaker | None
    ) -> NetworkChallenges:
        """Reduce the folded projections of the errors to constraints on the witness."""
        limbs = tuple(limb_of(modulus) for modulus in self.moduli)
        sigmas = [element(extra["sigma"]) for extra in challenges.extra]
        sigma_words = np.stack([extra["sigma"] for extra in challenges.extra])
        lams = self._output_vectors(challenges)
        values = [Form(value, first=(1, 0)) for value in self._known_part(lams, sigma_words)]
        run = Run(
            exchange,
            self.schedule.units,
            hidden=True,
            residues=None if speaker is None else speaker.residues,
            sacrifices=[element(extra["sacrifice"]) for extra in challenges.extra],
            speaker=speaker,
        )
        bare = None
        if speaker is not None and self.outputs_count > 1:
            bare = speaker.folded(len(self.schedule.units) - 1)
        claim = self.schedule.outputs.reduce(run, lams, values, bare)
        self._close_inputs(run, self.schedule.run(run, claim), sigma_words)

        deltas = exchange.challenge("constraints", max(len(forms) for forms in run.constraints))
        pads, weights, hidden_u, targets, gammas = [], [], [], [], []
        for index, limb in enumerate(limbs):
            terms = list(zip(deltas[index], run.constraints[index], strict=True))
            total = limb.algebra.combine(terms)
            pads.append(self._pad_words(index, total))
            weights.append(self._weight_words(index, total))
            hidden_u.append(self._u_words(index, lams[index], sigmas[index], total.first))
            targets.append(limb.scalars.neg(total.constant))
            gammas.append(self._error_gammas(index, challenges, sigmas[index], total.first))
        return NetworkChallenges(
            projections=challenges.projections,
            projected=challenges.projected,
            gammas=tuple(gammas),
            extra=challenges.extra,
            folded_pads=tuple(pads),
            folded_weights=tuple(weights),
            folded_u=tuple(hidden_u),
            targets=tuple(targets),
        )

    def _output_vectors(self, challenges: Challenges) -> Words:
        """lam_j = V^-T sum_s gamma_s r_s^(j): words (L, 2, J, N)."""
        shape = (2, self.outputs_count, self.degree)
        lams = np.empty((len(self.moduli), *shape), dtype=np.uint64)
        for index, modulus in enumerate(self.moduli):
            folded = challenges.folded(FLOODING, index, modulus).reshape(shape)
            lams[index] = ntt(modulus, self.degree).inverse_transpose(folded)
        return lams

    def _known_part(self, lams: Words, sigmas: Words) -> list[Element]:
        """sum_j <lam_j, Y'_sigma,j> per limb; nothing in dropped limbs."""
        kept = list(self.moduli[: self.kept])
        totals = [ZERO] * len(self.moduli)
        for j in range(self.outputs_count):
            vectors = np.ascontiguousarray(lams[: self.kept, :, j])
            sums = kernels.evaluate_folded(
                self.outputs[j : j + 1], vectors, np.ascontiguousarray(sigmas[: self.kept]), kept
            )
            for index, modulus in enumerate(kept):
                scalars = limb_of(modulus).scalars
                value = scalars.scale(element(sums[index, :, 0]), self.dropped_modulus)
                totals[index] = scalars.add(totals[index], value)
        return totals

    def _close_inputs(self, run: Run, claims: list[Claim], sigmas: Words) -> None:
        """Both sides know the inputs: each claim on them is one constraint."""
        for claim in claims:
            sums = kernels.evaluate_folded(self.inputs, claim.lam, sigmas, list(self.moduli))
            for index, algebra in enumerate(run.algebras):
                inner = np.ascontiguousarray(sums[index])
                known = run.omega_form(index, claim, inner)
                run.require_zero(index, algebra.sub(claim.values[index], known))

    def _pad_words(self, index: int, total: Form) -> Words:
        """Coefficients of the pads' two components: c and c u."""
        scalars = limb_of(self.moduli[index]).scalars
        words = np.zeros((2, self.schedule.pads.count, 2), dtype=np.uint64)
        for pad, coefficient in total.pads.items():
            words[:, pad, 0] = coefficient
            words[:, pad, 1] = scalars.mul(coefficient, (0, 1))
        return words.reshape(2, -1)

    def _weight_words(self, index: int, total: Form) -> Words:
        limb = limb_of(self.moduli[index])
        words = np.zeros((2, self.graph.integers_count), dtype=np.uint64)
        for factor, part in total.weights:
            span = slice(part.offset, part.offset + part.words.shape[1])
            scaled = limb.extension.scale(part.words, element_words(factor))
            words[:, span] = limb.field.add(np.ascontiguousarray(words[:, span]), scaled)
        return words

    def _u_words(self, index: int, lams: Words, sigma: Element, first: Element) -> Words:
        """- first V^T G, words (2, N); lams (2, J, N)."""
        if index >= self.kept:
            return np.zeros((2, 0), dtype=np.uint64)
        limb = limb_of(self.moduli[index])
        powers = limb.scalars.powers(sigma, self.polys)
        # rows of one output's keys are (i, p): b_i belongs to sigma^i, a_i to sigma^(i+1)
        weights = np.array(
            [powers[i + p] for i in range(self.polys - 1) for p in range(2)], dtype=np.uint64
        ).T
        weights = np.ascontiguousarray(weights)
        pairs = self.keys[:, :, index].reshape(self.outputs_count, -1, self.degree)
        folded = np.zeros((2, self.degree), dtype=np.uint64)
        for j in range(self.outputs_count):
            keyed = limb.extension.combine_words(np.ascontiguousarray(pairs[j]), weights)
            line = np.ascontiguousarray(lams[:, j])
            folded = limb.field.add(folded, limb.extension.mul(keyed, line))
        moved = ntt(limb.modulus, self.degree).forward_transpose(folded)
        factor = limb.scalars.scale(first, -self.dropped_modulus)
        return limb.extension.scale(moved, element_words(factor))

    def _error_gammas(
        self, index: int, challenges: Challenges, sigma: Element, first: Element
    ) -> dict[str, Words]:
        """Coefficients of the masks: first sigma^i gamma_s for the errors, else gamma_s."""
        limb = limb_of(self.moduli[index])
        gammas = dict(challenges.gammas[index])
        shared = gammas[FLOODING]
        powers = limb.scalars.powers(sigma, self.polys)
        for power in range(self.polys):
            name = FLOODING if power == 0 else f"error {power}"
            factor = limb.scalars.mul(first, powers[power])
            gammas[name] = limb.extension.scale(shared, element_words(factor))
        return gammas

    def witness(self, secrets: NetworkWitness) -> Witness:
        """The prover's side of the relation."""
        blocks = []
        for index, modulus in enumerate(self.moduli):
            arithmetic = field(modulus)
            contents = {"weights": arithmetic.reduce_i64(secrets.integers)}
            if index < self.kept:
                contents["u"] = arithmetic.reduce_i64(secrets.u)
            if index == 0:
                contents["opening"] = arithmetic.reduce_i64(secrets.opening)
            blocks.append(contents)
        families: dict[str, Integers | Pieces] = {
            "u": secrets.u,
            "weights": secrets.integers,
            "opening": secrets.opening,
        }
        for power, pieces in enumerate(secrets.errors):
            families[FLOODING if power == 0 else f"error {power}"] = pieces
        return Witness(tuple(blocks), families)

    def linear_forms(self, challenges: Challenges) -> list[LinearForm]:
        """The reductions' constraints, the other families' projections, the commitment's rows."""
        if not isinstance(challenges, NetworkChallenges):
            raise TypeError("the reductions come first")
        forms = []
        for index, modulus in enumerate(self.moduli):
            arithmetic = field(modulus)
            weights = challenges.folded("weights", index, modulus)
            coefficients = {
                "pads": challenges.folded_pads[index],
                "weights": arithmetic.add(weights, challenges.folded_weights[index]),
            }
            if index < self.kept:
                folded = challenges.folded("u", index, modulus)
                coefficients["u"] = arithmetic.add(folded, challenges.folded_u[index])
            target = list(challenges.targets[index])
            if index == 0:
                challenge = challenges.extra[0]["commitment"]
                opened, opening = opened_form(modulus, challenge, self.graph.integers_count)
                folded = challenges.folded("opening", 0, modulus)
                coefficients["weights"] = arithmetic.add(coefficients["weights"], opened)
                coefficients["opening"] = arithmetic.add(folded, opening)
                values = opened_target(modulus, challenge, self.card.commitment_words())
                target = [a + b for a, b in zip(target, values, strict=True)]
            forms.append(LinearForm(coefficients, (target[0], target[1])))
        return forms


def network_relation(
    request: Request, inputs: RequestInputs, key: EnrolledKey, outputs: Words
) -> NetworkRelation:
    """The relation of one private answer: the way to build one from what travelled.

    Args:
        request: who asked what.
        inputs: what was sent, encrypted and in clear.
        key: the client's enrolled key.
        outputs: words (J, t, kept, N).

    Raises:
        VerificationError: inputs, key or outputs are not those of the request and its card.
    """
    card = request.card
    require(card.mode is Mode.PRIVATE, Check.STATEMENT, "a public model has no private proof")
    parameters = card.profile(request.packing).parameters
    limbs = len(parameters.moduli)
    require_inputs(request, inputs)
    needed = card.graph.outputs_count * (card.graph.output_polys - 1)
    require_key(request, key, needed)
    pairs = key.pairs(needed, limbs)
    return NetworkRelation(request, inputs.words, pairs, outputs)
