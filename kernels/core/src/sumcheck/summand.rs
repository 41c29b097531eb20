//! What is summed: `f` of one or two factors, and how a round polynomial comes from it.

use crate::extension::batch::{BLOCK, Block, InnerProduct, block};
use crate::extension::montgomery::keep_scalar;
use crate::extension::{Element, Extension, Factor, Row};

/// Values of a round polynomial of degree 5, the largest.
pub(super) const MAX_POINTS: usize = 5;

/// A round polynomial at `0, 2, 3, ...`; [`Summand::points`] entries count.
pub(super) type Values = [Element; MAX_POINTS];

/// A piece of `lambda`, times `2^64`, and of `nu` times its second component.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    pub(super) row: Row<'a>,
    pub(super) twisted: &'a [u64],
}

/// `f`, a polynomial in `F` factors.
pub(super) trait Summand<const F: usize>: Send + Sync {
    /// The degree of the round polynomials, and so the number of values in a message.
    fn points(&self) -> usize;

    /// `f / 2^64`; all rows have the same length.
    fn evaluate(&self, field: &Extension, factors: [Row<'_>; F], out: [&mut [u64]; 2]);

    /// `sum_n lambda(n) f` at `0, 2, 3, ...` between two rows of each factor.
    fn between_rows(
        &self,
        field: &Extension,
        weights: Weights<'_>,
        low: [Row<'_>; F],
        high: [Row<'_>; F],
    ) -> Values;

    /// `sum_n lambda f` at `0, 2, 3, ...` between the halves of all tables.
    #[inline(always)]
    fn between_halves(
        &self,
        field: &Extension,
        [weights_low, weights_high]: [Row<'_>; 2],
        low: [Row<'_>; F],
        high: [Row<'_>; F],
    ) -> Values {
        let mut sums = [InnerProduct::default(); MAX_POINTS];
        let mut lines: [Line<'_>; F] = std::array::from_fn(|_| Line::default());
        let mut weights = [Line::default()];
        let mut out = Block::default();
        for index in 0..weights_low[0].len().div_ceil(BLOCK) {
            start(field, &mut weights, [weights_low], [weights_high], index);
            start(field, &mut lines, low, high, index);
            for (point, sum) in sums.iter_mut().enumerate().take(self.points()) {
                let [weights] = advance(field, &mut weights, point);
                let length = weights[0].len();
                let factors = advance(field, &mut lines, point);
                self.evaluate(field, factors, out.row_mut(length));
                sum.add(weights, out.row(length));
            }
        }
        values(field, &sums)
    }
}

/// [`Summand::between_rows`] of any polynomial, point by point.
#[inline(always)]
pub(super) fn between_rows<const F: usize>(
    summand: &impl Summand<F>,
    field: &Extension,
    weights: Weights<'_>,
    low: [Row<'_>; F],
    high: [Row<'_>; F],
) -> Values {
    let mut sums = [InnerProduct::default(); MAX_POINTS];
    let mut lines: [Line<'_>; F] = std::array::from_fn(|_| Line::default());
    let mut out = Block::default();
    for index in 0..weights.twisted.len().div_ceil(BLOCK) {
        let weights = block(weights.row, index);
        let length = weights[0].len();
        start(field, &mut lines, low, high, index);
        for (point, sum) in sums.iter_mut().enumerate().take(summand.points()) {
            let factors = advance(field, &mut lines, point);
            summand.evaluate(field, factors, out.row_mut(length));
            sum.add(weights, out.row(length));
        }
    }
    values(field, &sums)
}

#[inline(always)]
fn values(field: &Extension, sums: &[InnerProduct; MAX_POINTS]) -> Values {
    let mut values = [[0; 2]; MAX_POINTS];
    for (value, sum) in values.iter_mut().zip(sums) {
        *value = sum.value(field);
    }
    values
}

/// Blocks of lines through values at 0 and 1, asked at `0, 2, 3, ...` in this order.
#[derive(Default)]
struct Line<'a> {
    zero: Row<'a>,
    current: Block,
    step: Block,
}

/// Lines through the block number `index` of rows.
#[inline(always)]
fn start<'a, const F: usize>(
    field: &Extension,
    lines: &mut [Line<'a>; F],
    zeros: [Row<'a>; F],
    ones: [Row<'a>; F],
    index: usize,
) {
    for (line, (zero, one)) in lines.iter_mut().zip(zeros.into_iter().zip(ones)) {
        line.zero = block(zero, index);
        let one = block(one, index);
        let length = one[0].len();
        let steps = line.step.row_mut(length);
        let currents = line.current.row_mut(length);
        for component in 0..2 {
            let (zero, one) = (line.zero[component], one[component]);
            for i in 0..length {
                steps[component][i] = field.modulus().sub(one[i], zero[i]);
            }
            currents[component].copy_from_slice(one);
        }
    }
}

/// The values of the lines at the next point.
#[inline(always)]
fn advance<'a, const F: usize>(
    field: &Extension,
    lines: &'a mut [Line<'_>; F],
    point: usize,
) -> [Row<'a>; F] {
    if point > 0 {
        for line in lines.iter_mut() {
            let length = line.zero[0].len();
            let steps = line.step.row(length);
            for (current, step) in line.current.row_mut(length).into_iter().zip(steps) {
                for (current, &step) in current.iter_mut().zip(step) {
                    *current = field.modulus().add(*current, step);
                }
            }
        }
    }
    std::array::from_fn(|factor| {
        let line = &lines[factor];
        if point == 0 {
            line.zero
        } else {
            line.current.row(line.zero[0].len())
        }
    })
}

/// The values of a line through two elements at `0, 2, 3, ...`.
#[inline(always)]
pub(super) fn extrapolate(field: &Extension, zero: Element, one: Element) -> Values {
    let step = field.sub(one, zero);
    let mut values = [zero; MAX_POINTS];
    let mut current = one;
    for value in &mut values[1..] {
        current = field.add(current, step);
        *value = current;
    }
    values
}

/// `lambda a` for the block number `index` of weights and the elements `a` of that block.
#[inline(always)]
pub(super) fn weigh(
    field: &Extension,
    weights: Weights<'_>,
    index: usize,
    [low, high]: Row<'_>,
    out: &mut Block,
) {
    let length = low.len();
    let high = &high[..length];
    let [weight_low, weight_high] = block(weights.row, index);
    let (weight_low, weight_high) = (&weight_low[..length], &weight_high[..length]);
    let twisted = &weights.twisted[index * BLOCK..][..length];
    let [out_low, out_high] = out.row_mut(length);
    for i in 0..length {
        let factor = Factor::from_entered(weight_low[i], weight_high[i], twisted[i]);
        keep_scalar();
        [out_low[i], out_high[i]] = factor.mul(&field.montgomery, [low[i], high[i]]);
    }
}

/// `(1 - t)^2 a + t (1 - t) b + t^2 c` at `0, 2, 3`.
#[inline(always)]
pub(super) fn quadratic(field: &Extension, [a, b, c]: [Element; 3]) -> Values {
    let mut values = [a; MAX_POINTS];
    let times = |element, factor| field.mul_word(element, factor);
    values[1] = field.add(field.sub(a, times(b, 2)), times(c, 4));
    values[2] = field.add(field.sub(times(a, 4), times(b, 6)), times(c, 9));
    values
}
