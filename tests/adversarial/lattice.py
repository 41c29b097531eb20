"""Just enough lattice reduction to find short solutions of a few linear equations mod Q."""

from __future__ import annotations

from fractions import Fraction

Vector = list[int]


def _dot(a: list[Fraction] | Vector, b: list[Fraction] | Vector) -> Fraction:
    return sum((Fraction(x) * y for x, y in zip(a, b, strict=True)), Fraction(0))


def _orthogonalised(basis: list[Vector]) -> tuple[list[list[Fraction]], list[list[Fraction]]]:
    """Gram-Schmidt vectors and coefficients."""
    vectors: list[list[Fraction]] = []
    factors: list[list[Fraction]] = []
    for row in basis:
        vector, factor = [Fraction(x) for x in row], []
        for other in vectors:
            mu = _dot(row, other) / _dot(other, other)
            factor.append(mu)
            vector = [x - mu * y for x, y in zip(vector, other, strict=True)]
        vectors.append(vector)
        factors.append(factor)
    return vectors, factors


def reduced(basis: list[Vector]) -> list[Vector]:
    """The basis after LLL (Lenstra, Lenstra and Lovasz 1982), delta = 3/4.

    All in integers: d[i + 1] is the Gram determinant of the first i + 1 vectors, scaled[i][j] is
    d[j + 1] times the Gram-Schmidt coefficient of i and j.
    """
    basis = [list(row) for row in basis]
    size = len(basis)
    d, scaled = [1] + [0] * size, [[0] * size for _ in range(size)]

    def orthogonalise(k: int) -> None:
        for j in range(k + 1):
            value = sum(x * y for x, y in zip(basis[k], basis[j], strict=True))
            for i in range(j):
                value = (d[i + 1] * value - scaled[k][i] * scaled[j][i]) // d[i]
            if j < k:
                scaled[k][j] = value
            else:
                d[k + 1] = value

    def shorten(k: int, j: int) -> None:
        q = (2 * scaled[k][j] + d[j + 1]) // (2 * d[j + 1])
        if q:
            basis[k] = [x - q * y for x, y in zip(basis[k], basis[j], strict=True)]
            scaled[k][j] -= q * d[j + 1]
            for i in range(j):
                scaled[k][i] -= q * scaled[j][i]

    def swap(k: int, known: int) -> None:
        basis[k - 1], basis[k] = basis[k], basis[k - 1]
        for j in range(k - 1):
            scaled[k - 1][j], scaled[k][j] = scaled[k][j], scaled[k - 1][j]
        pivot = scaled[k][k - 1]
        new = (d[k - 1] * d[k + 1] + pivot * pivot) // d[k]
        for i in range(k + 1, known + 1):
            old = scaled[i][k]
            scaled[i][k] = (d[k + 1] * scaled[i][k - 1] - pivot * old) // d[k]
            scaled[i][k - 1] = (new * old + pivot * scaled[i][k]) // d[k + 1]
        d[k] = new

    orthogonalise(0)
    k, known = 1, 0
    while k < size:
        if k > known:
            known = k
            orthogonalise(k)
        shorten(k, k - 1)
        if 4 * (d[k + 1] * d[k - 1] + scaled[k][k - 1] ** 2) < 3 * d[k] ** 2:
            swap(k, known)
            k = max(k - 1, 1)
        else:
            for j in range(k - 2, -1, -1):
                shorten(k, j)
            k += 1
    return basis


def short_representative(point: Vector, basis: list[Vector]) -> Vector:
    """point minus a near lattice vector (Babai's nearest plane)."""
    basis = reduced(basis)
    vectors, _ = _orthogonalised(basis)
    for row, vector in zip(reversed(basis), reversed(vectors), strict=True):
        q = round(_dot(point, vector) / _dot(vector, vector))
        point = [x - q * y for x, y in zip(point, row, strict=True)]
    return point


def short_solution(rows: tuple[Vector, Vector], targets: tuple[int, int], modulus: int) -> Vector:
    """Short integers x with <row, x> = target mod Q, for two rows of any length above two."""
    (a, b), (c, d) = rows[0][:2], rows[1][:2]
    inverse = pow(a * d - b * c, -1, modulus)

    def solved(e: int, f: int) -> Vector:
        return [(e * d - b * f) * inverse % modulus, (a * f - e * c) * inverse % modulus]

    size = len(rows[0])
    basis = [[modulus * (i == j) for j in range(size)] for i in range(2)]
    for s in range(2, size):
        unit = [int(j == s) for j in range(2, size)]
        basis.append([-x for x in solved(rows[0][s], rows[1][s])] + unit)
    return short_representative(solved(*targets) + [0] * (size - 2), basis)
