"""Roots of unity and the negacyclic transform as the matrix it is."""

from __future__ import annotations

from functools import cache


def non_square(q: int) -> int:
    """The smallest non-square from 2 up (Euler's criterion)."""
    base = 2
    while pow(base, (q - 1) // 2, q) != q - 1:
        base += 1
    return base


@cache
def root_of_unity(q: int, order: int) -> int:
    """The primitive root of a power-of-two order made from the smallest non-square."""
    return pow(non_square(q), (q - 1) // order, q)


@cache
def smallest_primitive_root(q: int, order: int) -> int:
    """The numerically smallest of all primitive roots of a power-of-two order."""
    root = root_of_unity(q, order)
    return min(pow(root, exponent, q) for exponent in range(1, order, 2))


def bit_reversal(index: int, bits: int) -> int:
    """``index`` with its ``bits`` low bits reversed."""
    return int(f"{index:0{bits}b}"[::-1], 2) if bits else 0


@cache
def negacyclic_matrix(q: int, n: int) -> list[list[int]]:
    """``V[i, j] = psi^((2 bitrev(i) + 1) j)``, ``psi`` the smallest primitive ``2n``-th root."""
    psi = smallest_primitive_root(q, 2 * n)
    bits = n.bit_length() - 1
    return [[pow(psi, (2 * bit_reversal(i, bits) + 1) * j, q) for j in range(n)] for i in range(n)]


def multiply(matrix: list[list[int]], vector: list[int], q: int) -> list[int]:
    """Matrix times vector."""
    return [sum(a * b for a, b in zip(row, vector, strict=True)) % q for row in matrix]


def transpose(matrix: list[list[int]]) -> list[list[int]]:
    """The transposed matrix."""
    return [list(column) for column in zip(*matrix, strict=True)]
