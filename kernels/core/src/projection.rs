//! Random projections: the same public matrix from the left (fold) and from the right (project).
//!
//! A 0/1 matrix is packed eight rows to a byte, `bits[group, j]`, row `8 group + b` in bit `b`
//! (`docs/protocol.md`, section 6). Folding looks a byte up in a table of its 256 subset sums;
//! projecting adds `x[j]` to the bucket of its byte and sums the buckets afterwards.

use rayon::prelude::*;

use crate::modulus::{Modulus, subtract_once};
use crate::vector::join_i128;
use crate::vectorised;

/// Rows in a byte.
pub const ROWS_PER_GROUP: usize = 8;

/// Bound on the bits of `|x|` for [`project_bits_wide`].
pub const MAX_WIDE_BITS: u32 = 113;

/// Columns projected before sums leave 128 bits: `2^113 2^13 = 2^126`.
const WIDE_COLUMNS: usize = 1 << 13;

const BUCKETS: usize = 1 << ROWS_PER_GROUP;

/// Columns folded by one task.
const TILE: usize = 1 << 11;

/// Groups added between reductions: `5 (2^61 - 1) < 2^64`.
const LAZY_GROUPS: usize = 4;

/// An exact signed integer: `high 2^128 + low`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WideSum {
    high: i64,
    low: u128,
}

impl WideSum {
    fn add(&mut self, x: i128) {
        let (low, carry) = self.low.overflowing_add(x.cast_unsigned());
        self.low = low;
        self.high += i64::from(carry) - i64::from(x < 0);
    }

    /// 24 bytes, little-endian, two's complement.
    #[must_use]
    pub fn to_le_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.low.to_le_bytes());
        bytes[16..].copy_from_slice(&self.high.to_le_bytes());
        bytes
    }
}

/// `out[c, j] = sum_s gammas[c, s] r[s, j]`, `r` packed in `bits`, `[groups, n]`; `gammas` is
/// `[c, 8 groups]`, the result `[c, n]`; `shape` is `(c, groups, n)`.
#[must_use]
pub fn fold_bits(
    modulus: &Modulus,
    bits: &[u8],
    gammas: &[u64],
    (combinations, groups, n): (usize, usize, usize),
) -> Vec<u64> {
    let mut out = vec![0; combinations * n];
    if out.is_empty() || groups == 0 {
        return out;
    }
    let tables: Vec<[u64; BUCKETS]> = gammas
        .par_chunks_exact(ROWS_PER_GROUP)
        .map(|gammas| subset_sums(modulus, gammas))
        .collect();
    let mut pieces = Vec::with_capacity(combinations * n.div_ceil(TILE));
    for (line, tables) in out.chunks_exact_mut(n).zip(tables.chunks_exact(groups)) {
        for (tile, piece) in line.chunks_mut(TILE).enumerate() {
            pieces.push((tables, tile * TILE, piece));
        }
    }
    let q = modulus.value();
    pieces.into_par_iter().for_each(|(tables, start, piece)| {
        for (batch, tables) in tables.chunks(LAZY_GROUPS).enumerate() {
            for (i, table) in tables.iter().enumerate() {
                let group = batch * LAZY_GROUPS + i;
                let bytes = &bits[group * n + start..][..piece.len()];
                for (sum, &byte) in piece.iter_mut().zip(bytes) {
                    *sum += table[usize::from(byte)];
                }
            }
            vectorised(
                #[inline(always)]
                || {
                    for sum in piece.iter_mut() {
                        // Below 5q: at most one of each.
                        *sum = subtract_once(subtract_once(subtract_once(*sum, 4 * q), 2 * q), q);
                    }
                },
            );
        }
    });
    out
}

/// The sums of all subsets of eight words; a subset is a byte.
fn subset_sums(modulus: &Modulus, gammas: &[u64]) -> [u64; BUCKETS] {
    let mut table = [0; BUCKETS];
    for (bit, &gamma) in gammas.iter().enumerate() {
        let (known, new) = table[..2 << bit].split_at_mut(1 << bit);
        for (new, &known) in new.iter_mut().zip(&*known) {
            *new = modulus.add(known, gamma);
        }
    }
    table
}

/// From bucket totals to the sum of each bit.
fn bit_sums<T: Copy + std::ops::AddAssign + Default>(
    mut buckets: [T; BUCKETS],
) -> [T; ROWS_PER_GROUP] {
    let mut sums = [T::default(); ROWS_PER_GROUP];
    for bit in (0..ROWS_PER_GROUP).rev() {
        // The buckets that have this bit set go to the sum, then merge with those that have not.
        let (without, with) = buckets[..2 << bit].split_at_mut(1 << bit);
        for (without, &with) in without.iter_mut().zip(&*with) {
            sums[bit] += with;
            *without += with;
        }
    }
    sums
}

/// Two interleaved sets of buckets: equal neighbouring bytes do not wait for each other.
#[inline(always)]
fn bucket_sums<T, X: Copy>(bytes: &[u8], x: &[X], widen: impl Fn(X) -> T) -> [T; ROWS_PER_GROUP]
where
    T: Copy + std::ops::AddAssign + Default,
{
    let mut even = [T::default(); BUCKETS];
    let mut odd = [T::default(); BUCKETS];
    for (bytes, x) in bytes.chunks(2).zip(x.chunks(2)) {
        even[usize::from(bytes[0])] += widen(x[0]);
        if let ([_, byte], [_, x]) = (bytes, x) {
            odd[usize::from(*byte)] += widen(*x);
        }
    }
    for (even, odd) in even.iter_mut().zip(odd) {
        *even += odd;
    }
    bit_sums(even)
}

/// `sum_j r[s, j] x[j]` for the `8 groups` rows, exactly.
#[must_use]
pub fn project_bits_i64(bits: &[u8], x: &[i64], groups: usize) -> Vec<i128> {
    let n = x.len();
    if n == 0 {
        return vec![0; groups * ROWS_PER_GROUP];
    }
    let largest = x.iter().fold(0, |bound, x| bound.max(x.unsigned_abs()));
    let narrow = u128::from(largest) * (n as u128) < 1 << 63;
    bits.par_chunks_exact(n)
        .flat_map_iter(|bytes| {
            if narrow {
                bucket_sums(
                    bytes,
                    x,
                    #[inline(always)]
                    |x: i64| x,
                )
                .map(i128::from)
            } else {
                bucket_sums(
                    bytes,
                    x,
                    #[inline(always)]
                    |x: i64| i128::from(x),
                )
            }
        })
        .collect()
}

/// As [`project_bits_i64`] for signed 128-bit integers, (low, high) words in two's complement,
/// with `|x| < 2^113`.
#[must_use]
pub fn project_bits_wide(bits: &[u8], x: &[[u64; 2]], groups: usize) -> Vec<WideSum> {
    let n = x.len();
    if n == 0 {
        return vec![WideSum::default(); groups * ROWS_PER_GROUP];
    }
    bits.par_chunks_exact(n)
        .flat_map_iter(|bytes| {
            let mut sums = [WideSum::default(); ROWS_PER_GROUP];
            for (bytes, x) in bytes.chunks(WIDE_COLUMNS).zip(x.chunks(WIDE_COLUMNS)) {
                let parts: [i128; ROWS_PER_GROUP] = bucket_sums(bytes, x, join_i128);
                for (sum, part) in sums.iter_mut().zip(parts) {
                    sum.add(part);
                }
            }
            sums
        })
        .collect()
}

/// The flat index of the first `|x| >= 2^113`, if any.
#[must_use]
pub fn first_too_wide(x: &[[u64; 2]]) -> Option<usize> {
    x.iter()
        .position(|&pair| join_i128(pair).unsigned_abs() >> MAX_WIDE_BITS != 0)
}

/// `sum_j r[s, j] x[j] mod q` for the `8 groups` rows.
#[must_use]
pub fn project_bits_mod(modulus: &Modulus, bits: &[u8], x: &[u64], groups: usize) -> Vec<u64> {
    let n = x.len();
    if n == 0 {
        return vec![0; groups * ROWS_PER_GROUP];
    }
    bits.par_chunks_exact(n)
        .flat_map_iter(|bytes| {
            let sums: [u128; ROWS_PER_GROUP] = bucket_sums(bytes, x, u128::from);
            sums.map(|sum| modulus.reduce(sum))
        })
        .collect()
}

/// `out[c, j] = sum_s gammas[c, s] coefficients[s, j]` for 32-bit integers: `coefficients` is
/// `[rows, n]`, `gammas` `[c, rows]`, the result `[c, n]`; `shape` is `(c, rows, n)`.
#[must_use]
pub fn fold_i32(
    modulus: &Modulus,
    coefficients: &[i32],
    gammas: &[u64],
    (combinations, rows, n): (usize, usize, usize),
) -> Vec<u64> {
    let mut out = vec![0; combinations * n];
    if out.is_empty() || rows == 0 {
        return out;
    }
    out.par_chunks_exact_mut(n)
        .zip(gammas.par_chunks_exact(rows))
        .for_each(|(line, gammas)| {
            line.par_chunks_mut(TILE)
                .enumerate()
                .for_each(|(tile, piece)| {
                    vectorised(
                        #[inline(always)]
                        || {
                            for (j, word) in piece.iter_mut().enumerate() {
                                // A term is below 2^92: 2^35 rows would fit.
                                let mut sum = 0_i128;
                                for (&gamma, row) in gammas.iter().zip(coefficients.chunks_exact(n))
                                {
                                    sum += i128::from(gamma) * i128::from(row[tile * TILE + j]);
                                }
                                *word = modulus.reduce_i128(sum);
                            }
                        },
                    );
                });
        });
    out
}

/// `sum_j coefficients[s, j] x[j]` for each of `rows` rows of 32-bit integers, exactly.
#[must_use]
pub fn project_i32(coefficients: &[i32], x: &[i64], rows: usize) -> Vec<i128> {
    if x.is_empty() {
        return vec![0; rows];
    }
    coefficients
        .par_chunks_exact(x.len())
        .map(|row| {
            vectorised(
                #[inline(always)]
                || {
                    // A term is below 2^94: 2^33 columns would fit.
                    let terms = row
                        .iter()
                        .zip(x)
                        .map(|(&a, &x)| i128::from(a) * i128::from(x));
                    terms.sum()
                },
            )
        })
        .collect()
}
