"""The matrices of Winograd's minimal filtering algorithms F(m, r), exactly, and the C header made from them.

F(m, r) computes m neighbouring outputs of a correlation with r taps, y[i] = sum over j of g[j] d[i + j], with
alpha = m + r - 1 multiplications::

    y = A^T ((G g) * (B^T d))

from alpha - 1 distinct points p and the point at infinity (Winograd 1980; the modified Toom-Cook form of Barabasz et
al. 2018, section 2): ``A^T[i][q] = p[q] ** i``, ``G[q][j] = p[q] ** j / prod over s != q of (p[q] - p[s])``, and row q
of B^T holds the coefficients of ``prod over s != q of (x - p[s])``; the last column of A^T and row of G are the unit
vectors of the last output and tap, and the last row of B^T belongs to the product over all points.

Points come as 0, then pairs +p, -p: the two rows of a pair share their even and odd halves, which is what the kernels
compute. Their choice sets the rounding error (Alam et al. 2022: pairs of reciprocals, here sqrt(1/2) and sqrt(2)).

Everything is computed in the field of numbers a + b sqrt(2) with rational a, b; tests/test_winograd.py proves the
identity there. ``python -m pyconv.kernels.winograd_matrices`` prints csrc/winograd_matrices.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache

__all__ = ["POINTS", "VARIANTS", "Matrices", "Number", "Variant", "c_header", "matrices"]


@dataclass(frozen=True, slots=True)
class Number:
    """a + b sqrt(2), a and b rational."""

    a: Fraction
    b: Fraction = Fraction(0)

    def __add__(self, other: Number) -> Number:
        return Number(self.a + other.a, self.b + other.b)

    def __neg__(self) -> Number:
        return Number(-self.a, -self.b)

    def __sub__(self, other: Number) -> Number:
        return self + -other

    def __mul__(self, other: Number) -> Number:
        return Number(self.a * other.a + 2 * self.b * other.b, self.a * other.b + self.b * other.a)

    def inverse(self) -> Number:
        """Return 1 / self: the conjugate over the norm."""
        norm = self.a * self.a - 2 * self.b * self.b
        return Number(self.a / norm, -self.b / norm)

    def __float__(self) -> float:
        with localcontext() as context:
            context.prec = 60

            def decimal(value: Fraction) -> Decimal:
                return Decimal(value.numerator) / Decimal(value.denominator)

            return float(decimal(self.a) + decimal(self.b) * Decimal(2).sqrt())


ZERO, ONE = Number(Fraction(0)), Number(Fraction(1))
_HALF_ROOT, _ROOT = Number(Fraction(0), Fraction(1, 2)), Number(Fraction(0), Fraction(1))


def _with_negatives(*positive: Number) -> tuple[Number, ...]:
    return (ZERO, *(point for p in positive for point in (p, -p)))


#: The finite points of each alpha.
POINTS = {
    4: _with_negatives(ONE),
    6: _with_negatives(_HALF_ROOT, _ROOT),
    8: _with_negatives(ONE, Number(Fraction(2)), Number(Fraction(1, 2))),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """F(m, r) along each axis whose kernel has r taps."""

    m: int
    r: int

    @property
    def alpha(self) -> int:
        """Return the number of multiplications."""
        return self.m + self.r - 1

    @property
    def name(self) -> str:
        """Return the word in ids: f<m>x<r>."""
        return f"f{self.m}x{self.r}"


#: What csrc/winograd.inc.c and kernels/cpu/winograd.py implement, by name; kernels/cuda/winograd.py has r = 3, m < 6.
VARIANTS = {
    v.name: v
    for v in (
        Variant(3, 2),
        Variant(5, 2),
        Variant(2, 3),
        Variant(4, 3),
        Variant(6, 3),
        Variant(2, 5),
        Variant(4, 5),
        Variant(2, 7),
    )
}

Row = tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Matrices:
    """A^T (m x alpha), G (alpha x r) and B^T (alpha x alpha) of one F(m, r)."""

    at: tuple[Row, ...]
    g: tuple[Row, ...]
    bt: tuple[Row, ...]


def _power(x: Number, exponent: int) -> Number:
    result = ONE
    for _ in range(exponent):
        result = result * x
    return result


def _product_of_roots(roots: tuple[Number, ...]) -> list[Number]:
    """Return the coefficients, lowest first, of the product of (x - root)."""
    coefficients = [ONE]
    for root in roots:
        shifted = [ZERO, *coefficients]
        coefficients = [s - root * c for s, c in zip(shifted, [*coefficients, ZERO], strict=True)]
    return coefficients


def _scale(points: tuple[Number, ...], q: int) -> Number:
    product = ONE
    for s, other in enumerate(points):
        if s != q:
            product = product * (points[q] - other)
    return product.inverse()


@cache
def matrices(variant: Variant) -> Matrices:
    """Return the exact matrices of F(m, r)."""
    m, r, alpha = variant.m, variant.r, variant.alpha
    points = POINTS[alpha]
    at = tuple((*(_power(p, i) for p in points), ONE if i == m - 1 else ZERO) for i in range(m))
    g = [tuple(_power(p, j) * _scale(points, q) for j in range(r)) for q, p in enumerate(points)]
    g.append(tuple(ONE if j == r - 1 else ZERO for j in range(r)))
    bt = [(*_product_of_roots(points[:q] + points[q + 1 :]), ZERO) for q in range(alpha - 1)]
    bt.append(tuple(_product_of_roots(points)))
    return Matrices(at, tuple(g), tuple(bt))


def _amplification(variant: Variant) -> float:
    """Return max over outputs of sum over q of |A^T| (max over taps of |G|) (sum |B^T|): see :func:`error_factor`."""
    found = matrices(variant)
    size = [max(abs(float(v)) for v in row) for row in found.g]
    reach = [sum(abs(float(v)) for v in row) for row in found.bt]
    return max(sum(abs(float(a)) * s * t for a, s, t in zip(row, size, reach, strict=True)) for row in found.at)


@cache
def error_factor(variant: Variant, axes: int) -> float:
    """Bound of an output's error, in units of eps sum over channels of max |x| sum |w|, for one channel.

    The maximum is over the input tile, the sum over the taps. Each of the three transforms along each axis rounds at
    most alpha + 1 times, the constants themselves once, and the sum over c channels c times (Barabasz et al. 2018,
    theorem 2); every rounding is amplified by at most the product of the absolute matrices.
    """
    return _amplification(variant) ** axes


@cache
def gradient_error_factor(variant: Variant, axes: int) -> float:
    """Bound of the error of a gradient of weights, in units of eps max |dY| max |x| of a tile, for one tile.

    That gradient is G^T of the products of A dY and B^T x: each tap's share of a tile is at most the maximum over taps
    of sum over q of |G| (sum |A^T|) (sum |B^T|), once an axis.
    """
    found = matrices(variant)
    outputs = [sum(abs(float(row[q])) for row in found.at) for q in range(variant.alpha)]
    reach = [sum(abs(float(v)) for v in row) for row in found.bt]
    taps = range(variant.r)
    factor = max(sum(abs(float(g[j])) * a * b for g, a, b in zip(found.g, outputs, reach, strict=True)) for j in taps)
    return factor**axes


def rounding_steps(variant: Variant, axes: int) -> int:
    """Return the roundings of an output besides those of the sum over channels."""
    return axes * 2 * (variant.alpha + 2) + 2


def c_header() -> str:
    """Return csrc/winograd_matrices.h."""

    def row(values: list[Number]) -> str:
        padded = values + [ZERO] * (8 - len(values))
        return "{" + ", ".join(repr(float(v)) for v in padded) + "}"

    def table(name: str, comment: str, rows_of: dict[int, list[list[Number]]]) -> list[str]:
        lines = [f"/* {comment} */", f"static const double {name}[3][8][8] = {{"]
        for alpha, rows in rows_of.items():
            lines.append(f"    {{ /* alpha = {alpha} */")
            lines += [f"        {row(values)}," for values in rows]
            lines.append("    },")
        return [*lines, "};"]

    of_alpha = {v.alpha: matrices(v) for v in VARIANTS.values()}
    powers = {a: [[_power(p, i) for i in range(8)] for p in POINTS[a]] for a in of_alpha}
    scales = {a: [[_scale(POINTS[a], q) for q in range(a - 1)]] for a in of_alpha}
    lines = [
        "/* Made by `python -m pyconv.kernels.winograd_matrices`, which says what these are. */",
        *table("pc_winograd_bt", "B^T", {a: [list(r) for r in found.bt] for a, found in of_alpha.items()}),
        *table("pc_winograd_powers", "[q][i] = p[q] ** i: the finite columns of A^T", powers),
        *table("pc_winograd_scales", "[0][q]: G[q][j] = p[q] ** j * scale", scales),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(c_header(), end="")
