//! Elementwise operations on slices of words; operands have equal lengths.

use rayon::prelude::*;

use crate::modulus::{MAX_LAZY_PRODUCTS, Modulus};
use crate::{Error, vectorised};

/// Words handled by one task: large enough to hide the cost of starting it.
const CHUNK: usize = 1 << 14;

impl Modulus {
    /// `op` applied to pairs, in parallel for long slices.
    fn zip_words(a: &[u64], b: &[u64], op: impl Fn(u64, u64) -> u64 + Sync) -> Vec<u64> {
        let mut out = vec![0; a.len()];
        out.par_chunks_mut(CHUNK)
            .zip(a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)))
            .for_each(|(out, (a, b))| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                            *out = op(a, b);
                        }
                    },
                );
            });
        out
    }

    /// `op` applied to each element, in parallel for long slices.
    fn map_words<T: Copy + Sync>(a: &[T], op: impl Fn(T) -> u64 + Sync) -> Vec<u64> {
        let mut out = vec![0; a.len()];
        out.par_chunks_mut(CHUNK)
            .zip(a.par_chunks(CHUNK))
            .for_each(|(out, a)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (out, &a) in out.iter_mut().zip(a) {
                            *out = op(a);
                        }
                    },
                );
            });
        out
    }

    /// `a + b` elementwise.
    #[must_use]
    pub fn add_words(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        Self::zip_words(
            a,
            b,
            #[inline(always)]
            |a, b| self.add(a, b),
        )
    }

    /// `a - b` elementwise.
    #[must_use]
    pub fn sub_words(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        Self::zip_words(
            a,
            b,
            #[inline(always)]
            |a, b| self.sub(a, b),
        )
    }

    /// `-a` elementwise.
    #[must_use]
    pub fn neg_words(&self, a: &[u64]) -> Vec<u64> {
        Self::map_words(
            a,
            #[inline(always)]
            |a| self.neg(a),
        )
    }

    /// `a b` elementwise.
    #[must_use]
    pub fn mul_words(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        Self::zip_words(
            a,
            b,
            #[inline(always)]
            |a, b| self.mul(a, b),
        )
    }

    /// `s a` for one word `s`.
    #[must_use]
    pub fn scale_words(&self, a: &[u64], s: u64) -> Vec<u64> {
        let (s, q) = (self.shoup(s), self.value());
        Self::map_words(
            a,
            #[inline(always)]
            move |a| s.mul(a, q),
        )
    }

    /// `acc + a b` elementwise.
    #[must_use]
    pub fn multiply_add_words(&self, acc: &[u64], a: &[u64], b: &[u64]) -> Vec<u64> {
        let mut out = acc.to_vec();
        out.par_chunks_mut(CHUNK)
            .zip(a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)))
            .for_each(|(out, (a, b))| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                            *out = self.multiply_add(*out, a, b);
                        }
                    },
                );
            });
        out
    }

    /// `a^-1` elementwise with one inversion and three products per word (Montgomery's trick).
    ///
    /// # Errors
    /// [`Error::ZeroInverse`] at the first zero.
    pub fn inverse_words(&self, a: &[u64]) -> Result<Vec<u64>, Error> {
        if let Some(index) = a.iter().position(|&word| word == 0) {
            return Err(Error::ZeroInverse { index });
        }
        let mut product = 1;
        let mut out: Vec<u64> = a
            .iter()
            .map(|&word| {
                let next = self.mul(product, word);
                std::mem::replace(&mut product, next)
            })
            .collect();
        let mut suffix = self.inverse_or_zero(product);
        for (prefix, &word) in out.iter_mut().zip(a).rev() {
            *prefix = self.mul(*prefix, suffix);
            suffix = self.mul(suffix, word);
        }
        Ok(out)
    }

    /// `sum_i a_i b_i`.
    #[must_use]
    pub fn dot(&self, a: &[u64], b: &[u64]) -> u64 {
        let total: u128 = a
            .par_chunks(CHUNK)
            .zip(b.par_chunks(CHUNK))
            .map(|(a, b)| {
                u128::from(vectorised(
                    #[inline(always)]
                    || self.dot_serial(a, b),
                ))
            })
            .sum();
        self.reduce(total)
    }

    /// `sum_i a_i b_i` without tasks, to be inlined below `vectorised`.
    #[inline(always)]
    pub(crate) fn dot_serial(&self, a: &[u64], b: &[u64]) -> u64 {
        let (a_blocks, a_rest) = a.as_chunks::<MAX_LAZY_PRODUCTS>();
        let (b_blocks, b_rest) = b.as_chunks::<MAX_LAZY_PRODUCTS>();
        // A sum of words stays below 2^128 for any slice that fits in memory.
        let mut total = 0_u128;
        for (a, b) in a_blocks.iter().zip(b_blocks) {
            total += u128::from(self.reduce(lazy_dot(a, b)));
        }
        self.reduce(total + u128::from(self.reduce(lazy_dot(a_rest, b_rest))))
    }

    /// `1, base, base^2, ...`: `count` words.
    #[must_use]
    pub fn powers(&self, base: u64, count: usize) -> Vec<u64> {
        let mut out = vec![0; count];
        let factor = self.shoup(base);
        out.par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(index, chunk)| {
                let mut power = self.pow(base, (index * CHUNK) as u64);
                for word in chunk {
                    *word = power;
                    power = factor.mul(power, self.value());
                }
            });
        out
    }

    /// Signed integers to words.
    #[must_use]
    pub fn reduce_i64_words(&self, x: &[i64]) -> Vec<u64> {
        Self::map_words(
            x,
            #[inline(always)]
            |x| self.reduce_i64(x),
        )
    }

    /// Signed 128-bit integers, as (low, high) pairs of words in two's complement, to words.
    #[must_use]
    pub fn reduce_wide_words(&self, x: &[[u64; 2]]) -> Vec<u64> {
        Self::map_words(
            x,
            #[inline(always)]
            |pair| self.reduce_i128(join_i128(pair)),
        )
    }
}

/// The signed 128-bit integer of a (low, high) pair in two's complement.
#[inline(always)]
pub(crate) fn join_i128([low, high]: [u64; 2]) -> i128 {
    (i128::from(high.cast_signed()) << 64) | i128::from(low)
}

/// `sum_i a_i b_i` of at most [`MAX_LAZY_PRODUCTS`] words, not reduced.
#[inline(always)]
fn lazy_dot(a: &[u64], b: &[u64]) -> u128 {
    const CHAINS: usize = 4;
    let (a_blocks, a_rest) = a.as_chunks::<CHAINS>();
    let (b_blocks, b_rest) = b.as_chunks::<CHAINS>();
    // Independent chains of additions with carry; together they are as large as one.
    let mut sums = [0_u128; CHAINS];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += u128::from(a) * u128::from(b);
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += u128::from(a) * u128::from(b);
    }
    sums.into_iter().sum()
}
