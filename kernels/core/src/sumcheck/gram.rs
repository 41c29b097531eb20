//! The sum-check of `h^2` for `h = w x` of low rank: `h` is stored only once its rows are bound.

use rayon::prelude::*;

use crate::extension::gram::{Tiles, weighted_gram};
use crate::extension::words::Folded;
use crate::extension::{Element, Extension, halves};
use crate::modulus::{MAX_LAZY_PRODUCTS, low};
use crate::sumcheck::Prover;
use crate::sumcheck::instance::Instance;
use crate::sumcheck::polynomial::Polynomial;
use crate::sumcheck::product::Product;
use crate::sumcheck::summand::Values;
use crate::sumcheck::table::Table;

/// Rows of output handled by one task.
const ROWS: usize = 16;

/// A sparse matrix of small signed integers by rows: row `k` has the entries
/// `values[indptr[k]..indptr[k + 1]]` at the same part of `columns`.
#[derive(Clone, Copy, Debug)]
pub struct Sparse<'a> {
    /// Starts of the rows, and the number of entries: one more than rows, ascending from 0.
    pub indptr: &'a [usize],
    /// Column of each entry.
    pub columns: &'a [usize],
    /// Entries.
    pub values: &'a [i32],
}

/// `h(k, n) = sum_d w[k, d] x(d, n)`; the rows of `x` are those of `rows`, then one row of a constant.
#[derive(Clone, Copy, Debug)]
pub struct LowRank<'a> {
    /// Ciphertexts at a point.
    pub rows: Folded<'a>,
    /// The constant, one word per limb.
    pub constants: &'a [u64],
    /// The matrix.
    pub w: Sparse<'a>,
}

/// While rows are bound, a product sum-check over `w` and `w G`; then the square of one row.
pub(super) struct Gram {
    field: Extension,
    rows: Instance<Product, 2>,
    /// `[2, n]`
    lambda: Vec<u64>,
    /// Empty once they are combined.
    x: Tiles,
    line: Option<Instance<Polynomial, 1>>,
}

impl Gram {
    pub(super) fn new(
        field: Extension,
        limb: usize,
        omega: &[u64],
        lambda: &[u64],
        LowRank { rows, constants, w }: LowRank<'_>,
        columns: usize,
    ) -> Self {
        let (rows, constant) = (rows.limb(&field, limb), constants[limb]);
        let rank = rows.units() + 1;
        let mut x = Tiles::zero(rank, columns);
        let gram = weighted_gram(&field, lambda, &mut x, |piece, unit, [low, high]| {
            if unit < rows.units() {
                rows.write(unit, piece, [low, high]);
            } else {
                low.fill(constant);
            }
        });
        let dense = densify(&field, w, rank);
        let products = times_gram(&field, w, &gram, rank);
        let ones = [vec![1; rank], vec![0; rank]].concat();
        let factors = [products, dense].map(|words| Table::new(&words));
        let mut instance = Self {
            field,
            rows: Instance::new(field, Product, omega, &ones, factors, rank),
            lambda: lambda.to_vec(),
            x,
            line: None,
        };
        instance.prepare_line();
        instance
    }

    /// Once the rows are bound: the row `w x` that is left.
    fn prepare_line(&mut self) {
        if self.rows.rows_are_bound() {
            let x = std::mem::take(&mut self.x);
            let w = self.rows.factor(1).piece(0..x.rank()).concat();
            self.line = Some(Instance::new(
                self.field,
                Polynomial::square(&self.field),
                &self.rows.omega(),
                &std::mem::take(&mut self.lambda),
                [Table::new(&x.combine(&self.field, &w))],
                x.columns(),
            ));
        }
    }
}

impl Prover for Gram {
    fn points(&self) -> usize {
        3
    }

    fn message(&self) -> Values {
        self.line
            .as_ref()
            .map_or_else(|| self.rows.message(), Prover::message)
    }

    fn bind(&mut self, x: Element) {
        if let Some(line) = &mut self.line {
            line.bind(x);
        } else {
            self.rows.bind(x);
            self.prepare_line();
        }
    }

    fn finals(&self) -> Vec<Element> {
        self.line.as_ref().map_or_else(Vec::new, Prover::finals)
    }
}

/// `[2, k, d]`: the matrix as elements.
fn densify(field: &Extension, w: Sparse<'_>, rank: usize) -> Vec<u64> {
    let rows = w.indptr.len() - 1;
    let mut out = vec![0; 2 * rows * rank];
    for (k, range) in w.indptr.windows(2).enumerate() {
        for entry in range[0]..range[1] {
            let word = &mut out[k * rank + w.columns[entry]];
            let value = field.modulus().reduce_i64(i64::from(w.values[entry]));
            *word = field.modulus().add(*word, value);
        }
    }
    out
}

/// `w G`: `[2, k, d]`.
fn times_gram(field: &Extension, w: Sparse<'_>, gram: &[u64], rank: usize) -> Vec<u64> {
    let rows = w.indptr.len() - 1;
    let mut out = vec![0; 2 * rows * rank];
    if out.is_empty() {
        return out;
    }
    let (out_low, out_high) = out.split_at_mut(rows * rank);
    let modulus = field.modulus();
    for (out, gram) in [out_low, out_high].into_iter().zip(halves(gram)) {
        out.par_chunks_mut(rank)
            .with_min_len(ROWS)
            .enumerate()
            .for_each(|(k, out)| {
                let mut sums = vec![0_u128; rank];
                let range = w.indptr[k]..w.indptr[k + 1];
                let entries: Vec<(usize, u64)> = w.columns[range.clone()]
                    .iter()
                    .zip(&w.values[range])
                    .map(|(&column, &value)| (column, modulus.reduce_i64(i64::from(value))))
                    .collect();
                for entries in entries.chunks(MAX_LAZY_PRODUCTS - 1) {
                    for &(column, value) in entries {
                        for (sum, &word) in sums.iter_mut().zip(&gram[column * rank..][..rank]) {
                            *sum += u128::from(value) * u128::from(word);
                        }
                    }
                    // One product's worth of room is kept for the reduced sum itself.
                    for sum in &mut sums {
                        *sum = u128::from(modulus.reduce(*sum));
                    }
                }
                for (word, sum) in out.iter_mut().zip(sums) {
                    *word = low(sum);
                }
            });
    }
    out
}
