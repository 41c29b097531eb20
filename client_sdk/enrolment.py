"""Enrolment of fresh public keys: commit, take the server's nonce, answer with a proof."""

from __future__ import annotations

import asyncio

import numpy as np
import numpy.typing as npt

from client_sdk.metering import Meter, Traffic, unmetered
from client_sdk.transport import Transport
from protocol.errors import EnrolmentError
from protocol.keys import KeyRequest
from wire import rpc
from wire.enrolment import decode_challenge, decode_completed, encode_begin, encode_completion
from wire.stored_key import Enrolment
from zk_layers.prove import EnrolmentProver, EnrolmentRestart

ATTEMPTS = 5


async def enrol(
    transport: Transport,
    request: KeyRequest,
    secret: npt.NDArray[np.int8],
    meter: Meter = unmetered,
) -> Enrolment:
    """Enrol public keys of a ternary secret (N,).

    A proof attempt that has to be given up leaves nothing behind but an unused session.  Many keys
    of a large ring take seconds to prove and tens of megabytes to send: forty at N = 16384 with
    six primes are 31 MB and a proof of 7 MB.

    Raises:
        EnrolmentError: the server declined, or keeps another key than the one sent.
        TransportError: the server cannot be reached.
    """
    for _ in range(ATTEMPTS):
        prover = await asyncio.to_thread(EnrolmentProver, request, secret)
        begun = await transport.call(rpc.BEGIN_ENROLMENT, encode_begin(request, prover.root))
        challenge = decode_challenge(begun)
        try:
            key, proof = await asyncio.to_thread(prover.answer, challenge.nonce)
        except EnrolmentRestart:
            continue
        messages = encode_completion(challenge.session_id, key.b, proof)
        traffic = Traffic(key.b.nbytes + len(proof), meter)
        completed = await transport.send(rpc.COMPLETE_ENROLMENT, traffic.counted(messages))
        if decode_completed(completed) != key.digest:
            raise EnrolmentError("the server enrolled another key than the one sent")
        return Enrolment(key, proof)
    raise EnrolmentError(f"no enrolment in {ATTEMPTS} attempts")
