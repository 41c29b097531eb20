"""Enrolments of any secrets, true or false: what a client commits to and the key it then sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from protocol.families import PUBLIC_NOISE_BITS, PUBLIC_NOISE_BOUND
from protocol.keys import EnrolledKey, KeyRequest, expand_a
from tests.adversarial.malicious_prover import GLUED, MaliciousProver, Strategy
from tests.adversarial.scenario import DEGREE, MODULI, Residues, in_every_limb, residues
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.fields import field, ntt

LIMBS = MODULI[:2]
NONCE = b"the nonce of the server, 32 byte"
REQUEST = KeyRequest("client", "server", DEGREE, LIMBS, 1)
TWO_KEYS = replace(REQUEST, keys=2)


@dataclass
class Secrets:
    """What a client commits to; every field may lie.

    Attributes:
        secret: s per limb.
        errors: e (keys, N) per limb, which b is made of.
        committed: e (keys, N), Python integers, whose bits are committed.
        top: let the highest bit take whatever is left.
    """

    secret: Residues
    errors: Residues
    committed: np.ndarray
    top: bool = False

    def blocks(self) -> list[dict[str, np.ndarray]]:
        blocks = [{"secret": words} for words in self.secret]
        q = LIMBS[0]
        blocks[0]["square"] = field(q).mul(self.secret[0], self.secret[0])
        for key, row in enumerate(self.committed):
            shifted = [int(value) + PUBLIC_NOISE_BOUND for value in row]
            for i in range(PUBLIC_NOISE_BITS):
                last = self.top and i == PUBLIC_NOISE_BITS - 1
                bits = [value >> i if last else (value >> i) & 1 for value in shifted]
                blocks[0][f"bit {key} {i}"] = residues(np.array(bits, dtype=object), q)
        return blocks


def honest(seed: int = 5, keys: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Ternary s (N,) and errors (keys, N) in [-16, 15]."""
    rng = np.random.default_rng(seed)
    errors = rng.integers(-PUBLIC_NOISE_BOUND, PUBLIC_NOISE_BOUND, (keys, DEGREE))
    return rng.integers(-1, 2, DEGREE), errors


def secrets_of(secret: np.ndarray, errors: np.ndarray, *, top: bool = False) -> Secrets:
    return Secrets(in_every_limb(secret, LIMBS), in_every_limb(errors, LIMBS), errors, top)


def make_b(secrets: Secrets, uniform: np.ndarray) -> np.ndarray:
    """b = -a s + e, words (keys, L, N)."""
    b = np.empty_like(uniform)
    for limb, modulus in enumerate(LIMBS):
        arithmetic, transform = field(modulus), ntt(modulus, DEGREE)
        secret = transform.forward(secrets.secret[limb])
        for key in range(len(uniform)):
            masked = arithmetic.mul(np.ascontiguousarray(uniform[key, limb]), secret)
            error = transform.forward(np.ascontiguousarray(secrets.errors[limb][key]))
            b[key, limb] = arithmetic.sub(error, masked)
    return b


def enrol(
    secrets: Secrets,
    strategy: Strategy = GLUED,
    change: Callable[[np.ndarray], None] | None = None,
    uniform: np.ndarray | None = None,
    request: KeyRequest = REQUEST,
) -> tuple[EnrolledKey, bytes]:
    """Run the protocol: commit, learn the nonce, make keys (changed, or from another a), prove."""
    for _ in range(4):
        prover = MaliciousProver(EnrolmentRelation(request), secrets.blocks(), strategy)
        a = expand_a(request, prover.root, NONCE) if uniform is None else uniform
        b = make_b(secrets, a)
        if change is not None:
            change(b)
        key = EnrolledKey(request, prover.root, NONCE, b)
        relation = EnrolmentRelation(request, key)
        proof = prover.answer(relation)
        if prover.in_range:
            break
    return key, proof
