"""The row code: polynomials by their definition, evaluation by Horner, division by hand."""

from __future__ import annotations

from dataclasses import dataclass

from tests.reference.ntt import root_of_unity


def evaluate(polynomial: list[int], x: int, q: int) -> int:
    """Horner's rule."""
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % q
    return value


def product(a: list[int], b: list[int], q: int) -> list[int]:
    """The product of two polynomials."""
    out = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] = (out[i + j] + x * y) % q
    return out


def add(a: list[int], b: list[int], q: int) -> list[int]:
    """The sum of two polynomials of any lengths."""
    length = max(len(a), len(b))
    a, b = a + [0] * (length - len(a)), b + [0] * (length - len(b))
    return [(x + y) % q for x, y in zip(a, b, strict=True)]


def scale(a: list[int], s: int, q: int) -> list[int]:
    """A multiple of a polynomial."""
    return [s * x % q for x in a]


@dataclass(frozen=True)
class Code:
    """Messages on the ``l``-th roots of unity, codewords on the coset ``g<w>`` of ``n`` points."""

    q: int
    l: int
    t: int
    n: int

    @property
    def k(self) -> int:
        return self.l + self.t

    @property
    def generator(self) -> int:
        return root_of_unity(self.q, self.n)

    @property
    def offset(self) -> int:
        offset = 3
        while pow(offset, self.n, self.q) == 1:
            offset += 1
        return offset

    @property
    def group(self) -> list[int]:
        step = pow(self.generator, self.n // self.l, self.q)
        return [pow(step, i, self.q) for i in range(self.l)]

    def point(self, position: int) -> int:
        return self.offset * pow(self.generator, position, self.q) % self.q

    def lagrange(self, x: int) -> list[int]:
        """``L_m(x) = prod_{i != m} (x - h_i) / (h_m - h_i)``."""
        out = []
        for m, h in enumerate(self.group):
            top = bottom = 1
            for i, other in enumerate(self.group):
                if i != m:
                    top = top * (x - other) % self.q
                    bottom = bottom * (h - other) % self.q
            out.append(top * pow(bottom, -1, self.q) % self.q)
        return out

    def interpolate(self, values: list[int]) -> list[int]:
        """Coefficients of the polynomial of degree below ``l`` with these values on the group."""
        inverse = pow(self.l, -1, self.q)
        return [
            inverse
            * sum(v * pow(h, -j, self.q) for v, h in zip(values, self.group, strict=True))
            % self.q
            for j in range(self.l)
        ]

    def vanishing(self) -> list[int]:
        """``X^l - 1``."""
        return [self.q - 1] + [0] * (self.l - 1) + [1]

    def encode(self, message: list[int], randomness: list[int]) -> list[int]:
        """The row polynomial ``M + (X^l - 1) S``."""
        blinded = product(self.vanishing(), randomness, self.q) if randomness else []
        return add(self.interpolate(message), blinded, self.q)

    def codeword(self, polynomial: list[int]) -> list[int]:
        """All values."""
        return [evaluate(polynomial, self.point(i), self.q) for i in range(self.n)]

    def linear_polynomial(
        self, constraints: list[list[int]], rows: list[list[int]], blinding: list[int]
    ) -> list[int]:
        """``blinding + sum_i R_i P_i`` from the row polynomials."""
        out = blinding
        for constraint, row in zip(constraints, rows, strict=True):
            out = add(out, product(self.interpolate(constraint), row, self.q), self.q)
        return out

    def quadratic_quotient(
        self,
        rows: list[list[int]],
        triples: list[tuple[int, int, int]],
        weights: list[int],
        blinding: list[int],
    ) -> list[int]:
        """The quotient of ``p`` by ``X^l - 1``, from the low end."""
        p = product(self.vanishing(), blinding, self.q)
        for (a, b, c), weight in zip(triples, weights, strict=True):
            defect = add(product(rows[a], rows[b], self.q), scale(rows[c], -1, self.q), self.q)
            p = add(p, scale(defect, weight, self.q), self.q)
        quotient: list[int] = []
        for i in range(2 * self.k - 1 - self.l):
            earlier = quotient[i - self.l] if i >= self.l else 0
            quotient.append((earlier - p[i]) % self.q)
        return quotient

    def group_sum(self, polynomial: list[int]) -> int:
        """The sum of the values on the group."""
        return sum(evaluate(polynomial, h, self.q) for h in self.group) % self.q
