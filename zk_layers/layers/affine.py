"""The affine layer: out = sum of A_i in_i + bias.  Dense, Conv2d, pooling, Add, Scale, Selection.

Evaluated by `fhe_layers/layers/affine.py`.  A claim  v = sum_{k,n} e(k) lam(n) out(k, n)  with
public e needs no sum-check and no intermediate ciphertext: the matrix moves into omega,

    v - C (sum_n lam(n)) <e, bias> = sum_i sum_{k,n} (A_i^T e)(k) lam(n) in_i(k, n)

(C the public factor of the bias, a constant's transform).  With several sources the prover sends
their shares but the last, which is what is left.  A hidden omega meets public matrices only
(`merge` makes it public otherwise).  Soundness: exact, no term of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from protocol.nodes import Affine, AffineTerm
from zk_layers.reduction.forms import Form
from zk_layers.reduction.pads import Pads
from zk_layers.reduction.run import Claim, Run

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class AffineStep:
    """The pads of one affine layer's reduction.

    Attributes:
        tensor: what the claim is about.
        node: the layer.
        shares: pads of the shares but the last.
    """

    tensor: int
    node: Affine
    shares: tuple[int | None, ...]

    @classmethod
    def plan(cls, pads: Pads, tensor: int, node: Affine) -> AffineStep:
        """Count the pads."""
        return cls(tensor, node, pads.many(len(node.terms) - 1))

    @property
    def elements(self) -> int:
        """Elements of E sent, per limb."""
        return len(self.shares)

    def reduce(self, run: Run, claim: Claim) -> list[tuple[int, Claim]]:
        """Claims on the sources."""
        values = self._without_bias(run, claim)
        pulled = [self._through(run, claim, term) for term in self.node.terms]
        if len(pulled) == 1:
            return [(self.node.terms[0].source, replace(pulled[0], values=values))]
        words = run.exchange.say(
            f"affine {self.tensor} shares",
            self.shares,
            (lambda: self._shares(run, pulled)) if run.speaker is not None else None,
        )
        shares = run.opened(words, self.shares)
        left = values
        claims = []
        for position, (term, part) in enumerate(zip(self.node.terms, pulled, strict=True)):
            if position == len(self.shares):
                share = left
            else:
                share = [of_limb[position].form() for of_limb in shares]
                left = [
                    algebra.sub(a, b)
                    for algebra, a, b in zip(run.algebras, left, share, strict=True)
                ]
            claims.append((term.source, replace(part, values=share)))
        return claims

    def _without_bias(self, run: Run, claim: Claim) -> list[Form]:
        node = self.node
        if node.bias is None:
            return claim.values
        values = []
        for index, limb in enumerate(run.limbs):
            factor = limb.scalars.scale(claim.lam_sums[index], node.bias_factor)
            part = limb.bias_form(node.bias, claim.outer[index], factor)
            values.append(limb.algebra.sub(claim.values[index], run.weights(index, part)))
        return values

    def _through(self, run: Run, claim: Claim, term: AffineTerm) -> Claim:
        """The claim's omega on one source; its value is still the whole claim's."""
        if claim.hidden or (run.hidden and term.weights is not None):
            return replace(claim, route=(*claim.route, term))
        size = run.units[term.source]
        outer = []
        for index, limb in enumerate(run.limbs):
            residues = None if run.residues is None else run.residues[index]
            outer.append(limb.pull_back(term, claim.outer[index], size, residues))
        return replace(claim, outer=outer)

    def _shares(self, run: Run, pulled: Sequence[Claim]) -> Words:
        """The prover's shares but the last: words (limbs, shares, 2)."""
        if run.speaker is None:
            raise ValueError("only the prover knows the shares")
        shares = np.empty((len(run.limbs), len(self.shares), 2), dtype=np.uint64)
        for position, (term, part) in enumerate(
            zip(self.node.terms[:-1], pulled[:-1], strict=True)
        ):
            omegas = run.omegas(part, term.source)
            sums = run.speaker.contract(term.source, part.lam)
            for index, limb in enumerate(run.limbs):
                shares[index, position] = limb.extension.inner(omegas[index], sums[index])
        return shares
