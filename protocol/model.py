"""The model card: what a client pins.

A card names everything that decides an answer: features with their ranges and scaling, outputs,
the network, parameters of every packing, and either the commitment to the private weights or the
public weights themselves.  The digest of its canonical encoding is the model's identity.

Integers: weights and biases are W / 2^15 for committed integers |W| <= 2^15 - 1, the bias last in
its row; outputs are `unit` times what the network gives.  So a linear model's output j is
sum_k w[j,k] x_k + b_j with w = unit * W / 2^15 and inputs x_k such as (raw_k - centre_k) / scale_k.

Columns: each gives one or more units (`protocol.features`), in the card's order.  Without an
expansion the inputs are the units; with one they are its monomials, products of units which the
client computes before it encrypts: a linear model is then a polynomial in the units.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from protocol.about import About
from protocol.bounds import DISCLOSURE_LOG2, Bounds, linear_bounds, network_bounds
from protocol.digests import digest
from protocol.encoding import (
    Value,
    decode,
    encode,
    expect_bool,
    expect_bytes,
    expect_float,
    expect_int,
    expect_text,
    expect_tuple,
)
from protocol.errors import EncodingError, ModelError
from protocol.families import (
    COMMITMENT_DEGREE,
    MAX_INTEGERS,
    WEIGHT_BITS,
    WEIGHT_BOUND,
    network_families,
)
from protocol.features import MAX_NAME, Column, Feature, Privacy, column_from_value
from protocol.graph import Graph, Matrix
from protocol.keys import MAX_KEYS
from protocol.layers import PrivateSelection
from protocol.links import labels_count
from protocol.parameters import (
    NETWORK_CODE,
    PROTOCOL_VERSION,
    CkksParameters,
    Mode,
    Packing,
    require_words_sized,
)

__all__ = ["MAX_NAME", "Feature", "ModelCard", "Profile"]

Words = npt.NDArray[np.uint64]

CARD_LABEL = "blindproof model card"
MAX_CARD_BYTES = 1 << 21
MAX_PURPOSE = 2000
MAX_COLUMNS = MAX_INTEGERS
MAX_ENCODED_UNITS = MAX_INTEGERS
"""A linear model has fewer inputs than integers; of an expansion's units some may be in none."""
MAX_INPUT_BOUND = 2.0**64
MAX_UNIT_EXPONENT = 1000
MAX_MONOMIAL_DEGREE = 8
MAX_TENSOR_WORDS = 1 << 28
"""Words of one tensor of a network in all limbs, 2 GiB: bounds what evaluating a card can take."""
MAX_DROPPED_LIMBS = 3
FLOODING_LOG2_RANGE = (40, 110)
NETWORK_FLOODING_LOG2_RANGE = (40, 220)
DISCLOSURE_LOG2_RANGE = (8, 64)


@dataclass(frozen=True)
class Profile:
    """The parameters of one packing of one model.

    Attributes:
        packing: batch or single record.
        parameters: the ring.
        flooding_log2: f of the sanitiser, None when outputs are not sanitised (public mode).
        dropped_limbs: last limbs of the chain that rescaling takes from sanitised outputs.
        disclosure_log2: released values are hidden by noise 2^this above the largest error that
            depends on the secret key.
    """

    packing: Packing
    parameters: CkksParameters
    flooding_log2: int | None
    dropped_limbs: int = 0
    disclosure_log2: int = DISCLOSURE_LOG2

    def __post_init__(self) -> None:
        require_words_sized(self.flooding_log2 or 0, self.dropped_limbs, self.disclosure_log2)
        most = min(MAX_DROPPED_LIMBS, len(self.parameters.moduli) - 1)
        if not 0 <= self.dropped_limbs <= most:
            raise ModelError(f"{self.dropped_limbs} limbs dropped from outputs, at most {most}")
        if self.dropped_limbs and (self.packing is not Packing.BATCH or self.flooding_log2 is None):
            raise ModelError("only sanitised batches are rescaled")
        low, high = DISCLOSURE_LOG2_RANGE
        if not low <= self.disclosure_log2 <= high:
            raise ModelError(f"disclosure 2^{self.disclosure_log2} is outside 2^{low} .. 2^{high}")

    @property
    def kept_moduli(self) -> tuple[int, ...]:
        """The data primes of an output."""
        return self.parameters.moduli[: len(self.parameters.moduli) - self.dropped_limbs]

    @property
    def dropped_modulus(self) -> int:
        """P, the product of the dropped primes, 1 without rescaling."""
        return math.prod(self.parameters.moduli[len(self.kept_moduli) :])

    def value(self) -> Value:
        """The canonical value."""
        return (
            str(self.packing),
            self.parameters.value(),
            self.flooding_log2,
            self.dropped_limbs,
            self.disclosure_log2,
        )

    @classmethod
    def from_value(cls, value: Value) -> Profile:
        """Rebuild and validate from a decoded value."""
        packing, parameters, flooding, dropped, disclosure = expect_tuple(value, "profile", 5)
        name = expect_text(packing, "packing")
        try:
            kind = Packing(name)
        except ValueError as error:
            raise EncodingError(f"unknown packing {name[:40]!r}") from error
        limit = None if flooding is None else expect_int(flooding, "flooding")
        return cls(
            kind,
            CkksParameters.from_value(parameters),
            limit,
            expect_int(dropped, "dropped limbs"),
            expect_int(disclosure, "disclosure"),
        )


@dataclass(frozen=True)
class ModelCard:
    """A validated model card.

    Attributes:
        name, version, purpose: for people.
        mode: private or public weights.
        features: the input columns, in order; at least one input is encrypted.
        graph: the network; its K inputs are the columns' units, or the expansion's monomials.
        outputs: names of the J outputs.
        labels: distinct class labels in the order of the link's decision, empty for a regression.
        link: see `protocol.links`; applied by the client after decryption.
        unit: power of two; outputs are unit times those of the network.
        row_l1_bounds: declared bounds on a row's sum of magnitudes, bias included, one per row of
            every matrix of the graph, in its order; 1 for the rows of a selection.
        profiles: at most one per packing.
        commitment: little-endian words of h (2, 1024) mod q_0 in private mode, else empty.
        public_weights: the rows of every matrix in public mode, in order, else empty.
        expansion: monomials, each the ascending indices of the units multiplied, ascending in
            degree and then in units; empty: the inputs are the units.
        local: columns of tables that clients keep for themselves: no inputs of the model.
        about: what the publisher says of the model.
        integer_labels: whether the labels are integers, in decimal and of 64 bits.
    """

    name: str
    version: str
    purpose: str
    mode: Mode
    features: tuple[Column, ...]
    graph: Graph
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    link: str
    unit: float
    row_l1_bounds: tuple[int, ...]
    profiles: tuple[Profile, ...]
    commitment: bytes
    public_weights: tuple[tuple[int, ...], ...]
    expansion: tuple[tuple[int, ...], ...] = ()
    local: tuple[str, ...] = ()
    about: About = field(default_factory=About)
    integer_labels: bool = False

    def __post_init__(self) -> None:
        self._check_columns()
        self._check_names()
        self._check_shape()
        self._check_weights()
        self._check_profiles()

    def _check_columns(self) -> None:
        if not self.features:
            raise ModelError("a model needs at least one feature")
        if len(self.features) + len(self.local) > MAX_COLUMNS:
            raise ModelError(f"a model has at most {MAX_COLUMNS} columns")
        units = sum(column.inputs for column in self.features)
        if units > MAX_ENCODED_UNITS:
            raise ModelError(
                f"the columns give {units} units, at most {MAX_ENCODED_UNITS}: use fewer edges or "
                "categories"
            )

    def _check_names(self) -> None:
        columns = (*(column.name for column in self.features), *self.local)
        for text in (self.name, self.version, *self.outputs, *self.labels, *columns):
            if not 0 < len(text) <= MAX_NAME:
                raise ModelError(f"names must have 1 to {MAX_NAME} characters")
        if len(self.purpose) > MAX_PURPOSE:
            raise ModelError(
                f"the purpose has {len(self.purpose)} characters, at most {MAX_PURPOSE}"
            )
        for kind, names in (
            ("feature", columns),
            ("output", self.outputs),
            ("label", self.labels),
        ):
            if len(set(names)) != len(names):
                raise ModelError(f"{kind} names must be distinct")
        if len(self.labels) != labels_count(self.link, len(self.outputs)):
            raise ModelError(f"link '{self.link}' does not fit {len(self.labels)} labels")
        if self.integer_labels and not (self.labels and all(map(_is_integer, self.labels))):
            raise ModelError("integer labels are integers in decimal, of 64 bits")
        mantissa, exponent = math.frexp(self.unit) if math.isfinite(self.unit) else (0.0, 0)
        if mantissa != 0.5 or abs(exponent) > MAX_UNIT_EXPONENT:
            raise ModelError(
                f"unit {self.unit} is not a power of two within 2^+-{MAX_UNIT_EXPONENT}"
            )

    def _check_shape(self) -> None:
        units = len(self.unit_columns)
        inputs = len(self.expansion) or units
        if self.graph.inputs != inputs or self.graph.outputs_count != len(self.outputs):
            raise ModelError(
                f"the network takes {self.graph.inputs} inputs to {self.graph.outputs_count} "
                f"outputs, the card has {inputs} and {len(self.outputs)}"
            )
        for monomial in self.expansion:
            if not 1 <= len(monomial) <= MAX_MONOMIAL_DEGREE:
                raise ModelError(f"monomials have degree 1 to {MAX_MONOMIAL_DEGREE}")
            if not 0 <= min(monomial) <= max(monomial) < units:
                raise ModelError("a monomial names a unit that does not exist")
            if tuple(sorted(monomial)) != monomial:
                raise ModelError("a monomial lists its units in ascending order")
        order = [(len(monomial), monomial) for monomial in self.expansion]
        if any(first >= second for first, second in pairwise(order)):
            raise ModelError("monomials must be distinct and ascend in degree, then in units")
        # Columns first, so that no product of them is beyond a float.
        reach = max(column.bound for column in self.features)
        if not (reach <= MAX_INPUT_BOUND and self.input_bound <= MAX_INPUT_BOUND):
            raise ModelError("an input's range is more than 2^64 times its scale")
        if not self.encrypted_inputs:
            raise ModelError("a model needs at least one encrypted input")

    def _check_weights(self) -> None:
        rows = [matrix for matrix in self.graph.matrices for _ in range(matrix.rows)]
        if not rows:
            raise ModelError("a model has at least one matrix")
        if len(self.row_l1_bounds) != len(rows):
            raise ModelError("one positive l1 bound per matrix row is needed")
        for matrix, bound in zip(rows, self.row_l1_bounds, strict=True):
            largest = 1 if self._selects(matrix) else matrix.width * (WEIGHT_BOUND + 1) * 2
            if not 0 < bound <= largest:
                raise ModelError(f"one positive l1 bound of at most {largest} is needed in a row")
        if self.mode is Mode.PRIVATE:
            size = 2 * COMMITMENT_DEGREE * 8
            if self.public_weights or len(self.commitment) != size:
                raise ModelError(f"a private model has a commitment of {size} bytes, no weights")
            return
        if self.commitment or len(self.public_weights) != len(rows):
            raise ModelError("a public model has weights and no commitment")
        for matrix, row, bound in zip(rows, self.public_weights, self.row_l1_bounds, strict=True):
            if len(row) != matrix.width or max(map(abs, row)) > WEIGHT_BOUND:
                raise ModelError(
                    f"public weights: {matrix.width} integers of at most {WEIGHT_BOUND}"
                )
            if sum(map(abs, row)) > bound:
                raise ModelError("public weights exceed their declared l1 bound")
            if self._selects(matrix) and sum(row) != 1:
                raise ModelError("a selection's rows have a single 1")

    def _selects(self, matrix: Matrix) -> bool:
        return isinstance(self.graph.layers[matrix.layer], PrivateSelection)

    def _check_profiles(self) -> None:
        packings = [profile.packing for profile in self.profiles]
        if not packings or len(set(packings)) != len(packings):
            raise ModelError("a model needs one profile per packing it offers")
        for profile in self.profiles:
            sanitised = profile.flooding_log2 is not None
            if sanitised != (self.mode is Mode.PRIVATE):
                raise ModelError("private models flood their outputs, public models do not")
            self._check_profile(profile)
        degrees = {profile.parameters.ring_degree for profile in self.profiles}
        longest = max((p.parameters.moduli for p in self.profiles), key=len)
        if len(degrees) > 1 or any(
            profile.parameters.moduli != longest[: len(profile.parameters.moduli)]
            for profile in self.profiles
        ):
            raise ModelError("profiles share one ring degree and one chain of data primes")
        if self.mode is Mode.PRIVATE and (self.commitment_words() >= np.uint64(longest[0])).any():
            raise ModelError("the commitment has words outside its field")

    def _check_profile(self, profile: Profile) -> None:
        low, high = FLOODING_LOG2_RANGE if self.linear else NETWORK_FLOODING_LOG2_RANGE
        flooding = profile.flooding_log2
        if flooding is not None and not low <= flooding <= high:
            raise ModelError(f"flooding 2^{flooding} is outside 2^{low} .. 2^{high}")
        if profile.packing is Packing.BATCH and flooding is not None and self._keys > MAX_KEYS:
            raise ModelError(
                f"{len(self.outputs)} private outputs of {self.graph.output_polys} polynomials "
                f"take {self._keys} keys, at most {MAX_KEYS}"
            )
        span = len(self.outputs) * self.inputs_count
        if profile.packing is Packing.SINGLE and span > profile.parameters.ring_degree:
            raise ModelError("single-record packing needs outputs x inputs <= N")
        if not self.linear:
            self._check_network(profile)
        elif profile.dropped_limbs:
            raise ModelError("the outputs of a linear model are not rescaled")

    def _check_network(self, profile: Profile) -> None:
        if profile.packing is not Packing.BATCH:
            raise ModelError("single-record packing takes linear models only")
        parameters = profile.parameters
        if 2 * parameters.ring_degree < NETWORK_CODE.codeword_length:
            raise ModelError(
                f"networks need N of at least {NETWORK_CODE.codeword_length // 2}, so that the "
                "proof's code exists modulo the data primes"
            )
        tensors = self.graph.tensors(parameters.input_scale_log2)
        polynomials = max(tensor.units * tensor.polys for tensor in tensors)
        words = polynomials * len(parameters.moduli) * parameters.ring_degree
        if words > MAX_TENSOR_WORDS:
            raise ModelError(f"a tensor has {words} words, at most {MAX_TENSOR_WORDS}")
        if profile.flooding_log2 is not None:
            network_families(
                outputs=len(self.outputs),
                polys=self.graph.output_polys,
                integers=self.graph.integers_count,
                ring_degree=parameters.ring_degree,
                moduli=parameters.moduli,
                flooding_log2=profile.flooding_log2,
                dropped_limbs=profile.dropped_limbs,
            )

    @cached_property
    def digest(self) -> bytes:
        """The model's identity."""
        return digest(CARD_LABEL, self.value())

    @cached_property
    def unit_columns(self) -> tuple[int, ...]:
        """For each unit the index of its column."""
        return tuple(
            index for index, column in enumerate(self.features) for _ in range(column.inputs)
        )

    @cached_property
    def unit_bounds(self) -> tuple[float, ...]:
        """For each unit the largest magnitude it has."""
        return tuple(self.features[index].bound for index in self.unit_columns)

    @cached_property
    def input_bound(self) -> float:
        """Largest magnitude of an input: of a unit, or of a monomial."""
        reach = self.unit_bounds
        if not self.expansion:
            return max(reach)
        return max(math.prod(reach[unit] for unit in monomial) for monomial in self.expansion)

    @property
    def inputs_count(self) -> int:
        """K, the inputs of the network: units or monomials."""
        return self.graph.inputs

    @cached_property
    def plaintext_features(self) -> tuple[int, ...]:
        """Indices of the columns that servers see."""
        return tuple(
            index
            for index, column in enumerate(self.features)
            if column.privacy is Privacy.PLAINTEXT
        )

    @cached_property
    def plaintext_inputs(self) -> tuple[int, ...]:
        """Which of the K inputs servers compute: those of plaintext columns alone."""
        open_columns = set(self.plaintext_features)
        open_units = [index in open_columns for index in self.unit_columns]
        if not self.expansion:
            return tuple(unit for unit, is_open in enumerate(open_units) if is_open)
        return tuple(
            place
            for place, monomial in enumerate(self.expansion)
            if all(open_units[unit] for unit in monomial)
        )

    @cached_property
    def encrypted_inputs(self) -> tuple[int, ...]:
        """Which of the K inputs clients encrypt: every other."""
        return tuple(sorted(set(range(self.inputs_count)) - set(self.plaintext_inputs)))

    @property
    def linear(self) -> bool:
        """Whether the model is one dense layer on its inputs."""
        return self.graph.linear

    @property
    def key_moduli(self) -> tuple[int, ...]:
        """The data primes an enrolled key must cover: the longest chain of the profiles."""
        return max((profile.parameters.moduli for profile in self.profiles), key=len)

    @property
    def ring_degree(self) -> int:
        """N, the same in every profile."""
        return self.profiles[0].parameters.ring_degree

    @property
    def keys_needed(self) -> int:
        """Enrolled public keys needed: one for a single record, J (t - 1) for a batch.

        The sanitiser takes one per output and power of S below the last: J for a linear model.
        """
        batch = any(profile.packing is Packing.BATCH for profile in self.profiles)
        return self._keys if batch else 1

    @property
    def _keys(self) -> int:
        """Keys of a batch."""
        return len(self.outputs) * (self.graph.output_polys - 1)

    def output_shape(self, packing: Packing) -> tuple[int, int, int, int]:
        """Shape (J, t, kept limbs, N) of the words of a batch's answer."""
        profile = self.profile(packing)
        kept = len(profile.kept_moduli)
        return len(self.outputs), self.graph.output_polys, kept, profile.parameters.ring_degree

    def profile(self, packing: Packing) -> Profile:
        """Return the profile of a packing.

        Raises:
            ModelError: when the model does not offer it.
        """
        for profile in self.profiles:
            if profile.packing is packing:
                return profile
        offered = ", ".join(str(profile.packing) for profile in self.profiles)
        raise ModelError(f"model '{self.name}' does not offer packing '{packing}', only {offered}")

    def commitment_words(self) -> Words:
        """Return h, shape (2, 1024), NTT domain mod q_0."""
        flat = np.frombuffer(self.commitment, dtype="<u8").astype(np.uint64)
        return flat.reshape(2, COMMITMENT_DEGREE)

    def bounds(self, packing: Packing) -> Bounds:
        """Error bound, margins and precision of one packing, in units of the integer output."""
        profile = self.profile(packing)
        if self.linear:
            return linear_bounds(
                profile.parameters,
                packing,
                outputs=len(self.outputs),
                row_l1_bound=max(self.row_l1_bounds),
                input_bound=self.input_bound,
                flooding_log2=profile.flooding_log2,
                disclosure_log2=profile.disclosure_log2,
            )
        return network_bounds(
            self.graph,
            profile.parameters,
            row_l1_bounds=self.row_l1_bounds,
            input_bound=self.input_bound,
            flooding_log2=profile.flooding_log2,
            dropped_limbs=profile.dropped_limbs,
            disclosure_log2=profile.disclosure_log2,
        )

    def value(self) -> Value:
        """The canonical value that is hashed, stored and sent."""
        return (
            PROTOCOL_VERSION,
            self.name,
            self.version,
            self.purpose,
            str(self.mode),
            tuple(feature.value() for feature in self.features),
            self.outputs,
            self.labels,
            self.link,
            self.unit,
            WEIGHT_BITS,
            self.row_l1_bounds,
            tuple(profile.value() for profile in self.profiles),
            self.commitment,
            self.public_weights,
            self.graph.value(),
            self.expansion,
            self.local,
            self.about.value(),
            self.integer_labels,
        )

    def encoded(self) -> bytes:
        """Canonical bytes of the card."""
        return encode(self.value())

    @classmethod
    def decoded(cls, data: bytes) -> ModelCard:
        """Parse and validate canonical bytes from an untrusted source.

        Raises:
            EncodingError, ModelError, ParameterError: anything but a valid card.
        """
        if len(data) > MAX_CARD_BYTES:
            raise EncodingError(f"model card of {len(data)} bytes, at most {MAX_CARD_BYTES}")
        fields = expect_tuple(decode(data), "model card", 20)
        if fields[0] != PROTOCOL_VERSION or fields[10] != WEIGHT_BITS:
            raise ModelError(f"model card of another protocol version, expected {PROTOCOL_VERSION}")
        stated = expect_text(fields[4], "mode")
        try:
            mode = Mode(stated)
        except ValueError as error:
            raise EncodingError("unknown mode") from error
        return cls(
            name=expect_text(fields[1], "name"),
            version=expect_text(fields[2], "version"),
            purpose=expect_text(fields[3], "purpose"),
            mode=mode,
            features=tuple(map(column_from_value, expect_tuple(fields[5], "features"))),
            outputs=_texts(fields[6], "outputs"),
            labels=_texts(fields[7], "labels"),
            link=expect_text(fields[8], "link"),
            unit=expect_float(fields[9], "unit"),
            row_l1_bounds=_ints(fields[11], "row l1 bounds"),
            profiles=_profiles(fields[12]),
            commitment=expect_bytes(fields[13], "commitment"),
            public_weights=tuple(
                _ints(row, "public weights") for row in expect_tuple(fields[14], "public weights")
            ),
            graph=Graph.from_value(fields[15]),
            expansion=tuple(
                _ints(monomial, "monomial") for monomial in expect_tuple(fields[16], "expansion")
            ),
            local=_texts(fields[17], "local columns"),
            about=About.from_value(fields[18]),
            integer_labels=expect_bool(fields[19], "integer labels"),
        )


def _profiles(value: Value) -> tuple[Profile, ...]:
    """Counted first: every prime of every profile is tested for being one."""
    stated = expect_tuple(value, "profiles")
    if len(stated) > len(Packing):
        raise ModelError("a model needs one profile per packing it offers")
    return tuple(map(Profile.from_value, stated))


_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)


def _is_integer(label: str) -> bool:
    """Whether a label is an integer in its one decimal form, within 64 bits."""
    return _INTEGER.fullmatch(label) is not None and -(1 << 63) <= int(label) < 1 << 63


def _texts(value: Value, name: str) -> tuple[str, ...]:
    return tuple(expect_text(item, name) for item in expect_tuple(value, name))


def _ints(value: Value, name: str) -> tuple[int, ...]:
    return tuple(expect_int(item, name) for item in expect_tuple(value, name))
