//! Lazily reduced inner products over `E`, and blocks of elements that stay in the first cache.
//!
//! Karatsuba: three sums of products of words are enough, `sum a_0 b_0`, `sum a_1 b_1` and
//! `sum (a_0 + a_1) (b_0 + b_1)`; the reductions wait until the end.

use crate::extension::{Element, Extension, Row};
use crate::modulus::MAX_LAZY_PRODUCTS;

/// Terms summed in a `u128`: a product of two sums of words is below `4 q^2`.
const BATCH: usize = MAX_LAZY_PRODUCTS / 4;

/// Elements computed together.
pub(crate) const BLOCK: usize = 1 << 7;

/// Room for a block of elements.
#[derive(Clone, Copy)]
pub(crate) struct Block([[u64; BLOCK]; 2]);

impl Default for Block {
    fn default() -> Self {
        Self([[0; BLOCK]; 2])
    }
}

impl Block {
    #[inline(always)]
    pub(crate) fn row(&self, length: usize) -> Row<'_> {
        let [low, high] = &self.0;
        [&low[..length], &high[..length]]
    }

    #[inline(always)]
    pub(crate) fn row_mut(&mut self, length: usize) -> [&mut [u64]; 2] {
        let [low, high] = &mut self.0;
        [&mut low[..length], &mut high[..length]]
    }
}

/// The block number `index` of a row; the last one may be shorter.
#[inline(always)]
pub(crate) fn block([low, high]: Row<'_>, index: usize) -> Row<'_> {
    let range = index * BLOCK..low.len().min((index + 1) * BLOCK);
    [&low[range.clone()], &high[range]]
}

/// A sum of up to `2^64` values of 128 bits.
#[derive(Clone, Copy, Debug, Default)]
struct WideSum {
    low: u128,
    carries: u64,
}

impl WideSum {
    #[inline(always)]
    fn add(&mut self, x: u128) {
        let (low, carry) = self.low.overflowing_add(x);
        self.low = low;
        self.carries += u64::from(carry);
    }

    #[inline(always)]
    fn value(&self, field: &Extension) -> u64 {
        let modulus = field.modulus();
        let carries = u128::from(modulus.reduce_word(self.carries));
        let high = carries * u128::from(field.montgomery.radix_squared());
        modulus.add(modulus.reduce(self.low), modulus.reduce_product(high))
    }
}

/// `sum_i a_i b_i`, not yet reduced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InnerProduct([WideSum; 3]);

impl InnerProduct {
    /// Adds the products of two rows of equal lengths.
    #[inline(always)]
    pub(crate) fn add(&mut self, [a0, a1]: Row<'_>, [b0, b1]: Row<'_>) {
        let a = a0.chunks(BATCH).zip(a1.chunks(BATCH));
        let b = b0.chunks(BATCH).zip(b1.chunks(BATCH));
        for ((a0, a1), (b0, b1)) in a.zip(b) {
            let [low, high, cross] = &mut self.0;
            low.add(products(a0.iter().copied(), b0.iter().copied()));
            high.add(products(a1.iter().copied(), b1.iter().copied()));
            let a = a0.iter().zip(a1).map(|(a0, a1)| a0 + a1);
            let b = b0.iter().zip(b1).map(|(b0, b1)| b0 + b1);
            cross.add(products(a, b));
        }
    }

    #[inline(always)]
    pub(crate) fn value(&self, field: &Extension) -> Element {
        let [low, high, cross] = &self.0;
        let sums = [low.value(field), high.value(field), cross.value(field)];
        from_karatsuba(field, sums)
    }
}

/// The sum of at most [`BATCH`] products. One such sum at a time leaves registers to the products.
#[inline(always)]
fn products(a: impl Iterator<Item = u64>, b: impl Iterator<Item = u64>) -> u128 {
    let mut sum = 0;
    for (a, b) in a.zip(b) {
        sum += u128::from(a) * u128::from(b);
    }
    sum
}

/// The element of the three sums.
#[inline(always)]
pub(crate) fn from_karatsuba(field: &Extension, [low, high, cross]: [u64; 3]) -> Element {
    let modulus = field.modulus();
    [
        modulus.multiply_add(low, high, field.nonresidue()),
        modulus.sub(modulus.sub(cross, low), high),
    ]
}
