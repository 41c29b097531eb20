//! Inner products of words with vector units, which multiply 32 bits at most.
//!
//! A word is split into its [`LOW_BITS`] low bits and the rest, at most 31 bits; an inner product
//! is three sums: of low by low halves, of the mixed ones, of high by high halves. Each takes
//! several products in a 64-bit lane before it must be split itself.

use crate::lanes::{HALF_BITS, LANES, Lanes, Vectors};
use crate::modulus::Modulus;

/// Where words are split.
const LOW_BITS: u32 = 30;

/// Products of two words that a 64-bit lane takes before it is split: the sum of the two mixed ones
/// is below `2^62`, and below `2^61` for words of 60 bits.
const LAZY_PRODUCTS: usize = 4;
const LAZY_SHORT_PRODUCTS: usize = 8;
const SHORT_BITS: u32 = 60;

/// The halves of a word in the halves of a `u64`, ready for the multiplier.
#[inline(always)]
pub(crate) const fn pack(word: u64) -> u64 {
    (word >> LOW_BITS) << HALF_BITS | word & ((1 << LOW_BITS) - 1)
}

/// One row of words, packed and filled up with zeros to whole vectors.
#[inline(always)]
pub(crate) fn pack_vectors(words: &[u64]) -> impl Iterator<Item = Lanes> {
    words.chunks(LANES).map(
        #[inline(always)]
        |chunk| {
            let mut lanes = [0; LANES];
            for (packed, &word) in lanes.iter_mut().zip(chunk) {
                *packed = pack(word);
            }
            lanes
        },
    )
}

/// The three sums of some inner products, their halves apart: room for `2^32` terms.
#[derive(Clone, Copy)]
pub(crate) struct Sums<V: Vectors>([[V::Words; 2]; 3]);

impl<V: Vectors> Sums<V> {
    #[inline(always)]
    pub(crate) fn zero(simd: V) -> Self {
        Self([[simd.splat(0); 2]; 3])
    }

    /// Adds products of packed words, as many as a lane takes.
    #[inline(always)]
    pub(crate) fn add_products(
        &mut self,
        simd: V,
        pairs: impl Iterator<Item = (V::Words, V::Words)>,
    ) {
        let [mut low, mut mixed, mut high] = [simd.splat(0); 3];
        for (a, b) in pairs {
            let (a_high, b_high) = (simd.high_half(a), simd.high_half(b));
            low = simd.add(low, simd.multiply_low_halves(a, b));
            mixed = simd.add(mixed, simd.multiply_low_halves(a, b_high));
            mixed = simd.add(mixed, simd.multiply_low_halves(a_high, b));
            high = simd.add(high, simd.multiply_low_halves(a_high, b_high));
        }
        for ([low, high], sum) in self.0.iter_mut().zip([low, mixed, high]) {
            *low = simd.add(*low, simd.low_half(sum));
            *high = simd.add(*high, simd.high_half(sum));
        }
    }

    /// The sum over the lanes.
    #[inline(always)]
    pub(crate) fn reduce(&self, simd: V, modulus: &Modulus) -> u64 {
        let mut total = 0;
        // Three words below 2^61, the last one shifted by 60 bits.
        for (halves, shift) in self.0.iter().zip([0, LOW_BITS, 2 * LOW_BITS]) {
            let [low, high] = [simd.split(halves[0]), simd.split(halves[1])];
            let mut sum = 0_u128;
            for lane in 0..LANES {
                sum += u128::from(low[lane]) + (u128::from(high[lane]) << HALF_BITS);
            }
            total += u128::from(modulus.reduce(sum)) << shift;
        }
        modulus.reduce(total)
    }
}

/// Inner products of one packed row with `J` others, the vectors of which alternate.
#[inline(always)]
pub(crate) fn inner_products<V: Vectors, const J: usize>(
    simd: V,
    modulus: &Modulus,
    a: &[Lanes],
    b: &[[Lanes; J]],
) -> [u64; J] {
    let mut sums = [Sums::zero(simd); J];
    if modulus.bits() <= SHORT_BITS {
        add_rows::<V, J, LAZY_SHORT_PRODUCTS>(simd, &mut sums, a, b);
    } else {
        add_rows::<V, J, LAZY_PRODUCTS>(simd, &mut sums, a, b);
    }
    let mut words = [0; J];
    for (word, sums) in words.iter_mut().zip(&sums) {
        *word = sums.reduce(simd, modulus);
    }
    words
}

#[inline(always)]
fn add_rows<V: Vectors, const J: usize, const LAZY: usize>(
    simd: V,
    sums: &mut [Sums<V>; J],
    a: &[Lanes],
    b: &[[Lanes; J]],
) {
    let (a_blocks, a_rest) = a.as_chunks::<LAZY>();
    let (b_blocks, b_rest) = b.as_chunks::<LAZY>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        add_block(simd, sums, a, b);
    }
    add_block(simd, sums, a_rest, b_rest);
}

#[inline(always)]
fn add_block<V: Vectors, const J: usize>(
    simd: V,
    sums: &mut [Sums<V>; J],
    a: &[Lanes],
    b: &[[Lanes; J]],
) {
    for (j, sums) in sums.iter_mut().enumerate() {
        sums.add_products(
            simd,
            a.iter().zip(b).map(
                #[inline(always)]
                |(a, b)| (simd.join(*a), simd.join(b[j])),
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Portable;

    #[test]
    fn extreme_words_do_not_overflow() {
        for q in [
            2_305_843_009_213_693_951,
            1_152_921_504_606_830_593,
            1_125_899_865_948_161,
        ] {
            let modulus = Modulus::new(q).expect("prime");
            for word in [q - 1, q - 2, (1 << LOW_BITS) - 1, q >> LOW_BITS << LOW_BITS] {
                for m in [1, 3, 4, 16, 63, 64, 65, 5000] {
                    let row: Vec<Lanes> = pack_vectors(&vec![word; m]).collect();
                    let pairs: Vec<[Lanes; 2]> = row.iter().map(|&lanes| [lanes; 2]).collect();
                    let found = inner_products(Portable, &modulus, &row, &pairs);
                    let wanted = modulus.mul(modulus.mul(word, word), m as u64);
                    assert_eq!(found, [wanted; 2], "{q} {word} {m}");
                }
            }
        }
    }
}
