"""Enrolment: once per key, the public keys are honest RLWE samples of one ternary secret.

Order: the client commits to s and all errors e_m (root), the server draws a nonce, the a_m follow,
the client sends b_m = -a_m s + e_m and the proof (docs/protocol.md, section 8):

    limb 0       s s = v, v s = s (ternary);  e_m + 16 = sum 2^i bit_mi with bits proved bits;
                 V^-1 (b_m + a_m V s) = e_m, N equations a key
    every limb   the family {s, V^-1 (b_m + a_m V s)} is tied to limb 0 by 4 integer projections

Without the exact proof a malicious key (a = 0, or b = -a s + 2^34) would reveal the sanitiser's u.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocol.encoding import Value
from protocol.families import (
    PUBLIC_NOISE_BITS,
    PUBLIC_NOISE_BOUND,
    Family,
    enrolment_family,
)
from protocol.keys import EnrolledKey, KeyRequest
from protocol.parameters import QUADRATIC_CODE
from zk_layers.fields import field, ntt
from zk_layers.relation import Block, Challenges, LinearForm, Relation, Witness
from zk_layers.transcript import Transcript

Words = npt.NDArray[np.uint64]


class EnrolmentRelation(Relation):
    """Public keys are honest; before the nonce is known only the statement's shape exists."""

    label = "blindproof enrolment"
    code = QUADRATIC_CODE

    def __init__(self, request: KeyRequest, key: EnrolledKey | None = None) -> None:
        self.request = request
        self.key = key
        self.moduli = request.moduli
        self.degree = request.ring_degree
        self.families: tuple[Family, ...] = (
            enrolment_family(self.degree, request.keys, request.moduli),
        )

    def statement(self) -> Value:
        """Identities and parameters; nonce and keys follow the root."""
        return self.request.value()

    def absorb_after_root(self, transcript: Transcript) -> None:
        """The nonce, drawn after the root, and the keys, which follow from it."""
        key = self._key()
        transcript.absorb("nonce", key.nonce)
        transcript.absorb("key", key.digest)

    def _key(self) -> EnrolledKey:
        if self.key is None:
            raise RuntimeError("the relation has no key before the server's nonce is known")
        return self.key

    def _bit_names(self) -> list[list[str]]:
        return [
            [f"bit {key} {i}" for i in range(PUBLIC_NOISE_BITS)] for key in range(self.request.keys)
        ]

    def blocks(self, limb: int) -> tuple[Block, ...]:
        """s everywhere; its square and the errors' bits in limb 0; masks."""
        blocks = [Block("secret", self.degree, aligned=True)]
        if limb == 0:
            names = ["square", *(name for names in self._bit_names() for name in names)]
            blocks += [Block(name, self.degree, aligned=True) for name in names]
        return (*blocks, *self.mask_blocks(limb))

    def products(self, limb: int) -> tuple[tuple[str, str, str], ...]:
        """s is ternary, bits are bits."""
        if limb != 0:
            return ()
        bits = [name for names in self._bit_names() for name in names]
        ternary = (("secret", "secret", "square"), ("square", "secret", "secret"))
        return (*ternary, *((name, name, name) for name in bits))

    def extra_challenges(self, limb: int) -> dict[str, tuple[int, ...]]:
        """One element of E per equation of the errors, in limb 0."""
        return {"errors": (2, self.request.keys, self.degree)} if limb == 0 else {}

    def linear_forms(self, challenges: Challenges) -> list[LinearForm]:
        """The folded equations.

        With g the folded projections, d the errors' challenges (limb 0 only) and
        xi_m = V^-T (g^e_m + d_m), for each component of E:

        s: g^s + V^T sum_m a_m xi_m;  bit_mi: - 2^i d_m;
        target: - sum_m <xi_m, b_m> - 16 sum d.
        """
        key, keys, degree = self._key(), self.request.keys, self.degree
        forms = []
        for limb, modulus in enumerate(self.moduli):
            arithmetic, transform = field(modulus), ntt(modulus, degree)
            folded = challenges.folded("key", limb, modulus)
            lines = np.ascontiguousarray(folded[:, degree:]).reshape(2, keys, degree)
            coefficients: dict[str, Words] = {}
            target = [0, 0]
            if limb == 0:
                errors = challenges.extra[0]["errors"]
                lines = arithmetic.add(lines, errors)
                for m, names in enumerate(self._bit_names()):
                    of_key = np.ascontiguousarray(errors[:, m])
                    for i, name in enumerate(names):
                        coefficients[name] = arithmetic.scale(of_key, modulus - (1 << i))
                ones = np.ones(keys * degree, dtype=np.uint64)
                for component in range(2):
                    total = arithmetic.dot(errors[component].reshape(-1), ones)
                    target[component] -= PUBLIC_NOISE_BOUND * total
            xi = transform.inverse_transpose(lines)
            uniform = np.ascontiguousarray(key.a[:, limb])
            public = np.ascontiguousarray(key.b[:, limb])
            keyed = np.zeros((2, degree), dtype=np.uint64)
            for component in range(2):
                for m in range(keys):
                    keyed[component] = arithmetic.multiply_add(
                        keyed[component], uniform[m], xi[component, m]
                    )
                target[component] -= arithmetic.dot(xi[component].reshape(-1), public.reshape(-1))
            coefficients["secret"] = arithmetic.add(
                np.ascontiguousarray(folded[:, :degree]), transform.forward_transpose(keyed)
            )
            forms.append(LinearForm(coefficients, (target[0], target[1])))
        return forms

    def witness(self, secret: npt.NDArray[np.int64], errors: npt.NDArray[np.int64]) -> Witness:
        """The client's side: ternary secret (N,), errors (keys, N) in [-16, 15]."""
        blocks = []
        shifted = errors + PUBLIC_NOISE_BOUND
        for limb, modulus in enumerate(self.moduli):
            arithmetic = field(modulus)
            residues = {"secret": arithmetic.reduce_i64(secret)}
            if limb == 0:
                residues["square"] = arithmetic.reduce_i64(secret * secret)
                for m, names in enumerate(self._bit_names()):
                    for i, name in enumerate(names):
                        residues[name] = arithmetic.reduce_i64((shifted[m] >> i) & 1)
            blocks.append(residues)
        members = np.concatenate([secret, errors.reshape(-1)])
        return Witness(tuple(blocks), {"key": members})
