//! Dense products with lazily reduced sums.

use rayon::prelude::*;

use crate::lanes::{LANES, Lanes, Vectorised, Vectors, dispatch};
use crate::modulus::{MAX_LAZY_PRODUCTS, Modulus};
use crate::packed::{inner_products, pack_vectors};
use crate::vectorised;

/// Columns handled by one task of [`combine_rows`].
const TILE: usize = 512;

/// Rows multiplied together by [`gemm`]: their sums fill the vector registers.
const STRIP: usize = 4;

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
    if m == 0 || a_rows == 0 || b_rows == 0 {
        return vec![0; a_rows * b_rows];
    }
    // The product is spread over the rows of the larger matrix, in strips that stay in the first
    // cache while the rows of the smaller one pass by.
    if a_rows < b_rows {
        transpose(&strips(modulus, b, a, (b_rows, a_rows, m)), b_rows, a_rows)
    } else {
        strips(modulus, a, b, (a_rows, b_rows, m))
    }
}

/// [`gemm`], none of its sizes zero, in strips of rows of `a`.
fn strips(
    modulus: &Modulus,
    a: &[u64],
    b: &[u64],
    (_, b_rows, m): (usize, usize, usize),
) -> Vec<u64> {
    let width = m.div_ceil(LANES);
    let b: Vec<Lanes> = b.chunks_exact(m).flat_map(pack_vectors).collect();
    a.par_chunks(STRIP * m)
        .flat_map_iter(|a| {
            // A short strip is filled up with rows of zeros.
            let mut strip = vec![[[0; LANES]; STRIP]; width];
            for (i, row) in a.chunks_exact(m).enumerate() {
                for (vectors, vector) in strip.iter_mut().zip(pack_vectors(row)) {
                    vectors[i] = vector;
                }
            }
            let mut out = vec![0; a.len() / m * b_rows];
            dispatch(StripProducts {
                modulus,
                strip: &strip,
                b: &b,
                out: &mut out,
            });
            out
        })
        .collect()
}

/// The products of one packed strip with all rows of `b`.
struct StripProducts<'a> {
    modulus: &'a Modulus,
    strip: &'a [[Lanes; STRIP]],
    b: &'a [Lanes],
    out: &'a mut [u64],
}

impl Vectorised for StripProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, simd: V) {
        let width = self.strip.len();
        let b_rows = self.b.len() / width;
        for (column, b) in self.b.chunks_exact(width).enumerate() {
            let products = inner_products(simd, self.modulus, b, self.strip);
            for (line, product) in self.out.chunks_exact_mut(b_rows).zip(products) {
                line[column] = product;
            }
        }
    }
}

/// `[rows, columns]` to `[columns, rows]`.
fn transpose(words: &[u64], rows: usize, columns: usize) -> Vec<u64> {
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| words[row * columns + column]))
        .collect()
}
