//! Ciphertext words at a point of `E`: `[unit, poly, limb, n]`, one prime per limb.
//!
//! A ciphertext of `t` polynomials `c_p` is `sum_p c_p S^p`; a sum-check runs on its value at a
//! random `S = sigma` of `E`, which turns `t` rows of words into one row of elements.

use rayon::prelude::*;

use crate::extension::montgomery::{Montgomery, keep_scalar};
use crate::extension::{Element, Extension, halves};
use crate::linear::Shape;
use crate::vectorised;

/// Words of a row visited together: they stay in the first cache.
const BLOCK: usize = 1 << 10;

/// `sum_p sigma^p words[u, p]`, per limb: `words` is `[unit, poly, limb, n]`, the result
/// `[limb, 2, unit, n]`.
#[must_use]
pub fn sigma_fold(
    words: &[u64],
    sigmas: &[Element],
    fields: &[Extension],
    shape: Shape,
) -> Vec<u64> {
    let plane = shape.count * shape.n;
    let mut out = vec![0; 2 * shape.limbs * plane];
    if plane == 0 || shape.polys == 0 {
        return out;
    }
    out.par_chunks_exact_mut(2 * plane)
        .zip(fields.par_iter().zip(sigmas))
        .enumerate()
        .for_each(|(limb, (out, (field, &sigma)))| {
            let powers: Vec<Element> = powers(field, sigma, shape.polys)
                .map(|power| power.map(|word| field.montgomery.enter(word)))
                .collect();
            let (low, high) = out.split_at_mut(plane);
            low.par_chunks_exact_mut(shape.n)
                .zip(high.par_chunks_exact_mut(shape.n))
                .enumerate()
                .for_each(|(unit, (low, high))| {
                    let rows: Vec<&[u64]> = (0..shape.polys)
                        .map(|poly| row(words, shape, [unit, poly, limb]))
                        .collect();
                    low.copy_from_slice(rows[0]);
                    for (component, out) in [low, high].into_iter().enumerate() {
                        for (rows, powers) in rows[1..].chunks(2).zip(powers[1..].chunks(2)) {
                            vectorised(
                                #[inline(always)]
                                || match (rows, powers) {
                                    (&[a, b], [x, y]) => {
                                        let weights = [x[component], y[component]];
                                        add_rows(&field.montgomery, [a, b], weights, out);
                                    }
                                    (&[a], [x]) => {
                                        add_rows(&field.montgomery, [a], [x[component]], out);
                                    }
                                    _ => unreachable!("chunks of one or two"),
                                },
                            );
                        }
                    }
                });
        });
    out
}

/// `out += sum_r weights[r] rows[r]`, weights entered.
#[inline(always)]
fn add_rows<const R: usize>(
    montgomery: &Montgomery,
    rows: [&[u64]; R],
    weights: [u64; R],
    out: &mut [u64],
) {
    let rows = rows.map(|row| &row[..out.len()]);
    for (i, word) in out.iter_mut().enumerate() {
        keep_scalar();
        let mut sum = 0_u128;
        for (row, weight) in rows.iter().zip(weights) {
            sum += u128::from(row[i]) * u128::from(weight);
        }
        *word = montgomery.modulus().add(*word, montgomery.reduce(sum));
    }
}

/// `sum_p sigma^p <words[u, p], weights>`, per limb: `words` is `[unit, poly, limb, n]`, `weights`
/// `[limb, 2, n]`, the result `[limb, 2, unit]`.
#[must_use]
pub fn evaluate_folded(
    words: &[u64],
    weights: &[u64],
    sigmas: &[Element],
    fields: &[Extension],
    shape: Shape,
) -> Vec<u64> {
    let mut out = vec![0; 2 * shape.limbs * shape.count];
    if out.is_empty() || shape.n == 0 {
        return out;
    }
    out.par_chunks_exact_mut(2 * shape.count)
        .zip(weights.par_chunks_exact(2 * shape.n))
        .zip(fields.par_iter().zip(sigmas))
        .enumerate()
        .for_each(|(limb, ((out, weights), (field, &sigma)))| {
            let weights = halves(weights);
            let (low, high) = out.split_at_mut(shape.count);
            low.par_iter_mut()
                .zip(high)
                .enumerate()
                .for_each(|(unit, (low, high))| {
                    let mut sum = [0; 2];
                    for (poly, power) in powers(field, sigma, shape.polys).enumerate() {
                        let row = row(words, shape, [unit, poly, limb]);
                        let inner = vectorised(
                            #[inline(always)]
                            || inner_with_row(field, row, weights),
                        );
                        sum = field.add(sum, field.mul(inner, power));
                    }
                    [*low, *high] = sum;
                });
        });
    out
}

/// `sum_n row[n] weights[n]`.
#[inline(always)]
fn inner_with_row(field: &Extension, row: &[u64], [low, high]: [&[u64]; 2]) -> Element {
    let mut sum = [0; 2];
    for ((row, low), high) in row
        .chunks(BLOCK)
        .zip(low.chunks(BLOCK))
        .zip(high.chunks(BLOCK))
    {
        let modulus = field.modulus();
        sum = field.add(
            sum,
            [modulus.dot_serial(row, low), modulus.dot_serial(row, high)],
        );
    }
    sum
}

/// `1, sigma, sigma^2, ...`.
fn powers(field: &Extension, sigma: Element, count: usize) -> impl Iterator<Item = Element> {
    std::iter::successors(Some([1, 0]), move |&power| Some(field.mul(power, sigma))).take(count)
}

/// One row of words.
fn row(words: &[u64], shape: Shape, [unit, poly, limb]: [usize; 3]) -> &[u64] {
    let start = ((unit * shape.polys + poly) * shape.limbs + limb) * shape.n;
    &words[start..][..shape.n]
}
