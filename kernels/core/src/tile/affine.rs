//! Sparse integer combinations of the units of earlier tensors.

use super::{Group, GroupMut, LANES, Lanes};
use crate::modulus::{Modulus, Shoup};

/// Words are split here: both halves are then non-negative integers of at most 31 bits.
const SPLIT_BITS: u32 = 30;

/// Bound on the sum of `|w|` over a row: a sum of half words is then at most
/// `2^61` and a quotient has 31 bits..
pub const MAX_ROW_NORM: u64 = 1 << 30;

/// Rows with the same columns that are accumulated together in registers.
const ROWS: usize = 2;

/// A sparse matrix of signed integers, compressed by rows.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Row `j` has the entries `indptr[j]..indptr[j + 1]`.
    pub indptr: &'a [usize],
    /// Input unit of each entry.
    pub columns: &'a [u32],
    /// Weight of each entry.
    pub values: &'a [i32],
}

impl<'a> Rows<'a> {
    fn count(self) -> usize {
        self.indptr.len() - 1
    }

    fn columns_of(self, row: usize) -> &'a [u32] {
        &self.columns[self.indptr[row]..self.indptr[row + 1]]
    }

    fn values_of(self, row: usize) -> &'a [i32] {
        &self.values[self.indptr[row]..self.indptr[row + 1]]
    }

    /// The first row whose sum of `|w|` exceeds [`MAX_ROW_NORM`], if any.
    #[must_use]
    pub fn first_long_row(self) -> Option<usize> {
        (0..self.count()).find(|&row| {
            let norm = |&weight: &i32| u64::from(weight.unsigned_abs());
            self.values_of(row).iter().map(norm).sum::<u64>() > MAX_ROW_NORM
        })
    }
}

/// `J` rows with the same columns; `weights[e][i]` belongs to entry `e` of row `outputs[i]`.
#[derive(Clone, Debug)]
struct Band<const J: usize> {
    outputs: [usize; J],
    columns: Vec<u32>,
    weights: Vec<[i32; J]>,
}

/// One term of an affine node: `factor` times a sparse matrix times the tensor `source`.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) source: usize,
    /// Per limb; `None` stands for 1.
    factors: Vec<Option<Shoup>>,
    bands: Vec<Band<ROWS>>,
    singles: Vec<Band<1>>,
}

impl Term {
    /// Rows are grouped by their columns, never by their weights.
    pub(super) fn new(moduli: &[Modulus], source: usize, rows: Rows<'_>, factors: &[u64]) -> Self {
        let mut order: Vec<usize> = (0..rows.count())
            .filter(|&row| !rows.columns_of(row).is_empty())
            .collect();
        order.sort_by_key(|&row| rows.columns_of(row));
        let (mut bands, mut singles) = (Vec::new(), Vec::new());
        for equal in order.chunk_by(|&a, &b| rows.columns_of(a) == rows.columns_of(b)) {
            let (groups, rest) = equal.as_chunks();
            bands.extend(groups.iter().map(|&outputs| band(rows, outputs)));
            singles.extend(rest.iter().map(|&output| band(rows, [output])));
        }
        let factors = moduli.iter().zip(factors);
        Self {
            source,
            factors: factors
                .map(|(modulus, &factor)| (factor != 1).then(|| modulus.shoup(factor)))
                .collect(),
            bands,
            singles,
        }
    }

    /// Adds the term to `out`, both being one group of lanes.
    #[inline(always)]
    pub(super) fn add_to(
        &self,
        modulus: &Modulus,
        limb: usize,
        source: Group<'_>,
        out: &mut GroupMut<'_>,
    ) {
        let factor = self.factors[limb];
        let reducer = Reducer::new(modulus);
        let planes = source.words.chunks_exact(source.shape.units);
        let out_planes = out.words.chunks_exact_mut(out.shape.units);
        for (plane, out_plane) in planes.zip(out_planes) {
            for band in &self.bands {
                band.add_to((modulus, reducer), factor, plane, out_plane);
            }
            for band in &self.singles {
                band.add_to((modulus, reducer), factor, plane, out_plane);
            }
        }
    }
}

fn band<const J: usize>(rows: Rows<'_>, outputs: [usize; J]) -> Band<J> {
    let values = outputs.map(|output| rows.values_of(output));
    let columns = rows.columns_of(outputs[0]).to_vec();
    Band {
        outputs,
        weights: (0..columns.len())
            .map(|entry| values.map(|values| values[entry]))
            .collect(),
        columns,
    }
}

impl<const J: usize> Band<J> {
    #[inline(always)]
    fn add_to(
        &self,
        (modulus, reducer): (&Modulus, Reducer),
        factor: Option<Shoup>,
        plane: &[Lanes],
        out_plane: &mut [Lanes],
    ) {
        let [low_sums, high_sums] = self.half_sums(plane);
        let sums = low_sums.iter().zip(&high_sums);
        for (&output, (low_sums, high_sums)) in self.outputs.iter().zip(sums) {
            // Loops, because functions that take closures may stay out of line, where they are not
            // compiled for the vector unit.
            let mut residues = [0; LANES];
            for ((residue, &low), &high) in residues.iter_mut().zip(low_sums).zip(high_sums) {
                *residue = reducer.reduce(low, high);
            }
            if let Some(factor) = factor {
                for residue in &mut residues {
                    *residue = factor.mul(*residue, modulus.value());
                }
            }
            let words = &mut out_plane[output];
            for (word, residue) in words.iter_mut().zip(residues) {
                *word = modulus.add(*word, residue);
            }
        }
    }

    /// For each row, the sums of the low and of the high halves: two signed 32x32
    /// multiply-accumulates an entry, the shape vector units have.
    #[inline(always)]
    fn half_sums(&self, plane: &[Lanes]) -> [[[i64; LANES]; J]; 2] {
        const LOW_MASK: u64 = (1 << SPLIT_BITS) - 1;
        const HIGH_MASK: u64 = (1 << 31) - 1;
        let mut low_sums = [[0_i64; LANES]; J];
        let mut high_sums = [[0_i64; LANES]; J];
        for (&column, weights) in self.columns.iter().zip(&self.weights) {
            let words = plane[column as usize];
            // The second mask changes nothing: it tells the compiler that a half has 31 bits.
            let low = words.map(|word| (word & LOW_MASK).cast_signed());
            let high = words.map(|word| (word >> SPLIT_BITS & HIGH_MASK).cast_signed());
            for j in 0..J {
                let weight = i64::from(weights[j]);
                for i in 0..LANES {
                    low_sums[j][i] += weight * low[i];
                }
                for i in 0..LANES {
                    high_sums[j][i] += weight * high[i];
                }
            }
        }
        [low_sums, high_sums]
    }
}

/// Divides sums of half words by the modulus, a vector of lanes at a time.
#[derive(Clone, Copy)]
struct Reducer {
    modulus: i64,
    /// The modulus in two halves, below `2^31` both: vector units multiply 32 bits.
    halves: [i64; 2],
    /// `2^(30 + DROPPED_BITS) / q`.
    reciprocal: f64,
}

impl Reducer {
    #[inline(always)]
    #[allow(clippy::cast_precision_loss)]
    fn new(modulus: &Modulus) -> Self {
        let modulus = modulus.value().cast_signed();
        Self {
            modulus,
            halves: [modulus & ((1 << HALF_BITS) - 1), modulus >> HALF_BITS],
            reciprocal: (1_u64 << (SPLIT_BITS + DROPPED_BITS)) as f64 / modulus as f64,
        }
    }

    /// `low + 2^30 high mod q`.
    ///
    /// The quotient is at most [`MAX_ROW_NORM`] in magnitude, and is estimated from the high bits
    /// in double precision: `2^43 / q` and a few units of `2^-21` are neglected, so the estimate is
    /// within 0.52 of the real quotient, and the remainder within 0.52 q of zero.
    #[inline(always)]
    fn reduce(self, low: i64, high: i64) -> u64 {
        // Both sums are made positive: vector units have no arithmetic shift of 64 bits.
        let carry = (low + OFFSET).cast_unsigned() >> SPLIT_BITS;
        let head = ((high + OFFSET).cast_unsigned() + carry) >> DROPPED_BITS;
        // An integer below 2^52 is the mantissa of 2^52 plus itself.
        let head = f64::from_bits(head | TWO_52.to_bits()) - HEAD_OFFSET;
        // Adding 3 2^51 leaves the rounded quotient in the low bits of the mantissa.
        let quotient = (head * self.reciprocal + (TWO_52 + TWO_52 / 2.0)).to_bits();
        let quotient = i64::from(low_i32(quotient));
        let [low_half, high_half] = self.halves.map(|half| quotient * half);
        let product = low_half.wrapping_add(high_half << HALF_BITS);
        let remainder = (high << SPLIT_BITS).wrapping_add(low).wrapping_sub(product);
        let corrected = remainder + self.modulus;
        if remainder < 0 { corrected } else { remainder }.cast_unsigned()
    }
}

const HALF_BITS: u32 = 31;

/// Low bits of the sum of high halves that do not matter for the quotient.
const DROPPED_BITS: u32 = 12;

/// Above the magnitude of any sum of half words.
const OFFSET: i64 = 1 << 62;

const TWO_52: f64 = 4_503_599_627_370_496.0;

/// What [`OFFSET`] has added to the head, on top of `2^52`.
#[allow(clippy::cast_precision_loss)]
const HEAD_OFFSET: f64 =
    TWO_52 + ((1_u64 << (62 - DROPPED_BITS)) + (1_u64 << (62 - SPLIT_BITS - DROPPED_BITS))) as f64;

#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
fn low_i32(word: u64) -> i32 {
    word as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_halves_are_reduced_like_integers() {
        let mut state = 1_u64;
        let mut next = |bits: u32| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 1).cast_signed() >> (63 - bits)
        };
        for value in [
            1_125_899_865_948_161,
            1_152_921_504_606_830_593,
            2_305_843_009_213_693_951,
            562_949_953_421_381,
        ] {
            let modulus = Modulus::new(value).expect("prime");
            let reducer = Reducer::new(&modulus);
            let largest = i128::from(MAX_ROW_NORM) * i128::from(value - 1);
            let (top, bottom) = (
                largest >> SPLIT_BITS,
                i128::from(MAX_ROW_NORM) << SPLIT_BITS,
            );
            for round in 0..200_000 {
                let bits = 1 + round % 62;
                let (mut high, mut low) = (i128::from(next(bits)), i128::from(next(bits)));
                if round % 2 == 0 {
                    (high, low) = (-high, -low);
                }
                let (high, low) = (high.clamp(-top, top), low.clamp(-bottom, bottom));
                let total = ((high << SPLIT_BITS) + low).clamp(-largest, largest);
                let low = total - (high << SPLIT_BITS);
                if low.abs() > bottom {
                    continue;
                }
                let found = reducer.reduce(
                    i64::try_from(low).expect("in range"),
                    i64::try_from(high).expect("in range"),
                );
                assert_eq!(
                    found,
                    modulus.reduce_i128(total),
                    "{high} {low} mod {value}"
                );
            }
        }
    }
}
