//! Squares, products and combinations of ciphertexts, as polynomials in S, the place of the secret
//! key: polynomials of sizes `a` and `b` have a product of size `a + b - 1`.

use super::{Group, GroupMut, LANES, Lanes};
use crate::modulus::{MAX_LAZY_PRODUCTS, Modulus, Shoup};

/// The largest number of polynomials of a ciphertext: any coefficient of a product fits one lazy
/// sum.
pub const MAX_POLYS: usize = MAX_LAZY_PRODUCTS;

/// One group of lanes of one ciphertext.
type Unit = [Lanes; MAX_POLYS];

/// Squares every unit.
#[inline(always)]
pub(super) fn square(modulus: Modulus, source: Group<'_>, mut out: GroupMut<'_>) {
    let units = source.shape.units;
    match source.shape.polys {
        2 => (0..units).for_each(|unit| square_linear(modulus, source, unit, &mut out)),
        3 => (0..units).for_each(|unit| square_quadratic(modulus, source, unit, &mut out)),
        _ => square_any(modulus, source, &mut out),
    }
}

/// `(x_0 + x_1 S)^2`.
#[inline(always)]
fn square_linear(q: Modulus, source: Group<'_>, unit: usize, out: &mut GroupMut<'_>) {
    let [x0, x1] = [0, 1].map(|poly| source.words(poly, unit));
    let mut squares = [[0; LANES]; 3];
    for lane in 0..LANES {
        squares[0][lane] = q.mul(x0[lane], x0[lane]);
        squares[1][lane] = q.mul(x0[lane], q.add(x1[lane], x1[lane]));
        squares[2][lane] = q.mul(x1[lane], x1[lane]);
    }
    for (poly, words) in squares.into_iter().enumerate() {
        *out.words(poly, unit) = words;
    }
}

/// `(x_0 + x_1 S + x_2 S^2)^2`.
#[inline(always)]
fn square_quadratic(q: Modulus, source: Group<'_>, unit: usize, out: &mut GroupMut<'_>) {
    let [x0, x1, x2] = [0, 1, 2].map(|poly| source.words(poly, unit));
    let mut squares = [[0; LANES]; 5];
    for lane in 0..LANES {
        let twice = q.add(x1[lane], x1[lane]);
        let middle = 2 * u128::from(x0[lane]) * u128::from(x2[lane])
            + u128::from(x1[lane]) * u128::from(x1[lane]);
        squares[0][lane] = q.mul(x0[lane], x0[lane]);
        squares[1][lane] = q.mul(x0[lane], twice);
        squares[2][lane] = q.reduce(middle);
        squares[3][lane] = q.mul(twice, x2[lane]);
        squares[4][lane] = q.mul(x2[lane], x2[lane]);
    }
    for (poly, words) in squares.into_iter().enumerate() {
        *out.words(poly, unit) = words;
    }
}

#[inline(always)]
fn square_any(modulus: Modulus, source: Group<'_>, out: &mut GroupMut<'_>) {
    let mut words: Unit = [[0; LANES]; MAX_POLYS];
    let polys = source.shape.polys;
    for unit in 0..source.shape.units {
        source.read(unit, &mut words);
        for poly in 0..2 * polys - 1 {
            // The products of two different coefficients occur twice.
            let pairs = (poly + 1).saturating_sub(polys)..poly.div_ceil(2);
            for (lane, word) in out.words(poly, unit).iter_mut().enumerate() {
                let mut sum = 0_u128;
                for i in pairs.clone() {
                    sum += u128::from(words[i][lane]) * u128::from(words[poly - i][lane]);
                }
                sum *= 2;
                if poly % 2 == 0 {
                    sum += u128::from(words[poly / 2][lane]) * u128::from(words[poly / 2][lane]);
                }
                *word = modulus.reduce(sum);
            }
        }
    }
}

/// Multiplies two tensors unit by unit.
#[inline(always)]
pub(super) fn multiply(modulus: Modulus, left: Group<'_>, right: Group<'_>, mut out: GroupMut<'_>) {
    let (mut left_words, mut right_words): (Unit, Unit) =
        ([[0; LANES]; MAX_POLYS], [[0; LANES]; MAX_POLYS]);
    let (left_polys, right_polys) = (left.shape.polys, right.shape.polys);
    for unit in 0..left.shape.units {
        left.read(unit, &mut left_words);
        right.read(unit, &mut right_words);
        for poly in 0..left_polys + right_polys - 1 {
            let pairs = (poly + 1).saturating_sub(right_polys)..left_polys.min(poly + 1);
            let words = out.words(poly, unit);
            for (lane, word) in words.iter_mut().enumerate() {
                let products = pairs.clone().map(|i| {
                    u128::from(left_words[i][lane]) * u128::from(right_words[poly - i][lane])
                });
                *word = modulus.reduce(products.sum());
            }
        }
    }
}

/// Adds `factor` times a tensor with the same units and no more polynomials.
#[inline(always)]
pub(super) fn add_scaled(
    modulus: Modulus,
    factor: Shoup,
    source: Group<'_>,
    out: &mut GroupMut<'_>,
) {
    // Planes come one after the other, so the shorter ciphertext is a prefix.
    for (words, source) in out.words.iter_mut().zip(source.words) {
        for (word, &source) in words.iter_mut().zip(source) {
            *word = modulus.add(*word, factor.mul(source, modulus.value()));
        }
    }
}
