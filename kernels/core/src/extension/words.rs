//! Ciphertext words at a point of `E`: `[unit, poly, limb, n]`, one prime per limb.
//!
//! A ciphertext of `t` polynomials `c_p` is `sum_p c_p S^p`; a sum-check runs on its value at a
//! random `S = sigma` of `E`, which turns `t` rows of words into one row of elements.

use std::ops::Range;

use rayon::prelude::*;

use crate::extension::montgomery::{Montgomery, keep_scalar};
use crate::extension::{Element, Extension, halves};
use crate::lanes::{Lanes, Vectorised, Vectors, dispatch};
use crate::linear::Shape;
use crate::modulus::Modulus;
use crate::packed::{inner_products, pack_vectors};
use crate::vectorised;

/// Ciphertexts at a point of `E` per limb: row `u` of a limb is `sum_p sigma^p words[u, p]`.
#[derive(Clone, Copy, Debug)]
pub struct Folded<'a> {
    /// `[unit, poly, limb, n]`
    pub words: &'a [u64],
    /// The shape of the words.
    pub shape: Shape,
    /// `sigma`, one per limb.
    pub sigmas: &'a [Element],
}

impl<'a> Folded<'a> {
    /// One limb, the field of which is given.
    pub(crate) fn limb(&self, field: &Extension, limb: usize) -> FoldedLimb<'a> {
        FoldedLimb {
            words: self.words,
            shape: self.shape,
            limb,
            montgomery: field.montgomery,
            powers: powers(field, self.sigmas[limb], self.shape.polys)
                .map(|power| power.map(|word| field.montgomery.enter(word)))
                .collect(),
        }
    }
}

/// One limb of ciphertexts at a point.
pub(crate) struct FoldedLimb<'a> {
    words: &'a [u64],
    shape: Shape,
    limb: usize,
    montgomery: Montgomery,
    /// Powers of `sigma`, entered.
    powers: Vec<Element>,
}

impl FoldedLimb<'_> {
    /// The number of rows.
    pub(crate) const fn units(&self) -> usize {
        self.shape.count
    }

    /// A piece of one row; `out` is zero before.
    pub(crate) fn write(&self, unit: usize, columns: &Range<usize>, out: [&mut [u64]; 2]) {
        let rows: Vec<&[u64]> = (0..self.shape.polys)
            .map(|poly| &row(self.words, self.shape, [unit, poly, self.limb])[columns.clone()])
            .collect();
        let Some((first, rows)) = rows.split_first() else {
            return;
        };
        out[0].copy_from_slice(first);
        for (component, out) in out.into_iter().enumerate() {
            for (rows, powers) in rows.chunks(2).zip(self.powers[1..].chunks(2)) {
                vectorised(
                    #[inline(always)]
                    || match (rows, powers) {
                        (&[a, b], [x, y]) => {
                            let weights = [x[component], y[component]];
                            add_rows(&self.montgomery, [a, b], weights, out);
                        }
                        (&[a], [x]) => {
                            add_rows(&self.montgomery, [a], [x[component]], out);
                        }
                        _ => unreachable!("chunks of one or two"),
                    },
                );
            }
        }
    }

    /// All rows, the components apart; `out` is zero before.
    pub(crate) fn write_all(&self, [low, high]: [&mut [u64]; 2]) {
        let n = self.shape.n;
        low.par_chunks_exact_mut(n)
            .zip(high.par_chunks_exact_mut(n))
            .enumerate()
            .for_each(|(unit, (low, high))| self.write(unit, &(0..n), [low, high]));
    }
}

/// All rows of [`Folded`], per limb: `[limb, 2, unit, n]`.
#[must_use]
pub fn sigma_fold(folded: Folded<'_>, fields: &[Extension]) -> Vec<u64> {
    let Shape {
        count, limbs, n, ..
    } = folded.shape;
    let plane = count * n;
    let mut out = vec![0; 2 * limbs * plane];
    if plane == 0 {
        return out;
    }
    out.par_chunks_exact_mut(2 * plane)
        .zip(fields)
        .enumerate()
        .for_each(|(limb, (out, field))| {
            folded
                .limb(field, limb)
                .write_all(out.split_at_mut(plane).into());
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
            let [low, high] = halves(weights);
            let weights: Vec<[Lanes; 2]> = pack_vectors(low)
                .zip(pack_vectors(high))
                .map(|(low, high)| [low, high])
                .collect();
            let (low, high) = out.split_at_mut(shape.count);
            low.par_iter_mut().zip(high).enumerate().for_each_init(
                || Vec::with_capacity(weights.len()),
                |packed, (unit, (low, high))| {
                    let mut sum = [0; 2];
                    for (poly, power) in powers(field, sigma, shape.polys).enumerate() {
                        let inner = dispatch(InnerWithRow {
                            modulus: field.modulus(),
                            row: row(words, shape, [unit, poly, limb]),
                            packed,
                            weights: &weights,
                        });
                        sum = field.add(sum, field.mul(inner, power));
                    }
                    [*low, *high] = sum;
                },
            );
        });
    out
}

/// `sum_n row[n] weights[n]`.
struct InnerWithRow<'a> {
    modulus: &'a Modulus,
    row: &'a [u64],
    /// Room for the packed row.
    packed: &'a mut Vec<Lanes>,
    /// Packed, the components alternating.
    weights: &'a [[Lanes; 2]],
}

impl Vectorised for InnerWithRow<'_> {
    type Output = Element;

    #[inline(always)]
    fn run<V: Vectors>(self, simd: V) -> Element {
        self.packed.clear();
        self.packed.extend(pack_vectors(self.row));
        inner_products(simd, self.modulus, self.packed, self.weights)
    }
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
