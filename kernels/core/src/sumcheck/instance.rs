//! The sum-check of one limb, its factors stored in full.

use std::ops::Range;

use rayon::prelude::*;

use crate::extension::{Element, Extension, Row};
use crate::sumcheck::Prover;
use crate::sumcheck::summand::{MAX_POINTS, Summand, Values, Weights, extrapolate};
use crate::sumcheck::table::Table;
use crate::vectorised;

/// Columns handled by one task.
const CHUNK: usize = 1 << 10;

/// What stands for rows beyond the last.
static ZEROS: [u64; CHUNK] = [0; CHUNK];

/// The tables, over the bits that are not bound yet.
pub(super) struct Instance<S, const F: usize> {
    field: Extension,
    summand: S,
    /// Per row.
    omega: Table,
    /// Per column, times `2^64`.
    lambda: Table,
    /// `nu` times the second component of `lambda`; of no use once the rows are bound.
    twisted: Vec<u64>,
    /// Row major.
    factors: [Table; F],
    /// A power of two; the tables may have fewer rows.
    rows: usize,
    columns: usize,
}

impl<S: Summand<F>, const F: usize> Instance<S, F> {
    pub(super) fn new(
        field: Extension,
        summand: S,
        omega: &[u64],
        lambda: &[u64],
        factors: [Table; F],
        columns: usize,
    ) -> Self {
        let lambda = Table::new(lambda).map(|word| field.montgomery.enter(word));
        let [_, high] = lambda.row();
        let mut instance = Self {
            field,
            summand,
            omega: Table::new(omega),
            twisted: field.modulus().scale_words(high, field.nonresidue()),
            lambda,
            factors,
            rows: (omega.len() / 2).next_power_of_two(),
            columns,
        };
        instance.prepare_columns();
        instance
    }

    /// Once the rows are bound: fills up the columns.
    fn prepare_columns(&mut self) {
        if self.rows == 1 {
            self.columns = self.columns.next_power_of_two();
            for table in self.factors.iter_mut().chain([&mut self.lambda]) {
                table.extend(self.columns);
            }
        }
    }

    /// Whether only columns are left.
    pub(super) fn rows_are_bound(&self) -> bool {
        self.rows == 1
    }

    /// `omega` at the point of the challenges, once the rows are bound.
    pub(super) fn omega(&self) -> Element {
        self.omega.entry(0)
    }

    pub(super) fn factor(&self, factor: usize) -> &Table {
        &self.factors[factor]
    }

    /// Sums the values that `work` finds on pieces of `length` indices.
    fn sum_chunks(&self, length: usize, work: impl Fn(Range<usize>) -> Values + Sync) -> Values {
        (0..length.div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let part = chunk * CHUNK..length.min((chunk + 1) * CHUNK);
                vectorised(
                    #[inline(always)]
                    || work(part),
                )
            })
            .reduce(
                || [[0; 2]; MAX_POINTS],
                |a, b| std::array::from_fn(|point| self.field.add(a[point], b[point])),
            )
    }

    /// Both halves of the rows, on some columns.
    #[inline(always)]
    fn between_rows(&self, columns: &Range<usize>) -> Values {
        let field = &self.field;
        let half = self.rows / 2;
        let weights = Weights {
            row: self.lambda.piece(columns.clone()),
            twisted: &self.twisted[columns.clone()],
        };
        let mut sums = [[0; 2]; MAX_POINTS];
        for k in 0..half {
            let [low, high] = [k, k + half].map(
                #[inline(always)]
                |row| self.rows_of_factors(row, columns),
            );
            let values = self.summand.between_rows(field, weights, low, high);
            let omega = extrapolate(field, self.omega.entry(k), self.omega.entry(k + half));
            for (sum, (value, omega)) in sums.iter_mut().zip(values.into_iter().zip(omega)) {
                *sum = field.add(*sum, field.mul(value, omega));
            }
        }
        sums
    }

    /// A piece of one row of each factor.
    #[inline(always)]
    fn rows_of_factors(&self, row: usize, columns: &Range<usize>) -> [Row<'_>; F] {
        let start = row * self.columns;
        self.factors.each_ref().map(
            #[inline(always)]
            |table| {
                if start < table.len() {
                    table.piece(start + columns.start..start + columns.end)
                } else {
                    [&ZEROS[..columns.len()]; 2]
                }
            },
        )
    }

    /// Both halves of the columns of the one row that is left, on a piece of the first half.
    #[inline(always)]
    fn between_columns(&self, low: &Range<usize>) -> Values {
        let half = self.columns / 2;
        let pieces = [low.clone(), half + low.start..half + low.end];
        let weights = pieces
            .each_ref()
            .map(|piece| self.lambda.piece(piece.clone()));
        let [low, high] = pieces.map(
            #[inline(always)]
            |piece| {
                self.factors
                    .each_ref()
                    .map(|table| table.piece(piece.clone()))
            },
        );
        self.summand.between_halves(&self.field, weights, low, high)
    }
}

impl<S: Summand<F>, const F: usize> Prover for Instance<S, F> {
    fn points(&self) -> usize {
        self.summand.points()
    }

    fn message(&self) -> Values {
        if self.rows_are_bound() {
            let sums = self.sum_chunks(
                self.columns / 2,
                #[inline(always)]
                |part| self.between_columns(&part),
            );
            let omega = self.omega();
            sums.map(|sum| self.field.mul(sum, omega))
        } else {
            self.sum_chunks(
                self.columns,
                #[inline(always)]
                |part| self.between_rows(&part),
            )
        }
    }

    fn bind(&mut self, x: Element) {
        if self.rows_are_bound() {
            self.columns /= 2;
            for table in self.factors.iter_mut().chain([&mut self.lambda]) {
                table.bind(&self.field, self.columns, x);
            }
        } else {
            self.rows /= 2;
            self.omega.bind(&self.field, self.rows, x);
            for table in &mut self.factors {
                table.bind(&self.field, self.rows * self.columns, x);
            }
            self.prepare_columns();
        }
    }

    fn finals(&self) -> Vec<Element> {
        std::iter::once(self.omega())
            .chain(self.factors.iter().map(|table| table.entry(0)))
            .collect()
    }
}
