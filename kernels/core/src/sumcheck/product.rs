//! `f(a, b) = a b`.

use crate::extension::batch::{BLOCK, Block, InnerProduct, block};
use crate::extension::montgomery::keep_scalar;
use crate::extension::{Extension, Row};
use crate::sumcheck::summand::{Summand, Values, Weights, quadratic, weigh};

/// The product of two factors.
pub(super) struct Product;

impl Summand<2> for Product {
    fn points(&self) -> usize {
        3
    }

    #[inline(always)]
    fn evaluate(&self, field: &Extension, [a, b]: [Row<'_>; 2], [low, high]: [&mut [u64]; 2]) {
        let a = a[0].iter().zip(a[1]);
        let b = b[0].iter().zip(b[1]);
        for ((low, high), ((&a0, &a1), (&b0, &b1))) in low.iter_mut().zip(high).zip(a.zip(b)) {
            keep_scalar();
            [*low, *high] = field.mul_scaled([a0, a1], [b0, b1]);
        }
    }

    /// From `<lambda a, b>`, `<lambda a, b'> + <lambda a', b>` and `<lambda a', b'>`.
    #[inline(always)]
    fn between_rows(
        &self,
        field: &Extension,
        weights: Weights<'_>,
        [a_low, b_low]: [Row<'_>; 2],
        [a_high, b_high]: [Row<'_>; 2],
    ) -> Values {
        let [mut low, mut cross, mut high] = [InnerProduct::default(); 3];
        let [mut weighed_low, mut weighed_high] = [Block::default(); 2];
        for index in 0..weights.twisted.len().div_ceil(BLOCK) {
            let (b_low, b_high) = (block(b_low, index), block(b_high, index));
            weigh(field, weights, index, block(a_low, index), &mut weighed_low);
            weigh(
                field,
                weights,
                index,
                block(a_high, index),
                &mut weighed_high,
            );
            let length = b_low[0].len();
            low.add(weighed_low.row(length), b_low);
            cross.add(weighed_low.row(length), b_high);
            cross.add(weighed_high.row(length), b_low);
            high.add(weighed_high.row(length), b_high);
        }
        let sums = [low.value(field), cross.value(field), high.value(field)];
        quadratic(field, sums)
    }
}
