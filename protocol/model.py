"""The model card: what a client pins.

A card names everything that decides an answer: features with their ranges and scaling, outputs,
graph shape, parameters of both packings, and either the commitment to the private weights or the
public weights themselves.  The digest of its canonical encoding is the model's identity.

Integers: output j = sum_k w[j,k] x_k + b_j with x_k = (raw_k - centre_k) / scale_k and
w = unit * W / 2^15 for committed integers |W| <= 2^15 - 1; the bias is the last integer of a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from protocol.bounds import LinearBounds, linear_bounds
from protocol.digests import digest
from protocol.encoding import (
    Value,
    decode,
    encode,
    expect_bytes,
    expect_float,
    expect_int,
    expect_text,
    expect_tuple,
)
from protocol.errors import EncodingError, ModelError
from protocol.families import COMMITMENT_DEGREE, MAX_INTEGERS, WEIGHT_BITS, WEIGHT_BOUND
from protocol.keys import MAX_KEYS
from protocol.parameters import (
    PROTOCOL_VERSION,
    CkksParameters,
    Mode,
    Packing,
    require_words_sized,
)

Words = npt.NDArray[np.uint64]

CARD_LABEL = "blindproof model card"
MAX_CARD_BYTES = 1 << 20
MAX_NAME = 200
MAX_PURPOSE = 2000
MAX_INPUT_BOUND = 2.0**64
MAX_UNIT_EXPONENT = 1000


@dataclass(frozen=True)
class Feature:
    """One input column: raw values in [low, high] become (raw - centre) / scale."""

    name: str
    low: float
    high: float
    centre: float
    scale: float

    def __post_init__(self) -> None:
        numbers = (self.low, self.high, self.centre, self.scale)
        if not all(math.isfinite(number) for number in numbers):
            raise ModelError(f"feature '{self.name}': range and scaling must be finite")
        if not self.low < self.high or not self.scale > 0:
            raise ModelError(f"feature '{self.name}': needs low < high and scale > 0")

    @property
    def bound(self) -> float:
        """Largest magnitude of the normalised value."""
        return max(abs(self.low - self.centre), abs(self.high - self.centre)) / self.scale

    def value(self) -> Value:
        """The canonical value."""
        return (self.name, self.low, self.high, self.centre, self.scale)

    @classmethod
    def from_value(cls, value: Value) -> Feature:
        """Rebuild and validate from a decoded value."""
        name, *numbers = expect_tuple(value, "feature", 5)
        low, high, centre, scale = (expect_float(number, "feature range") for number in numbers)
        return cls(expect_text(name, "feature name"), low, high, centre, scale)


@dataclass(frozen=True)
class Profile:
    """The parameters of one packing of one model.

    Attributes:
        packing: batch or single record.
        parameters: the ring.
        flooding_log2: f of the sanitiser, None when outputs are not sanitised (public mode).
    """

    packing: Packing
    parameters: CkksParameters
    flooding_log2: int | None

    def value(self) -> Value:
        """The canonical value."""
        return (str(self.packing), self.parameters.value(), self.flooding_log2)

    @classmethod
    def from_value(cls, value: Value) -> Profile:
        """Rebuild and validate from a decoded value."""
        packing, parameters, flooding = expect_tuple(value, "profile", 3)
        try:
            kind = Packing(expect_text(packing, "packing"))
        except ValueError as error:
            raise EncodingError(f"unknown packing {packing!r}") from error
        limit = None if flooding is None else expect_int(flooding, "flooding")
        return cls(kind, CkksParameters.from_value(parameters), limit)


@dataclass(frozen=True)
class ModelCard:
    """A validated linear model card.

    Attributes:
        name, version, purpose: for people.
        mode: private or public weights.
        features: the K input columns, in order.
        outputs: names of the J outputs.
        labels: class labels in the order of the link's decision, empty for a regression.
        link: 'identity', 'logistic' or 'argmax'; applied by the client after decryption.
        unit: power of two; weights are unit * W / 2^15.
        row_l1_bounds: declared bounds on sum_k |W[j,k]|, bias included, one per output.
        profiles: at most one per packing.
        commitment: little-endian words of h (2, 1024) mod q_0 in private mode, else empty.
        public_weights: integers (J, K+1) in public mode, else empty.
    """

    name: str
    version: str
    purpose: str
    mode: Mode
    features: tuple[Feature, ...]
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    link: str
    unit: float
    row_l1_bounds: tuple[int, ...]
    profiles: tuple[Profile, ...]
    commitment: bytes
    public_weights: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        self._check_names()
        self._check_weights()
        self._check_profiles()

    def _check_names(self) -> None:
        columns = tuple(feature.name for feature in self.features)
        for text in (self.name, self.version, *self.outputs, *self.labels, *columns):
            if not 0 < len(text) <= MAX_NAME:
                raise ModelError(f"names must have 1 to {MAX_NAME} characters")
        if len(self.purpose) > MAX_PURPOSE:
            raise ModelError(
                f"the purpose has {len(self.purpose)} characters, at most {MAX_PURPOSE}"
            )
        if not self.features or not self.outputs:
            raise ModelError("a model needs at least one feature and one output")
        for kind, names in (("feature", columns), ("output", self.outputs)):
            if len(set(names)) != len(names):
                raise ModelError(f"{kind} names must be distinct")
        expected = {"identity": 0, "logistic": 2, "argmax": len(self.outputs)}
        if self.link not in expected or len(self.labels) != expected[self.link]:
            raise ModelError(f"link '{self.link}' does not fit {len(self.labels)} labels")
        if self.link == "logistic" and len(self.outputs) != 1:
            raise ModelError("the logistic link takes one output")
        mantissa, exponent = math.frexp(self.unit) if math.isfinite(self.unit) else (0.0, 0)
        if mantissa != 0.5 or abs(exponent) > MAX_UNIT_EXPONENT:
            raise ModelError(
                f"unit {self.unit} is not a power of two within 2^+-{MAX_UNIT_EXPONENT}"
            )
        if not self.input_bound <= MAX_INPUT_BOUND:
            raise ModelError("a feature's range is more than 2^64 times its scale")

    def _check_weights(self) -> None:
        rows, columns = len(self.outputs), len(self.features) + 1
        if rows * columns > MAX_INTEGERS:
            raise ModelError(f"a model has at most {MAX_INTEGERS} weights and biases")
        if len(self.row_l1_bounds) != rows or not all(
            0 < bound <= columns * (WEIGHT_BOUND + 1) * 2 for bound in self.row_l1_bounds
        ):
            raise ModelError("one positive l1 bound per output is needed")
        if self.mode is Mode.PRIVATE:
            size = 2 * COMMITMENT_DEGREE * 8
            if self.public_weights or len(self.commitment) != size:
                raise ModelError(f"a private model has a commitment of {size} bytes, no weights")
            return
        if self.commitment or len(self.public_weights) != rows:
            raise ModelError("a public model has weights and no commitment")
        for row, bound in zip(self.public_weights, self.row_l1_bounds, strict=True):
            if len(row) != columns or max(map(abs, row)) > WEIGHT_BOUND:
                raise ModelError(f"public weights: {columns} integers of at most {WEIGHT_BOUND}")
            if sum(map(abs, row)) > bound:
                raise ModelError("public weights exceed their declared l1 bound")

    def _check_profiles(self) -> None:
        packings = [profile.packing for profile in self.profiles]
        if not packings or len(set(packings)) != len(packings):
            raise ModelError("a model needs one profile per packing it offers")
        for profile in self.profiles:
            sanitised = profile.flooding_log2 is not None
            if sanitised != (self.mode is Mode.PRIVATE):
                raise ModelError("private models flood their outputs, public models do not")
            require_words_sized(profile.flooding_log2 or 0)
            if sanitised and not 40 <= (profile.flooding_log2 or 0) <= 110:
                raise ModelError(f"flooding 2^{profile.flooding_log2} is outside 2^40 .. 2^110")
            if sanitised and profile.packing is Packing.BATCH and len(self.outputs) > MAX_KEYS:
                raise ModelError(f"a private batch has at most {MAX_KEYS} outputs, one key each")
            span = len(self.outputs) * len(self.features)
            if profile.packing is Packing.SINGLE and span > profile.parameters.ring_degree:
                raise ModelError("single-record packing needs outputs x features <= N")
        degrees = {profile.parameters.ring_degree for profile in self.profiles}
        longest = max((p.parameters.moduli for p in self.profiles), key=len)
        if len(degrees) > 1 or any(
            profile.parameters.moduli != longest[: len(profile.parameters.moduli)]
            for profile in self.profiles
        ):
            raise ModelError("profiles share one ring degree and one chain of data primes")
        if self.mode is Mode.PRIVATE and (self.commitment_words() >= np.uint64(longest[0])).any():
            raise ModelError("the commitment has words outside its field")

    @cached_property
    def digest(self) -> bytes:
        """The model's identity."""
        return digest(CARD_LABEL, self.value())

    @property
    def input_bound(self) -> float:
        """Largest magnitude of a normalised input."""
        return max(feature.bound for feature in self.features)

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
        """Enrolled public keys needed: one per output of a batch, one for a single record."""
        batch = any(profile.packing is Packing.BATCH for profile in self.profiles)
        return len(self.outputs) if batch else 1

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

    def bounds(self, packing: Packing) -> LinearBounds:
        """Error bound, margins and precision of one packing, in units of the integer output."""
        profile = self.profile(packing)
        return linear_bounds(
            profile.parameters,
            packing,
            outputs=len(self.outputs),
            row_l1_bound=max(self.row_l1_bounds),
            input_bound=self.input_bound,
            flooding_log2=profile.flooding_log2,
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
        fields = expect_tuple(decode(data), "model card", 15)
        if fields[0] != PROTOCOL_VERSION or fields[10] != WEIGHT_BITS:
            raise ModelError(f"model card of another protocol version, expected {PROTOCOL_VERSION}")
        try:
            mode = Mode(expect_text(fields[4], "mode"))
        except ValueError as error:
            raise EncodingError("unknown mode") from error
        return cls(
            name=expect_text(fields[1], "name"),
            version=expect_text(fields[2], "version"),
            purpose=expect_text(fields[3], "purpose"),
            mode=mode,
            features=tuple(map(Feature.from_value, expect_tuple(fields[5], "features"))),
            outputs=_texts(fields[6], "outputs"),
            labels=_texts(fields[7], "labels"),
            link=expect_text(fields[8], "link"),
            unit=expect_float(fields[9], "unit"),
            row_l1_bounds=_ints(fields[11], "row l1 bounds"),
            profiles=tuple(map(Profile.from_value, expect_tuple(fields[12], "profiles"))),
            commitment=expect_bytes(fields[13], "commitment"),
            public_weights=tuple(
                _ints(row, "public weights") for row in expect_tuple(fields[14], "public weights")
            ),
        )


def _texts(value: Value, name: str) -> tuple[str, ...]:
    return tuple(expect_text(item, name) for item in expect_tuple(value, name))


def _ints(value: Value, name: str) -> tuple[int, ...]:
    return tuple(expect_int(item, name) for item in expect_tuple(value, name))
