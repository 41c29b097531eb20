//! `f(h) = sum_i c_i h^i` of degree at most 4; degree 2 has a way of its own.

use crate::extension::batch::{BLOCK, Block, InnerProduct, block};
use crate::extension::montgomery::{Montgomery, keep_scalar};
use crate::extension::{Element, Extension, Row, widen};
use crate::sumcheck::summand::{
    MAX_POINTS, Summand, Values, Weights, between_rows, extrapolate, quadratic, weigh,
};

/// The largest degree.
pub(super) const MAX_DEGREE: usize = MAX_POINTS - 1;

/// A polynomial in one factor.
pub(super) struct Polynomial {
    /// `c_0, ..., c_4`
    coefficients: [u64; MAX_DEGREE + 1],
    /// `c_0`, `c_1`, `2^128 c_2`, `2^128 c_3` and `2^192 c_4`: then `f / 2^64` needs no reduction
    /// beyond those of its products.
    scaled: [u64; MAX_DEGREE + 1],
    degree: usize,
}

impl Polynomial {
    /// From `c_0, ..., c_d`, `1 <= d <=` [`MAX_DEGREE`].
    pub(super) fn new(field: &Extension, given: &[u64]) -> Self {
        let mut coefficients = [0; MAX_DEGREE + 1];
        coefficients[..given.len()].copy_from_slice(given);
        let mut scaled = coefficients;
        for (coefficient, times) in scaled.iter_mut().zip([0, 0, 2, 2, 3]) {
            for _ in 0..times {
                *coefficient = field.montgomery.enter(*coefficient);
            }
        }
        Self {
            coefficients,
            scaled,
            degree: given.len() - 1,
        }
    }

    /// `h^2`
    pub(super) fn square(field: &Extension) -> Self {
        Self::new(field, &[0, 0, 1])
    }

    /// `(c_0 + c_1 h + h^2 (c_2 + c_3 h + c_4 h^2)) / 2^64`.
    #[inline(always)]
    fn value(&self, field: &Extension, h: Element) -> Element {
        let montgomery = &field.montgomery;
        let [c0, c1, c2, c3, c4] = widen(self.scaled);
        let square = widen(field.square_scaled(h));
        let h = widen(h);
        // The inner bracket times 2^64, which the square below lacks.
        let inner = widen([
            montgomery.reduce(c2 + c3 * h[0] + c4 * square[0]),
            montgomery.reduce(c3 * h[1] + c4 * square[1]),
        ]);
        // Up to three products and a word: within the range of the reduction.
        let low = c0 + c1 * h[0] + square[0] * inner[0] + field.twist(square[1] * inner[1]);
        let high = c1 * h[1] + square[0] * inner[1] + square[1] * inner[0];
        [montgomery.reduce(low), montgomery.reduce(high)]
    }

    /// [`Summand::between_rows`] in degree 2: from `<lambda h, h>`, `<lambda h, h'>`,
    /// `<lambda h', h'>` and the sums of `lambda`, `lambda h` and `lambda h'`.
    #[inline(always)]
    fn quadratic_between_rows(
        &self,
        field: &Extension,
        weights: Weights<'_>,
        low: Row<'_>,
        high: Row<'_>,
    ) -> Values {
        let [c0, c1, c2, ..] = self.coefficients;
        let [mut low_low, mut low_high, mut high_high] = [InnerProduct::default(); 3];
        let [mut low_sum, mut high_sum, mut weight_sum] = [ElementSum::default(); 3];
        let [mut weighed_low, mut weighed_high] = [Block::default(); 2];
        for index in 0..weights.twisted.len().div_ceil(BLOCK) {
            let (low, high) = (block(low, index), block(high, index));
            weigh(field, weights, index, low, &mut weighed_low);
            weigh(field, weights, index, high, &mut weighed_high);
            let length = low[0].len();
            low_low.add(weighed_low.row(length), low);
            low_high.add(weighed_low.row(length), high);
            high_high.add(weighed_high.row(length), high);
            if c1 != 0 {
                low_sum.add(weighed_low.row(length));
                high_sum.add(weighed_high.row(length));
            }
            if c0 != 0 {
                weight_sum.add(block(weights.row, index));
            }
        }
        let cross = low_high.value(field);
        let squares = [
            low_low.value(field),
            field.add(cross, cross),
            high_high.value(field),
        ];
        let constant = weight_sum.value_entered(&field.montgomery);
        let linear = extrapolate(field, low_sum.value(field), high_sum.value(field));
        let mut values = quadratic(field, squares);
        for (value, linear) in values.iter_mut().zip(linear) {
            let sum = field.add(field.mul_word(*value, c2), field.mul_word(linear, c1));
            *value = field.add(sum, field.mul_word(constant, c0));
        }
        values
    }
}

impl Summand<1> for Polynomial {
    fn points(&self) -> usize {
        self.degree + 1
    }

    #[inline(always)]
    fn evaluate(&self, field: &Extension, [h]: [Row<'_>; 1], [low, high]: [&mut [u64]; 2]) {
        for ((low, high), (&h0, &h1)) in low.iter_mut().zip(high).zip(h[0].iter().zip(h[1])) {
            keep_scalar();
            [*low, *high] = self.value(field, [h0, h1]);
        }
    }

    #[inline(always)]
    fn between_rows(
        &self,
        field: &Extension,
        weights: Weights<'_>,
        low: [Row<'_>; 1],
        high: [Row<'_>; 1],
    ) -> Values {
        if self.degree == 2 {
            self.quadratic_between_rows(field, weights, low[0], high[0])
        } else {
            between_rows(self, field, weights, low, high)
        }
    }
}

/// A sum of elements, not yet reduced.
#[derive(Clone, Copy, Default)]
struct ElementSum([u128; 2]);

impl ElementSum {
    #[inline(always)]
    fn add(&mut self, row: Row<'_>) {
        for (sum, words) in self.0.iter_mut().zip(row) {
            for &word in words {
                *sum += u128::from(word);
            }
        }
    }

    #[inline(always)]
    fn value(&self, field: &Extension) -> Element {
        let [low, high] = self.0;
        [field.modulus().reduce(low), field.modulus().reduce(high)]
    }

    /// The value of a sum of elements that are times `2^64`.
    #[inline(always)]
    fn value_entered(&self, montgomery: &Montgomery) -> Element {
        // Fewer than 2^64 words: within the range of the reduction.
        let [low, high] = self.0;
        [montgomery.reduce(low), montgomery.reduce(high)]
    }
}
