"""Messages and challenges of the reductions, the same steps on both sides.

All limbs move in lockstep: one message carries every limb's elements, every limb's challenge
follows it, and both go through one transcript.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from zk_layers.checks import Check, require
from zk_layers.extension import Element, element
from zk_layers.transcript import Transcript

Words = npt.NDArray[np.uint64]

ELEMENT_BYTES = 16


class Exchange(ABC):
    """One side of the conversation.

    Messages are words (limbs, count, 2), sent little-endian in this order.
    """

    def __init__(self, transcript: Transcript, moduli: Sequence[int]) -> None:
        self.transcript = transcript
        self.moduli = tuple(moduli)

    def say(
        self, label: str, pads: Sequence[int | None], clear: Callable[[], Words] | None
    ) -> Words:
        """Send (or receive) one message and bind it.

        Args:
            label: names the message in the transcript.
            pads: per element the pad it is sent under, None to send it as it is.
            clear: the prover's values, words (limbs, len(pads), 2).
        """
        words = self._message(pads, clear)
        self.transcript.absorb(label, words.astype("<u8").tobytes())
        return words

    def challenge(self, label: str, count: int = 1) -> list[list[Element]]:
        """Per limb, `count` uniform elements of E."""
        drawn = []
        for limb, modulus in enumerate(self.moduli):
            words = self.transcript.challenge_field(f"{label} {limb}", (count, 2), modulus)
            drawn.append([element(pair) for pair in words])
        return drawn

    @abstractmethod
    def _message(self, pads: Sequence[int | None], clear: Callable[[], Words] | None) -> Words:
        """The words of one message."""


class Reading(Exchange):
    """The verifier's side: takes messages from a proof."""

    def __init__(
        self, transcript: Transcript, moduli: Sequence[int], take: Callable[[int], bytes]
    ) -> None:
        super().__init__(transcript, moduli)
        self._take = take

    def _message(self, pads: Sequence[int | None], clear: Callable[[], Words] | None) -> Words:
        del clear
        limbs = len(self.moduli)
        raw = self._take(ELEMENT_BYTES * limbs * len(pads))
        words = np.frombuffer(raw, dtype="<u8").astype(np.uint64).reshape(limbs, len(pads), 2)
        for limb, modulus in enumerate(self.moduli):
            canonical = bool((words[limb] < np.uint64(modulus)).all())
            require(canonical, Check.CANONICAL, f"a message exceeds its modulus in limb {limb}")
        return words


class Speaking(Exchange):
    """The prover's side: pads its values and keeps what was sent.

    Attributes:
        sent: the message bytes so far, in order.
    """

    def __init__(
        self, transcript: Transcript, moduli: Sequence[int], pads: Sequence[Words] = ()
    ) -> None:
        """Speak under the committed pads, per limb words (pads, 2); none in a public proof."""
        super().__init__(transcript, moduli)
        self.pads = pads
        self.sent: list[bytes] = []
        self._used: set[int] = set()

    def _message(self, pads: Sequence[int | None], clear: Callable[[], Words] | None) -> Words:
        if clear is None:
            raise RuntimeError("the prover has nothing to say")
        words = clear().copy()
        for position, index in enumerate(pads):
            if index is None:
                continue
            if index in self._used:
                raise RuntimeError(f"pad {index} would be used twice")
            self._used.add(index)
            for limb, modulus in enumerate(self.moduli):
                for component in range(2):
                    value = int(words[limb, position, component])
                    pad = int(self.pads[limb][index, component])
                    words[limb, position, component] = (value - pad) % modulus
        self.sent.append(words.astype("<u8").tobytes())
        return words
