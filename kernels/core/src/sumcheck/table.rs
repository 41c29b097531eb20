//! Tables of elements over the bits that are not bound yet.

use std::ops::Range;

use rayon::prelude::*;

use crate::extension::montgomery::keep_scalar;
use crate::extension::words::FoldedLimb;
use crate::extension::{Element, Extension, Factor, Row, halves};
use crate::vectorised;

/// Elements handled by one task.
const CHUNK: usize = 1 << 12;

/// Both components of the entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Table([Vec<u64>; 2]);

impl Table {
    /// A copy of `[2, ...]` words.
    pub(super) fn new(words: &[u64]) -> Self {
        Self(halves(words).map(<[u64]>::to_vec))
    }

    /// Ciphertexts at a point: their rows one after the other.
    pub(super) fn folded(rows: &FoldedLimb<'_>, columns: usize) -> Self {
        let [mut low, mut high] = [(); 2].map(|()| vec![0; rows.units() * columns]);
        rows.write_all([&mut low, &mut high]);
        Self([low, high])
    }

    /// `op` of every word.
    pub(super) fn map(&self, op: impl Fn(u64) -> u64) -> Self {
        Self(
            self.0
                .each_ref()
                .map(|words| words.iter().map(|&word| op(word)).collect()),
        )
    }

    pub(super) fn len(&self) -> usize {
        self.0[0].len()
    }

    #[inline(always)]
    pub(super) fn row(&self) -> Row<'_> {
        self.0.each_ref().map(Vec::as_slice)
    }

    #[inline(always)]
    pub(super) fn piece(&self, range: Range<usize>) -> Row<'_> {
        self.0.each_ref().map(|words| &words[range.clone()])
    }

    /// The entry at an index, zero beyond the end.
    #[inline(always)]
    pub(super) fn entry(&self, index: usize) -> Element {
        self.0
            .each_ref()
            .map(|words| words.get(index).copied().unwrap_or_default())
    }

    /// Appends zeros.
    pub(super) fn extend(&mut self, length: usize) {
        for words in &mut self.0 {
            words.resize(length, 0);
        }
    }

    /// `t_0 + x (t_1 - t_0)`: `t_0` are the first `half` entries, `t_1` the others, filled up with
    /// zeros to as many.
    pub(super) fn bind(&mut self, field: &Extension, half: usize, x: Element) {
        let present = self.len() - half;
        let [low, high] = &mut self.0;
        let (low_0, low_1) = low.split_at_mut(half);
        let (high_0, high_1) = high.split_at_mut(half);
        let (low_0, low_rest) = low_0.split_at_mut(present);
        let (high_0, high_rest) = high_0.split_at_mut(present);
        let factor = field.factor(x);
        low_0
            .par_chunks_mut(CHUNK)
            .zip(high_0.par_chunks_mut(CHUNK))
            .zip(low_1.par_chunks(CHUNK).zip(high_1.par_chunks(CHUNK)))
            .for_each(|((low, high), (low_1, high_1))| {
                vectorised(
                    #[inline(always)]
                    || interpolate(field, factor, [low, high], [low_1, high_1]),
                );
            });
        let rest = field.factor(field.sub([1, 0], x));
        low_rest
            .par_chunks_mut(CHUNK)
            .zip(high_rest.par_chunks_mut(CHUNK))
            .for_each(|(low, high)| {
                for (low, high) in low.iter_mut().zip(high) {
                    [*low, *high] = rest.mul(&field.montgomery, [*low, *high]);
                }
            });
        low.truncate(half);
        high.truncate(half);
    }
}

#[inline(always)]
fn interpolate(field: &Extension, factor: Factor, [low, high]: [&mut [u64]; 2], one: Row<'_>) {
    let [one_low, one_high] = one.map(|component| &component[..low.len()]);
    let high = &mut high[..one_low.len()];
    for i in 0..low.len() {
        keep_scalar();
        let zero = [low[i], high[i]];
        let step = field.sub([one_low[i], one_high[i]], zero);
        [low[i], high[i]] = field.add(zero, factor.mul(&field.montgomery, step));
    }
}
