"""A relation: the public statement of a proof and the constraints it puts on a hidden witness.

The witness of limb l is a vector of field elements, cut into named blocks; blocks are laid out
one after the other and cut into rows of l elements.  A relation says which blocks are products of
others (row by row), and, once the challenges are drawn, gives for each limb one linear form with
coefficients in E and its target: the random combination of all its linear constraints.

Prover and verifier share this description and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from protocol.encoding import Value, encode
from protocol.families import Family
from protocol.parameters import PROTOCOL_VERSION, CodeParameters
from zk_layers.fields import field
from zk_layers.reduction.exchange import Exchange
from zk_layers.reduction.run import Speaker
from zk_layers.shortness import Integers, Pieces, Projection, integer_residues
from zk_layers.transcript import Transcript

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Block:
    """A named stretch of the witness; `aligned` blocks start a new row."""

    name: str
    size: int
    aligned: bool = False


class Layout:
    """Where the blocks of one limb sit in its rows."""

    def __init__(self, blocks: Sequence[Block], message_length: int) -> None:
        self.message_length = message_length
        self.spans: dict[str, slice] = {}
        end = 0
        for block in blocks:
            start = -(-end // message_length) * message_length if block.aligned else end
            end = start + block.size
            self.spans[block.name] = slice(start, end)
        self.rows = -(-end // message_length)

    def place(self, contents: Mapping[str, Words], vectors: int) -> Words:
        """Rows (vectors, rows, l) holding the given (vectors, size) contents, zero elsewhere."""
        flat = np.zeros((vectors, self.rows * self.message_length), dtype=np.uint64)
        for name, content in contents.items():
            flat[:, self.spans[name]] = content
        return flat.reshape(vectors, self.rows, self.message_length)

    def rows_of(self, name: str) -> range:
        """Indices of the rows of an aligned block."""
        span = self.spans[name]
        first = span.start // self.message_length
        return range(first, -(-span.stop // self.message_length))


@dataclass(frozen=True)
class LinearForm:
    """sum_i coefficient_i * witness_i = target, in E: two base-field components.

    Attributes:
        coefficients: per block name words (2, size); blocks left out have coefficient zero.
        target: two field elements.
    """

    coefficients: dict[str, Words]
    target: tuple[int, int]


@dataclass(frozen=True)
class Challenges:
    """What the verifier has drawn when the linear forms are built.

    Attributes:
        projections: per family.
        projected: per family the integers U.
        gammas: per limb, per family name, words (2, S) which fold the projections.
        extra: per limb, the relation's own challenges by name.
    """

    projections: tuple[Projection, ...]
    projected: tuple[tuple[int, ...], ...]
    gammas: tuple[dict[str, Words], ...]
    extra: tuple[dict[str, Words], ...]

    def folded(self, name: str, limb: int, modulus: int) -> Words:
        """sum_s gamma_s r_s of one family in one limb: words (2, size)."""
        for projection in self.projections:
            if projection.family.name == name:
                return projection.fold(self.gammas[limb][name], modulus)
        raise KeyError(name)


@dataclass(frozen=True, repr=False)
class Witness:
    """What the prover knows.

    Attributes:
        blocks: per limb, words by block name, masks left out.
        families: members of each family as integers, by family name.
        speaker: makes the prover's side of the reductions from the challenges and, per limb, the
            committed pads (pads, 2).
    """

    blocks: tuple[dict[str, Words], ...]
    families: Mapping[str, Integers | Pieces]
    speaker: Callable[[Challenges, list[Words]], Speaker] | None = None


class UniformSource(Protocol):
    """The prover's randomness, as a relation sees it."""

    def field(self, label: str, shape: tuple[int, ...], modulus: int) -> Words:
        """Uniform field elements; a label is used once."""


class Relation(ABC):
    """Base of all relations."""

    label: str
    code: CodeParameters
    moduli: tuple[int, ...]
    families: tuple[Family, ...]

    @abstractmethod
    def statement(self) -> Value:
        """Everything public, as absorbed before the first message."""

    @abstractmethod
    def blocks(self, limb: int) -> tuple[Block, ...]:
        """The witness of a limb; must include `mask_blocks(limb)`."""

    def products(self, limb: int) -> tuple[tuple[str, str, str], ...]:
        """Triples (a, b, c) of aligned blocks of equal size with a * b = c, element by element."""
        del limb
        return ()

    def absorb_after_root(self, transcript: Transcript) -> None:
        """Bind what was said between the commitment and the first challenge."""
        del transcript

    def extra_challenges(self, limb: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the relation's own challenges in a limb."""
        del limb
        return {}

    def fresh_blocks(self, limb: int, randomness: UniformSource) -> dict[str, Words]:
        """Blocks of a limb which the prover draws anew in every attempt."""
        del limb, randomness
        return {}

    @property
    def message_elements(self) -> int:
        """Elements of E sent in `converse`, per limb."""
        return 0

    def reduction_terms(self) -> dict[str, int]:
        """Soundness terms of `converse` as numerators over |E|, per limb."""
        return {}

    def shares_projections(self, family: Family) -> bool:
        """Whether a family takes the vectors and gammas of the first one.

        Its gammas are then set by `converse`.
        """
        del family
        return False

    def draw_projections(self, transcript: Transcript) -> tuple[Projection, ...]:
        """The projection vectors of every family."""
        drawn: list[Projection] = []
        for family in self.families:
            if self.shares_projections(family):
                drawn.append(Projection(family, drawn[0].vectors))
            else:
                drawn.append(Projection.draw(transcript, family))
        return tuple(drawn)

    def converse(
        self, challenges: Challenges, exchange: Exchange, speaker: Speaker | None
    ) -> Challenges:
        """Messages and challenges between the projections and the tests; none by default."""
        del exchange, speaker
        return challenges

    @abstractmethod
    def linear_forms(self, challenges: Challenges) -> list[LinearForm]:
        """One linear form per limb, without the masks' part."""

    def mask_blocks(self, limb: int) -> tuple[Block, ...]:
        """The masks of the families which are projected in this limb."""
        return tuple(
            Block(mask_name(family), family.projections)
            for family in self.families
            if limb in family.limbs
        )

    def layouts(self) -> tuple[Layout, ...]:
        """The layouts of all limbs."""
        return tuple(
            Layout(self.blocks(limb), self.code.message_length) for limb in range(len(self.moduli))
        )

    def begin(self) -> Transcript:
        """A transcript with the statement and every proof parameter absorbed."""
        transcript = Transcript(self.label)
        parameters: Value = (
            PROTOCOL_VERSION,
            self.code.value(),
            self.moduli,
            tuple(family.value() for family in self.families),
            tuple(
                (
                    tuple((block.name, block.size, block.aligned) for block in self.blocks(limb)),
                    self.products(limb),
                )
                for limb in range(len(self.moduli))
            ),
        )
        transcript.absorb("parameters", encode(parameters))
        transcript.absorb("statement", encode(self.statement()))
        return transcript

    def draw_challenges(
        self,
        transcript: Transcript,
        projections: tuple[Projection, ...],
        projected: tuple[tuple[int, ...], ...],
    ) -> Challenges:
        """Draw what follows the integers U."""
        gammas: list[dict[str, Words]] = []
        extra: list[dict[str, Words]] = []
        for limb, modulus in enumerate(self.moduli):
            gammas.append(
                {
                    family.name: transcript.challenge_field(
                        f"gamma {family.name} {limb}", (2, family.projections), modulus
                    )
                    for family in self.families
                    if limb in family.limbs and not self.shares_projections(family)
                }
            )
            extra.append(
                {
                    name: transcript.challenge_field(f"{name} {limb}", shape, modulus)
                    for name, shape in self.extra_challenges(limb).items()
                }
            )
        return Challenges(projections, projected, tuple(gammas), tuple(extra))

    def complete_forms(self, challenges: Challenges) -> list[LinearForm]:
        """The linear forms with the masks' part: sum gamma_s (<r_s, x> + y_s) = sum gamma_s U_s."""
        completed = []
        for limb, form in enumerate(self.linear_forms(challenges)):
            modulus = self.moduli[limb]
            coefficients = dict(form.coefficients)
            target = list(form.target)
            for family, projected in zip(self.families, challenges.projected, strict=True):
                if limb not in family.limbs:
                    continue
                gammas = challenges.gammas[limb][family.name]
                coefficients[mask_name(family)] = gammas
                residues = integer_residues(list(projected), modulus)
                for component in range(2):
                    target[component] += field(modulus).dot(gammas[component], residues)
            completed.append(LinearForm(coefficients, (target[0] % modulus, target[1] % modulus)))
        return completed


def mask_name(family: Family) -> str:
    """Name of the block that holds a family's masks."""
    return f"mask {family.name}"
