//! Arithmetic modulo one prime `q`, `2^49 <= q < 2^61`.
//!
//! Three reductions, each with its own range: [`Modulus::reduce_product`] (Barrett, below `2^(2b)`
//! with `b` the bit length of `q`), [`Modulus::reduce`] (Barrett with a 128-bit reciprocal, any
//! `u128`) and [`Shoup`] (a fixed factor with a precomputed quotient, result below `2q`; Harvey,
//! "Faster arithmetic for number-theoretic transforms", 2014).

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::Error;

/// How many products of two words fit in a `u128`: `64 (2^61 - 1)^2 < 2^128`.
pub const MAX_LAZY_PRODUCTS: usize = 64;

const MIN_BITS: u32 = 50;
const MAX_BITS: u32 = 61;

/// Primality verdicts kept; beyond it a prime is tested again, so an attacker gains no memory.
const MAX_CACHED_PRIMES: usize = 1024;

static KNOWN_PRIMES: LazyLock<Mutex<HashSet<u64>>> = LazyLock::new(Mutex::default);

/// An odd prime of 50 to 61 bits with its reciprocals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulus {
    value: u64,
    bits: u32,
    /// `floor(2^(2 bits + 1) / q) 2^(61 - bits)`, at most 63 bits.
    product_reciprocal: u64,
    /// `floor(2^128 / q)`: high and low word.
    wide_reciprocal: (u64, u64),
}

/// A word `w` with `floor(w 2^64 / q)`, for repeated multiplication by `w`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shoup {
    pub(crate) word: u64,
    quotient: u64,
}

impl Shoup {
    /// `a w mod q` plus 0 or `q`: below `2q`, for any `a < 2^64`.
    #[inline(always)]
    pub(crate) fn mul_lazy(self, a: u64, q: u64) -> u64 {
        let estimate = high(u128::from(a) * u128::from(self.quotient));
        a.wrapping_mul(self.word)
            .wrapping_sub(estimate.wrapping_mul(q))
    }

    /// `a w mod q`, for any `a < 2^64`.
    #[inline(always)]
    pub(crate) fn mul(self, a: u64, q: u64) -> u64 {
        subtract_once(self.mul_lazy(a, q), q)
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
pub(crate) const fn low(x: u128) -> u64 {
    x as u64
}

#[inline(always)]
pub(crate) const fn high(x: u128) -> u64 {
    low(x >> 64)
}

/// `x - bound` if that is not negative, else `x`. Compiles to a minimum, without a branch.
#[inline(always)]
pub(crate) fn subtract_once(x: u64, bound: u64) -> u64 {
    x.min(x.wrapping_sub(bound))
}

impl Modulus {
    /// Checks that `value` is an odd prime of 50 to 61 bits (deterministic Miller-Rabin; verdicts
    /// are cached).
    ///
    /// # Errors
    /// [`Error::Modulus`] otherwise.
    pub fn new(value: u64) -> Result<Self, Error> {
        let bits = u64::BITS - value.leading_zeros();
        if !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(Error::Modulus {
                value,
                reason: "bit length out of range",
            });
        }
        if value.is_multiple_of(2) {
            return Err(Error::Modulus {
                value,
                reason: "even",
            });
        }
        let wide = u128::MAX / u128::from(value); // = floor(2^128 / q): q does not divide 2^128
        let modulus = Self {
            value,
            bits,
            product_reciprocal: low((1_u128 << (2 * bits + 1)) / u128::from(value))
                << (MAX_BITS - bits),
            wide_reciprocal: (high(wide), low(wide)),
        };
        // A poisoned lock still holds a set of primes: insertion cannot be seen half done.
        let cached = |primes: &HashSet<u64>| primes.contains(&value);
        if !cached(&KNOWN_PRIMES.lock().unwrap_or_else(PoisonError::into_inner)) {
            if !modulus.is_prime() {
                return Err(Error::Modulus {
                    value,
                    reason: "composite",
                });
            }
            let mut primes = KNOWN_PRIMES.lock().unwrap_or_else(PoisonError::into_inner);
            if primes.len() < MAX_CACHED_PRIMES {
                primes.insert(value);
            }
        }
        Ok(modulus)
    }

    /// The prime itself.
    #[must_use]
    #[inline(always)]
    pub const fn value(&self) -> u64 {
        self.value
    }

    /// Its bit length.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// `a + b mod q`.
    #[must_use]
    #[inline(always)]
    pub fn add(&self, a: u64, b: u64) -> u64 {
        subtract_once(a + b, self.value)
    }

    /// `a - b mod q`.
    #[must_use]
    #[inline(always)]
    pub fn sub(&self, a: u64, b: u64) -> u64 {
        let difference = a.wrapping_sub(b);
        difference.min(difference.wrapping_add(self.value))
    }

    /// `-a mod q`.
    #[must_use]
    #[inline(always)]
    pub fn neg(&self, a: u64) -> u64 {
        self.sub(0, a)
    }

    /// `a b mod q`.
    #[must_use]
    #[inline(always)]
    pub fn mul(&self, a: u64, b: u64) -> u64 {
        self.reduce_product(u128::from(a) * u128::from(b))
    }

    /// `acc + a b mod q`.
    #[must_use]
    #[inline(always)]
    pub fn multiply_add(&self, acc: u64, a: u64, b: u64) -> u64 {
        self.add(acc, self.mul(a, b))
    }

    /// `x mod q` for `x < 2^(2 bits)`, so for any product of two words.
    ///
    /// The quotient estimate errs by less than 2: by `x / 2^(2b+1) < 1/2` through the reciprocal,
    /// by at most `2^(b-2) / q <= 1/2` through the shift of `x`, by less than 1 through the last
    /// floor. One conditional subtraction is enough.
    #[must_use]
    #[inline(always)]
    pub fn reduce_product(&self, x: u128) -> u64 {
        // Said so that the compiler need not provide for shifts by a word or more.
        let shift = (self.bits - 2) & (u64::BITS - 1);
        let shifted = high(x) << (u64::BITS - shift) | low(x) >> shift;
        let estimate = high(u128::from(shifted) * u128::from(self.product_reciprocal));
        subtract_once(
            low(x).wrapping_sub(estimate.wrapping_mul(self.value)),
            self.value,
        )
    }

    /// `x mod q` for any `x`.
    ///
    /// The estimate is `floor(x floor(2^128 / q) / 2^128)`, computed exactly: below `x / q` by less
    /// than `x / 2^128 + 1 < 2`.
    #[must_use]
    #[inline(always)]
    pub fn reduce(&self, x: u128) -> u64 {
        let (x1, x0) = (u128::from(high(x)), u128::from(low(x)));
        let (r1, r0) = (
            u128::from(self.wide_reciprocal.0),
            u128::from(self.wide_reciprocal.1),
        );
        let middle = x0 * r1 + u128::from(high(x0 * r0));
        let crossed = x1 * r0 + u128::from(low(middle));
        let estimate = low(x1 * r1)
            .wrapping_add(high(middle))
            .wrapping_add(high(crossed));
        subtract_once(
            low(x).wrapping_sub(estimate.wrapping_mul(self.value)),
            self.value,
        )
    }

    /// `x mod q` for one 64-bit word.
    #[must_use]
    #[inline(always)]
    pub fn reduce_word(&self, x: u64) -> u64 {
        // floor(2^64 / q) is the high word of floor(2^128 / q).
        let estimate = high(u128::from(x) * u128::from(self.wide_reciprocal.0));
        subtract_once(
            x.wrapping_sub(estimate.wrapping_mul(self.value)),
            self.value,
        )
    }

    /// `x mod q` for a signed 64-bit integer.
    #[must_use]
    #[inline(always)]
    pub fn reduce_i64(&self, x: i64) -> u64 {
        let magnitude = self.reduce_word(x.unsigned_abs());
        if x < 0 {
            self.neg(magnitude)
        } else {
            magnitude
        }
    }

    /// `x mod q` for a signed 128-bit integer.
    #[must_use]
    #[inline(always)]
    pub fn reduce_i128(&self, x: i128) -> u64 {
        let magnitude = self.reduce(x.unsigned_abs());
        if x < 0 {
            self.neg(magnitude)
        } else {
            magnitude
        }
    }

    /// `base^exponent mod q`.
    #[must_use]
    pub fn pow(&self, base: u64, mut exponent: u64) -> u64 {
        let (mut result, mut square) = (1, base);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.mul(result, square);
            }
            square = self.mul(square, square);
            exponent >>= 1;
        }
        result
    }

    /// `a^-1 mod q`, and 0 for 0.
    #[must_use]
    pub fn inverse_or_zero(&self, a: u64) -> u64 {
        self.pow(a, self.value - 2)
    }

    pub(crate) fn shoup(&self, word: u64) -> Shoup {
        Shoup {
            word,
            quotient: low((u128::from(word) << 64) / u128::from(self.value)),
        }
    }

    /// Whether every word is canonical, that is below `q`.
    #[must_use]
    pub fn is_canonical(&self, words: &[u64]) -> bool {
        crate::vectorised(
            #[inline(always)]
            || self.is_canonical_inline(words),
        )
    }

    /// [`Self::is_canonical`], to be inlined below `vectorised`.
    #[inline(always)]
    pub(crate) fn is_canonical_inline(&self, words: &[u64]) -> bool {
        words.chunks(1024).all(|chunk| {
            // The subtraction of two values below 2^63 borrows exactly when word < q; a word of
            // 2^63 or more shows in its own top bit. No early exit inside: it vectorises.
            let bad = chunk
                .iter()
                .fold(0, |bad, &word| bad | !word.wrapping_sub(self.value) | word);
            bad >> 63 == 0
        })
    }

    /// Miller-Rabin with the first twelve primes as bases: exact below `3.3 * 10^24`
    /// (Sorenson and Webster, 2015).
    fn is_prime(&self) -> bool {
        const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
        let twos = (self.value - 1).trailing_zeros();
        let odd = (self.value - 1) >> twos;
        BASES.iter().all(|&base| {
            let mut x = self.pow(base, odd);
            if x == 1 || x == self.value - 1 {
                return true;
            }
            (1..twos).any(|_| {
                x = self.mul(x, x);
                x == self.value - 1
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMES: [u64; 4] = [
        1_125_899_865_948_161,     // 50 bits
        1_152_921_504_606_830_593, // 60 bits
        2_305_843_009_213_693_951, // 2^61 - 1, the largest of all
        562_949_953_421_381,       // close above 2^49, the smallest kind
    ];

    fn samples() -> Vec<u128> {
        let mut values = vec![0, 1, u128::MAX, u128::MAX - 1, u128::from(u64::MAX)];
        let mut state = 0x9E37_79B9_7F4A_7C15_u128;
        for shift in 0..128 {
            state = state.wrapping_mul(0xDA94_2042_E4DD_58B5_2B7E_1516_28AE_D2A7) + 1;
            values.extend([state, state >> shift, (1 << shift) - 1, u128::MAX >> shift]);
        }
        values
    }

    #[test]
    fn reductions_agree_with_division() {
        for value in PRIMES {
            let modulus = Modulus::new(value).expect("prime");
            let wide = u128::from(value);
            for x in samples() {
                assert_eq!(u128::from(modulus.reduce(x)), x % wide);
                assert_eq!(
                    u128::from(modulus.reduce_word(low(x))),
                    u128::from(low(x)) % wide
                );
                let product = x >> (128 - 2 * modulus.bits());
                assert_eq!(u128::from(modulus.reduce_product(product)), product % wide);
                let factor = modulus.shoup(low(x % wide));
                let expected = u128::from(high(x)) * (x % wide) % wide;
                assert_eq!(u128::from(factor.mul(high(x), value)), expected);
            }
            for multiple in [wide * wide - 1, wide * wide - wide, u128::MAX / wide * wide] {
                assert_eq!(u128::from(modulus.reduce(multiple)), multiple % wide);
                assert_eq!(
                    u128::from(modulus.reduce(multiple - 1)),
                    (multiple - 1) % wide
                );
            }
        }
    }

    #[test]
    fn canonical_means_below_q() {
        for value in PRIMES {
            let modulus = Modulus::new(value).expect("prime");
            assert!(modulus.is_canonical(&[0, 1, value - 1]));
            for word in [value, value + 1, 1 << 61, 1 << 63, u64::MAX] {
                assert!(!modulus.is_canonical(&[0, word]));
            }
        }
    }

    #[test]
    fn composites_and_sizes_are_refused() {
        for value in [
            0,
            1,
            2,
            3,
            97,
            1 << 50,
            (1 << 50) + 1,
            (1 << 61) + 1,
            u64::MAX,
        ] {
            assert!(Modulus::new(value).is_err(), "{value}");
        }
        // A product of two primes of 30 bits.
        assert!(Modulus::new(1_073_741_789 * 1_073_741_783).is_err());
    }
}
