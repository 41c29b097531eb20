//! Dense products with lazily reduced sums.

use rayon::prelude::*;

use crate::modulus::{MAX_LAZY_PRODUCTS, Modulus};
use crate::vectorised;

/// Columns handled by one task of [`combine_rows`].
const TILE: usize = 512;

/// Inner products handled by one task of [`gemm`].
const STRIP: usize = 16;

/// `sum_i weights[c, i] rows[i, :]`: `rows` is `[r, m]`, `weights` `[c, r]`, the result `[c, m]`;
/// `shape` is `(c, r, m)`.
#[must_use]
pub fn combine_rows(
    modulus: &Modulus,
    rows: &[u64],
    weights: &[u64],
    (combinations, row_count, m): (usize, usize, usize),
) -> Vec<u64> {
    let mut out = vec![0; combinations * m];
    if m == 0 || row_count == 0 {
        return out;
    }
    let tiles = m.div_ceil(TILE);
    // Split the output into (combination, tile) pieces; a piece is contiguous.
    let mut pieces: Vec<(usize, usize, &mut [u64])> = Vec::with_capacity(combinations * tiles);
    for (combination, line) in out.chunks_exact_mut(m).enumerate() {
        for (tile, piece) in line.chunks_mut(TILE).enumerate() {
            pieces.push((combination, tile * TILE, piece));
        }
    }
    pieces
        .into_par_iter()
        .for_each(|(combination, start, piece)| {
            let weights = &weights[combination * row_count..][..row_count];
            vectorised(
                #[inline(always)]
                || {
                    let mut sums = [0_u128; TILE];
                    for (batch, weights) in weights.chunks(MAX_LAZY_PRODUCTS - 1).enumerate() {
                        for (i, &weight) in weights.iter().enumerate() {
                            let row = batch * (MAX_LAZY_PRODUCTS - 1) + i;
                            let words = &rows[row * m + start..][..piece.len()];
                            for (sum, &word) in sums.iter_mut().zip(words) {
                                *sum += u128::from(weight) * u128::from(word);
                            }
                        }
                        // One product's worth of room is kept for the reduced sum itself.
                        for sum in &mut sums {
                            *sum = u128::from(modulus.reduce(*sum));
                        }
                    }
                    for (word, &sum) in piece.iter_mut().zip(&sums) {
                        *word = crate::modulus::low(sum);
                    }
                },
            );
        });
    out
}

/// All inner products of the rows of `a` (`[r, m]`) with those of `b` (`[s, m]`): `[r, s]`;
/// `shape` is `(r, s, m)`.
#[must_use]
pub fn gemm(
    modulus: &Modulus,
    a: &[u64],
    b: &[u64],
    (a_rows, b_rows, m): (usize, usize, usize),
) -> Vec<u64> {
    let mut out = vec![0; a_rows * b_rows];
    if m == 0 || b_rows == 0 {
        return out;
    }
    // Split over the rows of `b` as well: `a` is often a single constraint row.
    let mut strips: Vec<(usize, usize, &mut [u64])> = Vec::new();
    for (row, line) in out.chunks_exact_mut(b_rows).enumerate() {
        for (strip, words) in line.chunks_mut(STRIP).enumerate() {
            strips.push((row, strip * STRIP, words));
        }
    }
    strips.into_par_iter().for_each(|(row, start, words)| {
        let a = &a[row * m..][..m];
        vectorised(
            #[inline(always)]
            || {
                for (word, b) in words.iter_mut().zip(b[start * m..].chunks_exact(m)) {
                    *word = modulus.dot_serial(a, b);
                }
            },
        );
    });
    out
}
