//! The quadratic extension `E = F_q[u] / (u^2 - nu)`, `nu` the least quadratic non-residue.
//!
//! Sum-checks draw their challenges from `E`, so that a round is sound to `2^-116` and better where
//! `q` alone would give 60 bits. An element `a_0 + a_1 u` is the pair `[a_0, a_1]`; arrays over `E`
//! keep the components apart: all `a_0`, then all `a_1` (`[2, ...]`).

pub(crate) mod batch;
pub(crate) mod gram;
pub(crate) mod montgomery;
pub mod rows;
pub mod words;

use rayon::prelude::*;

use crate::extension::batch::InnerProduct;
use crate::extension::montgomery::{Montgomery, keep_scalar};
use crate::modulus::Modulus;
use crate::vectorised;

/// `[a_0, a_1]`, both words.
pub type Element = [u64; 2];

/// Components `a_0` and `a_1` of a row of elements.
pub(crate) type Row<'a> = [&'a [u64]; 2];

/// Elements handled by one task.
const CHUNK: usize = 1 << 12;

/// Arithmetic in `E`.
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    modulus: Modulus,
    pub(crate) montgomery: Montgomery,
    nonresidue: u64,
    /// `nu 2^64`.
    nonresidue_entered: u64,
}

/// An element that many others are multiplied by: its words, and `nu` times the second one, times
/// `2^64`, as the reduction of Montgomery wants them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factor {
    low: u64,
    high: u64,
    twisted: u64,
}

impl Extension {
    /// The extension of one prime field.
    #[must_use]
    pub fn new(modulus: Modulus) -> Self {
        let q = modulus.value();
        // Half of all words are non-residues: the search is short (Euler's criterion).
        let mut nonresidue = 2;
        while modulus.pow(nonresidue, (q - 1) / 2) == 1 {
            nonresidue += 1;
        }
        let montgomery = Montgomery::new(modulus);
        Self {
            modulus,
            montgomery,
            nonresidue,
            nonresidue_entered: montgomery.enter(nonresidue),
        }
    }

    /// The prime field below.
    #[must_use]
    pub const fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// `nu`.
    #[must_use]
    pub const fn nonresidue(&self) -> u64 {
        self.nonresidue
    }

    /// `a + b`.
    #[must_use]
    #[inline(always)]
    pub fn add(&self, a: Element, b: Element) -> Element {
        [self.modulus.add(a[0], b[0]), self.modulus.add(a[1], b[1])]
    }

    /// `a - b`.
    #[must_use]
    #[inline(always)]
    pub fn sub(&self, a: Element, b: Element) -> Element {
        [self.modulus.sub(a[0], b[0]), self.modulus.sub(a[1], b[1])]
    }

    /// `a b`.
    #[must_use]
    #[inline(always)]
    pub fn mul(&self, a: Element, b: Element) -> Element {
        let [a0, a1] = widen(a);
        let [b0, b1] = widen(b);
        let square = u128::from(self.modulus.reduce_product(a1 * b1));
        [
            self.modulus
                .reduce(a0 * b0 + square * u128::from(self.nonresidue)),
            self.modulus.reduce(a0 * b1 + a1 * b0),
        ]
    }

    /// `s a` for a word `s`.
    #[must_use]
    #[inline(always)]
    pub fn mul_word(&self, a: Element, s: u64) -> Element {
        [self.modulus.mul(a[0], s), self.modulus.mul(a[1], s)]
    }

    /// `a b / 2^64`.
    #[inline(always)]
    pub(crate) fn mul_scaled(&self, a: Element, b: Element) -> Element {
        let [a0, a1] = widen(a);
        let [b0, b1] = widen(b);
        [
            self.montgomery.reduce(a0 * b0 + self.twist(a1 * b1)),
            self.montgomery.reduce(a0 * b1 + a1 * b0),
        ]
    }

    /// `nu x` for a product `x` of two words, again as a product of two words.
    #[inline(always)]
    pub(crate) fn twist(&self, x: u128) -> u128 {
        u128::from(self.montgomery.reduce(x)) * u128::from(self.nonresidue_entered)
    }

    /// `a^2 / 2^64`.
    #[inline(always)]
    pub(crate) fn square_scaled(&self, a: Element) -> Element {
        let [a0, a1] = widen(a);
        [
            self.montgomery.reduce(a0 * a0 + self.twist(a1 * a1)),
            self.montgomery.reduce(a0 * (a1 + a1)),
        ]
    }

    #[inline(always)]
    pub(crate) fn factor(&self, x: Element) -> Factor {
        Factor {
            low: self.montgomery.enter(x[0]),
            high: self.montgomery.enter(x[1]),
            twisted: self
                .montgomery
                .enter(self.modulus.mul(x[1], self.nonresidue)),
        }
    }

    /// `a b` elementwise; both are `[2, n]`.
    #[must_use]
    pub fn mul_elements(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        Self::map_pairs(
            a,
            b,
            #[inline(always)]
            |a, b| self.mul(a, b),
        )
    }

    /// `x a` for one element `x`; `a` is `[2, n]`.
    #[must_use]
    pub fn scale_elements(&self, a: &[u64], x: Element) -> Vec<u64> {
        let factor = self.factor(x);
        Self::map_pairs(
            a,
            a,
            #[inline(always)]
            |a, _| factor.mul(&self.montgomery, a),
        )
    }

    /// `op` applied to pairs of elements, in parallel for long arrays.
    fn map_pairs(
        a: &[u64],
        b: &[u64],
        op: impl Fn(Element, Element) -> Element + Sync,
    ) -> Vec<u64> {
        let n = a.len() / 2;
        let mut out = vec![0; 2 * n];
        let ([a0, a1], [b0, b1]) = (halves(a), halves(b));
        let (low, high) = out.split_at_mut(n);
        low.par_chunks_mut(CHUNK)
            .zip(high.par_chunks_mut(CHUNK))
            .enumerate()
            .for_each(|(chunk, (low, high))| {
                let part = chunk * CHUNK..chunk * CHUNK + low.len();
                let (a0, a1) = (&a0[part.clone()], &a1[part.clone()]);
                let (b0, b1) = (&b0[part.clone()], &b1[part]);
                vectorised(
                    #[inline(always)]
                    || {
                        for i in 0..low.len() {
                            keep_scalar();
                            [low[i], high[i]] = op([a0[i], a1[i]], [b0[i], b1[i]]);
                        }
                    },
                );
            });
        out
    }

    /// `sum_i a_i b_i`; both are `[2, n]`.
    #[must_use]
    pub fn inner(&self, a: &[u64], b: &[u64]) -> Element {
        let (a, b) = (halves(a), halves(b));
        let n = a[0].len();
        (0..n.div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let part = chunk * CHUNK..n.min((chunk + 1) * CHUNK);
                let a = a.map(|component| &component[part.clone()]);
                let b = b.map(|component| &component[part.clone()]);
                vectorised(
                    #[inline(always)]
                    || {
                        let mut sum = InnerProduct::default();
                        sum.add(a, b);
                        sum.value(self)
                    },
                )
            })
            .reduce(|| [0; 2], |a, b| self.add(a, b))
    }

    /// `eq(points, .)` on all of `{0, 1}^m`, `[2, 2^m]`; `points[0]` belongs to the most significant
    /// bit of the index.
    #[must_use]
    pub fn eq_table(&self, points: &[Element]) -> Vec<u64> {
        let length = 1 << points.len();
        let mut out = vec![0; 2 * length];
        let (low, high) = out.split_at_mut(length);
        low[0] = 1;
        for (bits, &point) in points.iter().enumerate() {
            let factor = self.factor(point);
            // From the end: entry i goes to 2i and 2i + 1.
            for i in (0..1_usize << bits).rev() {
                let entry = [low[i], high[i]];
                let one = factor.mul(&self.montgomery, entry);
                let zero = self.sub(entry, one);
                [low[2 * i], high[2 * i]] = zero;
                [low[2 * i + 1], high[2 * i + 1]] = one;
            }
        }
        out
    }
}

impl Factor {
    /// `a x` for words of `a` below `2q`: two products of `2q` by `q` stay below `2^64 q`.
    #[inline(always)]
    pub(crate) fn mul(&self, montgomery: &Montgomery, a: Element) -> Element {
        let [a0, a1] = widen(a);
        let [low, high, twisted] = widen([self.low, self.high, self.twisted]);
        [
            montgomery.reduce(a0 * low + a1 * twisted),
            montgomery.reduce(a0 * high + a1 * low),
        ]
    }

    /// A factor from words that are times `2^64` already.
    #[inline(always)]
    pub(crate) const fn from_entered(low: u64, high: u64, twisted: u64) -> Self {
        Self { low, high, twisted }
    }
}

/// The components of a `[2, ...]` array.
pub(crate) fn halves(words: &[u64]) -> Row<'_> {
    let (low, high) = words.split_at(words.len() / 2);
    [low, high]
}

/// Words as the factors of wide products.
#[inline(always)]
pub(crate) fn widen<const N: usize>(words: [u64; N]) -> [u128; N] {
    let mut wide = [0; N];
    for (wide, word) in wide.iter_mut().zip(words) {
        *wide = u128::from(word);
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMES: [u64; 3] = [
        2_305_843_009_213_693_951, // 2^61 - 1, the largest of all
        1_152_921_504_577_486_849,
        288_230_376_131_788_801,
    ];

    /// The product by division.
    fn product(field: &Extension, a: Element, b: Element) -> Element {
        let q = u128::from(field.modulus().value());
        let nu = u128::from(field.nonresidue());
        let [[a0, a1], [b0, b1]] = [widen(a), widen(b)];
        [a0 * b0 % q + a1 * b1 % q * nu, a0 * b1 % q + a1 * b0 % q]
            .map(|sum| crate::modulus::low(sum % q))
    }

    #[test]
    fn products_agree_with_division() {
        for q in PRIMES {
            let field = Extension::new(Modulus::new(q).expect("prime"));
            let words = [0, 1, 2, q / 2, q - 2, q - 1];
            let elements: Vec<Element> = words
                .iter()
                .flat_map(|&low| words.map(|high| [low, high]))
                .collect();
            let radix = field.modulus().reduce(1 << 64);
            for &a in &elements {
                for &b in &elements {
                    let wanted = product(&field, a, b);
                    assert_eq!(field.mul(a, b), wanted);
                    assert_eq!(field.factor(b).mul(&field.montgomery, a), wanted);
                    assert_eq!(field.mul_word(field.mul_scaled(a, b), radix), wanted);
                }
                let square = field.mul_word(field.square_scaled(a), radix);
                assert_eq!(square, product(&field, a, a));
            }
        }
    }

    #[test]
    fn sums_of_the_largest_products_do_not_overflow() {
        for q in PRIMES {
            let field = Extension::new(Modulus::new(q).expect("prime"));
            for n in [1, 15, 16, 17, 1000, 5000] {
                let largest = vec![q - 1; 2 * n];
                let count = n as u64;
                let wanted = [(1 + field.nonresidue()) * count, 2 * count];
                assert_eq!(field.inner(&largest, &largest), wanted);
            }
        }
    }
}
