//! Dense products over `E`, as products over the prime field.

use rayon::prelude::*;

use crate::extension::batch::from_karatsuba;
use crate::extension::{Extension, halves};
use crate::matrix;

/// `sum_r weights[r] words[r]` for rows of words: `words` is `[r, n]`, `weights` `[2, r]`, the result
/// `[2, n]`.
#[must_use]
pub fn combine_words(field: &Extension, words: &[u64], weights: &[u64], n: usize) -> Vec<u64> {
    // Words have no second component: the components of the weights combine them separately.
    matrix::combine_rows(field.modulus(), words, weights, (2, weights.len() / 2, n))
}

/// `<words[r], b>` for rows of words: `words` is `[r, n]`, `b` `[2, n]`, the result `[2, r]`.
#[must_use]
pub fn inner_words(field: &Extension, words: &[u64], b: &[u64], rows: usize) -> Vec<u64> {
    matrix::gemm(field.modulus(), b, words, (2, rows, b.len() / 2))
}

/// All inner products of the rows of `a` with those of `b`, per limb: `[limb, 2, r, n]` and
/// `[limb, 2, s, n]` to `[limb, 2, r, s]`; `shape` is `(r, s, n)`.
///
/// Karatsuba over matrices: three products instead of four.
#[must_use]
pub fn cross_gram(
    fields: &[Extension],
    a: &[u64],
    b: &[u64],
    shape @ (a_rows, b_rows, n): (usize, usize, usize),
) -> Vec<u64> {
    concat_limbs(fields, |limb, field| {
        let modulus = field.modulus();
        let [a0, a1] = halves(limb_part(a, limb, 2 * a_rows * n));
        let [b0, b1] = halves(limb_part(b, limb, 2 * b_rows * n));
        let low = matrix::gemm(modulus, a0, b0, shape);
        let high = matrix::gemm(modulus, a1, b1, shape);
        let (a, b) = (modulus.add_words(a0, a1), modulus.add_words(b0, b1));
        let sums = matrix::gemm(modulus, &a, &b, shape);
        let mut out = vec![0; 2 * low.len()];
        let (out_low, out_high) = out.split_at_mut(low.len());
        for i in 0..low.len() {
            [out_low[i], out_high[i]] = from_karatsuba(field, [low[i], high[i], sums[i]]);
        }
        out
    })
}

/// `sum_d weights[d] rows[d]`, per limb: `[limb, 2, d]` and `[limb, 2, d, n]` to `[limb, 2, n]`;
/// `shape` is `(d, n)`.
#[must_use]
pub fn combine_rows(
    fields: &[Extension],
    weights: &[u64],
    rows: &[u64],
    shape @ (count, n): (usize, usize),
) -> Vec<u64> {
    concat_limbs(fields, |limb, field| {
        let weights = limb_part(weights, limb, 2 * count);
        combine_rows_of_limb(field, weights, limb_part(rows, limb, 2 * count * n), shape)
    })
}

/// [`combine_rows`] of one limb.
///
/// The rows of both components, taken as `2d` rows of words, are combined twice: with
/// `(w_0, nu w_1)` for the first component of the result, with `(w_1, w_0)` for the second.
pub(crate) fn combine_rows_of_limb(
    field: &Extension,
    weights: &[u64],
    rows: &[u64],
    (count, n): (usize, usize),
) -> Vec<u64> {
    let [low, high] = halves(weights);
    let twisted = field.modulus().scale_words(high, field.nonresidue());
    let weights = [low, &twisted, high, low].concat();
    matrix::combine_rows(field.modulus(), rows, &weights, (2, 2 * count, n))
}

fn limb_part(words: &[u64], limb: usize, length: usize) -> &[u64] {
    &words[limb * length..][..length]
}

fn concat_limbs(
    fields: &[Extension],
    limb: impl Fn(usize, &Extension) -> Vec<u64> + Sync,
) -> Vec<u64> {
    let parts: Vec<Vec<u64>> = fields
        .par_iter()
        .enumerate()
        .map(|(index, field)| limb(index, field))
        .collect();
    parts.concat()
}
