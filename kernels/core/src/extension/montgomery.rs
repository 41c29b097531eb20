//! Montgomery's reduction: division by `2^64` modulo `q` with two multiplications
//! (Montgomery, "Modular multiplication without trial division", 1985).
//!
//! A word times `2^64` is called *entered*; the product of a plain word and an entered one reduces
//! to a plain word.

use crate::modulus::{Modulus, high, low};

/// Stands in a loop over reductions which is to stay scalar: vector units lack the wide products,
/// and the compiler, left alone, moves every word there and back for the few operations they have.
#[inline(always)]
pub(crate) fn keep_scalar() {
    std::hint::black_box(());
}

/// The constants of one prime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Montgomery {
    modulus: Modulus,
    /// `q^-1 mod 2^64`.
    inverse: u64,
    /// `2^128 mod q`.
    radix_squared: u64,
}

impl Montgomery {
    pub(crate) fn new(modulus: Modulus) -> Self {
        let q = modulus.value();
        // Newton's iteration doubles the number of correct bits; an odd q inverts itself modulo 8.
        let mut inverse = q;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(q.wrapping_mul(inverse)));
        }
        Self {
            modulus,
            inverse,
            radix_squared: modulus.reduce(u128::MAX - u128::from(q) + 1),
        }
    }

    #[inline(always)]
    pub(crate) const fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// `x / 2^64 mod q` for `x < 2^64 q`, so for a sum of eight products of two words.
    #[inline(always)]
    pub(crate) fn reduce(&self, x: u128) -> u64 {
        let quotient = low(x).wrapping_mul(self.inverse);
        let multiple = u128::from(quotient) * u128::from(self.modulus.value());
        // The low words are equal.
        self.modulus.sub(high(x), high(multiple))
    }

    /// `2^64 a mod q`.
    #[inline(always)]
    pub(crate) fn enter(&self, a: u64) -> u64 {
        self.reduce(u128::from(a) * u128::from(self.radix_squared))
    }

    /// `2^128 mod q`.
    #[inline(always)]
    pub(crate) const fn radix_squared(&self) -> u64 {
        self.radix_squared
    }
}
