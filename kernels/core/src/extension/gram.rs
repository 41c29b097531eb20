//! The Gram matrix of rows over `E` for the symmetric form `sum_n lambda(n) a(n) b(n)`.

use std::ops::Range;

use rayon::prelude::*;

use crate::extension::batch::from_karatsuba;
use crate::extension::montgomery::keep_scalar;
use crate::extension::rows::combine_rows_of_limb;
use crate::extension::{Extension, Factor, Row, halves};
use crate::lanes::{LANES, Lanes, Vectorised, Vectors, dispatch};
use crate::modulus::Modulus;
use crate::packed::{inner_products, pack_vectors};

/// Columns handled by one task: the rows of such a piece stay in the second cache.
const CHUNK: usize = 1 << 9;

/// Rows multiplied together: their sums fill the vector registers.
const STRIP: usize = 4;

/// Karatsuba: products of both components, and of their sums.
const PARTS: usize = 3;

/// Rows over `E`, cut into tiles of [`CHUNK`] columns which lie one after the other.
#[derive(Debug, Default)]
pub(crate) struct Tiles {
    rank: usize,
    columns: usize,
    /// `[tile, 2, d, column]`; the last tile may have fewer columns.
    words: Vec<u64>,
}

impl Tiles {
    /// Rows of zeros; both numbers are positive.
    pub(crate) fn zero(rank: usize, columns: usize) -> Self {
        Self {
            rank,
            columns,
            words: vec![0; 2 * rank * columns],
        }
    }

    pub(crate) const fn rank(&self) -> usize {
        self.rank
    }

    pub(crate) const fn columns(&self) -> usize {
        self.columns
    }

    const fn tile_size(&self) -> usize {
        2 * self.rank * CHUNK
    }

    /// `sum_d weights[d] x[d]`: `weights` is `[2, d]`, the result `[2, n]`.
    pub(crate) fn combine(&self, field: &Extension, weights: &[u64]) -> Vec<u64> {
        let mut out = vec![0; 2 * self.columns];
        let (low, high) = out.split_at_mut(self.columns);
        low.par_chunks_mut(CHUNK)
            .zip(high.par_chunks_mut(CHUNK))
            .zip(self.words.par_chunks(self.tile_size()))
            .for_each(|((low, high), tile)| {
                let row = combine_rows_of_limb(field, weights, tile, (self.rank, low.len()));
                let (row_low, row_high) = row.split_at(low.len());
                low.copy_from_slice(row_low);
                high.copy_from_slice(row_high);
            });
        out
    }
}

/// `G[i, j] = sum_n lambda(n) x(i, n) x(j, n)`: `lambda` is `[2, n]`, the result `[2, d, d]`.
///
/// `write` fills pieces of the rows of `x`, which are zero before: it is given the columns, the row
/// and room for the components.
pub(crate) fn weighted_gram(
    field: &Extension,
    lambda: &[u64],
    x: &mut Tiles,
    write: impl Fn(&Range<usize>, usize, [&mut [u64]; 2]) + Sync,
) -> Vec<u64> {
    let (rank, tile_size) = (x.rank, x.tile_size());
    let square = rank * rank;
    let modulus = field.modulus();
    let products = x
        .words
        .par_chunks_mut(tile_size)
        .enumerate()
        .fold(
            || Workspace::new(rank),
            |mut workspace, (index, tile)| {
                let length = tile.len() / (2 * rank);
                let columns = index * CHUNK..index * CHUNK + length;
                let (low, high) = tile.split_at_mut(rank * length);
                for (row, (low, high)) in low
                    .chunks_exact_mut(length)
                    .zip(high.chunks_exact_mut(length))
                    .enumerate()
                {
                    write(&columns, row, [low, high]);
                }
                dispatch(PartialGram {
                    field,
                    lambda: halves(lambda).map(|component| &component[columns.clone()]),
                    x: halves(tile),
                    length,
                    workspace: &mut workspace,
                });
                workspace
            },
        )
        .map(|workspace| workspace.products)
        .reduce(|| vec![0; PARTS * square], |a, b| modulus.add_words(&a, &b));
    let mut out = vec![0; 2 * square];
    for i in 0..rank {
        for j in i..rank {
            let [low, high, cross] = [0, 1, 2].map(|part| part * square + i * rank + j);
            let sums = [products[low], products[high], products[cross]];
            let entry = from_karatsuba(field, sums);
            for at in [i * rank + j, j * rank + i] {
                [out[at], out[square + at]] = entry;
            }
        }
    }
    out
}

/// What one thread needs, kept from task to task.
struct Workspace {
    rank: usize,
    /// `lambda` on these columns.
    factors: Vec<Factor>,
    /// `lambda x` on these columns, `[2, d, length]`.
    weighed: Vec<u64>,
    /// One row of a part.
    row: Vec<u64>,
    /// All rows of `x` in this part, packed.
    packed: Vec<Lanes>,
    /// Some rows of `lambda x` in this part, packed, their vectors alternating.
    strip: Vec<[Lanes; STRIP]>,
    /// The sums so far, `[part, d, d]`, entries `i <= j` only.
    products: Vec<u64>,
}

impl Workspace {
    fn new(rank: usize) -> Self {
        Self {
            rank,
            factors: Vec::with_capacity(CHUNK),
            weighed: vec![0; 2 * rank * CHUNK],
            row: vec![0; CHUNK],
            packed: Vec::with_capacity(rank * CHUNK.div_ceil(LANES)),
            strip: vec![[[0; LANES]; STRIP]; CHUNK.div_ceil(LANES)],
            products: vec![0; PARTS * rank * rank],
        }
    }
}

/// The products on some columns.
struct PartialGram<'a> {
    field: &'a Extension,
    lambda: Row<'a>,
    /// `[d, length]` per component.
    x: Row<'a>,
    length: usize,
    workspace: &'a mut Workspace,
}

impl Vectorised for PartialGram<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(mut self, simd: V) {
        self.weigh();
        for part in 0..PARTS {
            self.multiply_part(simd, part);
        }
    }
}

impl PartialGram<'_> {
    #[inline(always)]
    fn weigh(&mut self) {
        let length = self.length;
        let rank = self.workspace.rank;
        let [lambda_low, lambda_high] = self.lambda;
        let (low, high) = self.workspace.weighed[..2 * rank * length].split_at_mut(rank * length);
        let factors = &mut self.workspace.factors;
        factors.clear();
        for (&low, &high) in lambda_low.iter().zip(lambda_high) {
            factors.push(self.field.factor([low, high]));
        }
        let [x_low, x_high] = self.x.map(|component| component.chunks_exact(length));
        for ((low, high), (x_low, x_high)) in low
            .chunks_exact_mut(length)
            .zip(high.chunks_exact_mut(length))
            .zip(x_low.zip(x_high))
        {
            for (n, factor) in factors.iter().enumerate() {
                keep_scalar();
                [low[n], high[n]] = factor.mul(&self.field.montgomery, [x_low[n], x_high[n]]);
            }
        }
    }

    #[inline(always)]
    fn multiply_part<V: Vectors>(&mut self, simd: V, part: usize) {
        let Self { field, length, .. } = *self;
        let Workspace {
            rank,
            weighed,
            row,
            packed,
            strip,
            products,
            ..
        } = &mut *self.workspace;
        let rank = *rank;
        let modulus = field.modulus();
        let width = length.div_ceil(LANES);
        let (row, strip) = (&mut row[..length], &mut strip[..width]);
        packed.clear();
        let [x_low, x_high] = self.x.map(|component| component.chunks_exact(length));
        for (low, high) in x_low.zip(x_high) {
            part_of_row(modulus, [low, high], part, row);
            packed.extend(pack_vectors(row));
        }
        let weighed = halves(&weighed[..2 * rank * length]);
        let products = &mut products[part * rank * rank..][..rank * rank];
        for first in (0..rank).step_by(STRIP) {
            let rows = STRIP.min(rank - first);
            for i in 0..rows {
                let start = (first + i) * length;
                let [low, high] = [
                    &weighed[0][start..][..length],
                    &weighed[1][start..][..length],
                ];
                part_of_row(modulus, [low, high], part, row);
                for (vectors, vector) in strip.iter_mut().zip(pack_vectors(row)) {
                    vectors[i] = vector;
                }
            }
            for (j, b) in packed.chunks_exact(width).enumerate().skip(first) {
                // What a short strip still holds of other rows is not looked at.
                let found = inner_products(simd, modulus, b, strip);
                for (i, product) in found.into_iter().enumerate().take(rows) {
                    let sum = &mut products[(first + i) * rank + j];
                    *sum = modulus.add(*sum, product);
                }
            }
        }
    }
}

/// The first component of a row, the second, or their sum.
#[inline(always)]
fn part_of_row(modulus: &Modulus, [low, high]: Row<'_>, part: usize, out: &mut [u64]) {
    match part {
        0 => out.copy_from_slice(low),
        1 => out.copy_from_slice(high),
        _ => {
            for (out, (&low, &high)) in out.iter_mut().zip(low.iter().zip(high)) {
                *out = modulus.add(low, high);
            }
        }
    }
}
