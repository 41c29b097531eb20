//! Linear layers over raw ciphertext words `[k, poly, limb, n]`, one prime per limb.

use rayon::prelude::*;

use crate::modulus::{MAX_LAZY_PRODUCTS, Modulus};
use crate::vectorised;

/// Bound on `|w|` for [`linear_small`]: weights of 16 bits plus a sign, with a bit to spare.
pub const MAX_SMALL_WEIGHT: u64 = 1 << 17;

/// Words are split here: both halves are then signed 32-bit integers.
const SPLIT_BITS: u32 = 30;

/// Ciphertexts summed before a reduction: `2^17 2^31 2^14 = 2^62` fits in an `i64`.
const MAX_TERMS: usize = 1 << 14;

/// Ciphertexts copied into one block.
const BLOCK_TERMS: usize = 32;

/// Coordinates and outputs accumulated together in registers.
const LANES: usize = 8;
const OUTPUTS: usize = 2;

/// Groups of lanes in one block of 16 KiB, half of the first cache.
const GROUPS: usize = 8;
const TILE: usize = GROUPS * LANES;

/// One group of lanes of every ciphertext of a block, in the order in which it is summed.
type Block = [[[u64; LANES]; BLOCK_TERMS]; GROUPS];

/// The shape `[k, poly, limb, n]` of an array of ciphertext words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of ciphertexts.
    pub count: usize,
    /// Polynomials per ciphertext.
    pub polys: usize,
    /// Limbs per polynomial.
    pub limbs: usize,
    /// Words per limb.
    pub n: usize,
}

impl Shape {
    fn planes(self) -> usize {
        self.polys * self.limbs
    }

    fn stride(self) -> usize {
        self.planes() * self.n
    }
}

/// One output tile for one (poly, limb) plane: `tiles[j]` is the piece of output `j`.
struct Task<'a> {
    plane: usize,
    start: usize,
    tiles: Vec<&'a mut [u64]>,
}

/// Cuts `out`, `[j, poly, limb, n]`, into tasks of `width` coordinates of one plane.
fn tasks(out: &mut [u64], shape: Shape, width: usize) -> Vec<Task<'_>> {
    let per_plane = shape.n.div_ceil(width);
    let mut tasks: Vec<Task<'_>> = (0..shape.planes() * per_plane)
        .map(|task| Task {
            plane: task / per_plane,
            start: task % per_plane * width,
            tiles: Vec::new(),
        })
        .collect();
    for output in out.chunks_exact_mut(shape.stride()) {
        let pieces = output
            .chunks_exact_mut(shape.n)
            .flat_map(|plane| plane.chunks_mut(width));
        for (task, piece) in tasks.iter_mut().zip(pieces) {
            task.tiles.push(piece);
        }
    }
    tasks
}

/// A word that is not below the modulus of its limb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCanonical;

/// `sum_k weights[j, k] words[k]` for small signed weights: `words` is `[k, poly, limb, n]`,
/// `weights` `[j, k]` with `|w| <=` [`MAX_SMALL_WEIGHT`], the result `[j, poly, limb, n]`.
///
/// Words are split at 30 bits, so that a term is two signed 32x32 multiply-accumulates, the shape
/// vector units have; one reduction per output word. Words are checked in the same pass.
///
/// # Errors
/// A word is not canonical.
pub fn linear_small(
    words: &[u64],
    weights: &[i64],
    moduli: &[Modulus],
    shape: Shape,
    outputs: usize,
) -> Result<Vec<u64>, NotCanonical> {
    let mut out = vec![0; outputs * shape.stride()];
    if out.is_empty() || shape.count == 0 {
        return if is_canonical(words, moduli, shape) {
            Ok(out)
        } else {
            Err(NotCanonical)
        };
    }
    tasks(&mut out, shape, TILE)
        .into_par_iter()
        .try_for_each(|mut task| {
            let modulus = &moduli[task.plane % shape.limbs];
            vectorised(
                #[inline(always)]
                || small_tile(words, weights, modulus, shape, &mut task),
            )
        })?;
    Ok(out)
}

/// Sums of one output over the tile: low halves, high halves.
type HalfSums = [[i64; TILE]; 2];

#[inline(always)]
fn small_tile(
    words: &[u64],
    weights: &[i64],
    modulus: &Modulus,
    shape: Shape,
    task: &mut Task<'_>,
) -> Result<(), NotCanonical> {
    let width = task.tiles.first().map_or(0, |tile| tile.len());
    let base = task.plane * shape.n + task.start;
    let mut block: Block = [[[0; LANES]; BLOCK_TERMS]; GROUPS];
    let mut sums: Vec<HalfSums> = vec![[[0; TILE]; 2]; task.tiles.len()];
    let mut pending = 0;
    for first in (0..shape.count).step_by(BLOCK_TERMS) {
        let terms = BLOCK_TERMS.min(shape.count - first);
        if pending + terms > MAX_TERMS {
            flush(&mut sums, modulus, task);
            pending = 0;
        }
        pending += terms;
        for term in 0..terms {
            let words = &words[(first + term) * shape.stride() + base..][..width];
            if !modulus.is_canonical_inline(words) {
                return Err(NotCanonical);
            }
            // The planes of the terms lie a multiple of 4 KiB apart: summed in place, they would
            // compete for the same lines of the cache. Hence the copy.
            for (group, words) in block.iter_mut().zip(words.chunks(LANES)) {
                group[term][..words.len()].copy_from_slice(words);
            }
        }
        let weights_of = |output: usize| &weights[output * shape.count + first..][..terms];
        let (groups, others) = sums.as_chunks_mut::<OUTPUTS>();
        let grouped = groups.len() * OUTPUTS;
        for (group, sums) in groups.iter_mut().enumerate() {
            let weights = std::array::from_fn(|i| weights_of(group * OUTPUTS + i));
            accumulate::<OUTPUTS>(weights, &block, sums);
        }
        for (output, sums) in others.iter_mut().enumerate() {
            accumulate::<1>(
                [weights_of(grouped + output)],
                &block,
                std::array::from_mut(sums),
            );
        }
    }
    flush(&mut sums, modulus, task);
    Ok(())
}

/// `sums[j][half][i] += sum_k weights[j][k] half(block[k][i])`.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
fn accumulate<const J: usize>(weights: [&[i64]; J], block: &Block, sums: &mut [HalfSums; J]) {
    const LOW_MASK: u64 = (1 << SPLIT_BITS) - 1;
    const HIGH_MASK: u64 = (1 << 31) - 1;
    for (group, rows) in block.iter().enumerate() {
        let mut low_sums = [[0_i64; LANES]; J];
        let mut high_sums = [[0_i64; LANES]; J];
        for (term, words) in rows.iter().enumerate().take(weights[0].len()) {
            // The second mask changes nothing: it tells the compiler that a half has 31 bits.
            let low = words.map(|word| (word & LOW_MASK).cast_signed());
            let high = words.map(|word| (word >> SPLIT_BITS & HIGH_MASK).cast_signed());
            for j in 0..J {
                let weight = i64::from(weights[j][term] as i32);
                for i in 0..LANES {
                    low_sums[j][i] += weight * low[i];
                }
                for i in 0..LANES {
                    high_sums[j][i] += weight * high[i];
                }
            }
        }
        let lane = group * LANES;
        for j in 0..J {
            for i in 0..LANES {
                sums[j][0][lane + i] += low_sums[j][i];
                sums[j][1][lane + i] += high_sums[j][i];
            }
        }
    }
}

/// Adds the pending sums to the output words and clears them.
#[inline(always)]
fn flush(sums: &mut [HalfSums], modulus: &Modulus, task: &mut Task<'_>) {
    // A sum is at most 2^17 2^14 (q - 1) in magnitude: 2^31 q makes it positive, and the total stays
    // below 2^(2 b), b >= 50 being the bit length of q.
    let offset = i128::from(modulus.value()) << 31;
    for ([low_sums, high_sums], tile) in sums.iter_mut().zip(&mut task.tiles) {
        for ((word, low_sum), high_sum) in tile.iter_mut().zip(low_sums).zip(high_sums) {
            let sum = (i128::from(*high_sum) << SPLIT_BITS) + i128::from(*low_sum);
            let residue = modulus.reduce_product((sum + offset).cast_unsigned());
            *word = modulus.add(*word, residue);
            *low_sum = 0;
            *high_sum = 0;
        }
    }
}

/// As [`linear_small`] with residues for weights: `weights` is `[j, k, limb]`.
#[must_use]
pub fn linear_words(
    words: &[u64],
    weights: &[u64],
    moduli: &[Modulus],
    shape: Shape,
    outputs: usize,
) -> Vec<u64> {
    const WIDTH: usize = 256;
    let mut out = vec![0; outputs * shape.stride()];
    if out.is_empty() || shape.count == 0 {
        return out;
    }
    tasks(&mut out, shape, WIDTH)
        .into_par_iter()
        .for_each(|task| {
            let limb = task.plane % shape.limbs;
            let modulus = &moduli[limb];
            let base = task.plane * shape.n + task.start;
            vectorised(
                #[inline(always)]
                || {
                    for (output, tile) in task.tiles.into_iter().enumerate() {
                        let mut sums = [0_u128; WIDTH];
                        for term in 0..shape.count {
                            let weight =
                                weights[(output * shape.count + term) * shape.limbs + limb];
                            let source = &words[term * shape.stride() + base..][..tile.len()];
                            for (sum, &word) in sums.iter_mut().zip(source) {
                                *sum += u128::from(weight) * u128::from(word);
                            }
                            // A reduced sum counts for one product.
                            if (term + 1) % (MAX_LAZY_PRODUCTS - 1) == 0 {
                                for sum in &mut sums {
                                    *sum = u128::from(modulus.reduce(*sum));
                                }
                            }
                        }
                        for (word, &sum) in tile.iter_mut().zip(&sums) {
                            *word = modulus.reduce(sum);
                        }
                    }
                },
            );
        });
    out
}

/// Inner products over poly and n: `words` is `[k, poly, limb, n]`, `vectors` `[c, poly, limb, n]`
/// (canonical), the result `[limb, c, k]`. One pass over `words`, whatever the number of vectors,
/// checks them too.
///
/// # Errors
/// A word of `words` is not canonical.
pub fn inner_products(
    words: &[u64],
    vectors: &[u64],
    moduli: &[Modulus],
    shape: Shape,
    vector_count: usize,
) -> Result<Vec<u64>, NotCanonical> {
    /// Words of one row read before the next vector is visited: they stay in the first cache.
    const BLOCK: usize = 1024;
    let mut out = vec![0; shape.limbs * vector_count * shape.count];
    if out.is_empty() || shape.stride() == 0 {
        return if is_canonical(words, moduli, shape) {
            Ok(out)
        } else {
            Err(NotCanonical)
        };
    }
    let sums: Vec<Vec<u64>> = (0..shape.limbs * shape.count)
        .into_par_iter()
        .map(|task| {
            let (limb, term) = (task / shape.count, task % shape.count);
            let modulus = &moduli[limb];
            let mut sums = vec![0_u128; vector_count];
            for poly in 0..shape.polys {
                let plane = (poly * shape.limbs + limb) * shape.n;
                let source = &words[term * shape.stride() + plane..][..shape.n];
                vectorised(
                    #[inline(always)]
                    || {
                        for (block, source) in source.chunks(BLOCK).enumerate() {
                            if !modulus.is_canonical_inline(source) {
                                return Err(NotCanonical);
                            }
                            for (vector, sum) in sums.iter_mut().enumerate() {
                                let start = vector * shape.stride() + plane + block * BLOCK;
                                let vector = &vectors[start..][..source.len()];
                                *sum += u128::from(modulus.dot_serial(source, vector));
                            }
                        }
                        Ok(())
                    },
                )?;
            }
            Ok(sums.into_iter().map(|sum| modulus.reduce(sum)).collect())
        })
        .collect::<Result<_, NotCanonical>>()?;
    for (task, sums) in sums.into_iter().enumerate() {
        let (limb, term) = (task / shape.count, task % shape.count);
        for (vector, sum) in sums.into_iter().enumerate() {
            out[(limb * vector_count + vector) * shape.count + term] = sum;
        }
    }
    Ok(out)
}

/// Whether every word of `[count, poly, limb, n]` is canonical for its limb.
#[must_use]
pub fn is_canonical(words: &[u64], moduli: &[Modulus], shape: Shape) -> bool {
    shape.n == 0
        || words
            .par_chunks_exact(shape.n)
            .enumerate()
            .all(|(plane, words)| moduli[plane % shape.limbs].is_canonical(words))
}

/// The flat index of the first weight above [`MAX_SMALL_WEIGHT`] in magnitude, if any.
#[must_use]
pub fn first_large_weight(weights: &[i64]) -> Option<usize> {
    weights
        .iter()
        .position(|weight| weight.unsigned_abs() > MAX_SMALL_WEIGHT)
}
