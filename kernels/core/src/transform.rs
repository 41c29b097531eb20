//! Evaluation of polynomials on a coset `g<w>` of a power-of-two group, and its inverse and
//! transposes.
//!
//! Position `i` holds the value at `g w^bitrev(i)`. The forward network descends the tree of
//! moduli `X^m - s^2 = (X^(m/2) - s)(X^(m/2) + s)`, so the offset `g` costs nothing: it lives in
//! the twiddles. The negacyclic transform is the coset `g = psi`, `w = psi^2`. Butterflies are
//! Harvey's lazy ones (values below `4q` going down, below `2q` going up).
//!
//! Transposing a butterfly turns `(x + s y, x - s y)` into `(x + y, s (x - y))`: the two networks
//! (descending, ascending) and the two tables (twiddles, inverse twiddles) give all four maps.

use crate::modulus::{Modulus, Shoup, subtract_once};
use crate::{Error, vectorised};

/// Tables for one coset.
#[derive(Clone, Debug)]
pub struct CosetTransform {
    modulus: Modulus,
    length: usize,
    /// `twiddles[m + i]`: the root `s` of node `i` among the `m` nodes of a level.
    twiddles: Vec<Shoup>,
    inverse_twiddles: Vec<Shoup>,
    inverse_length: Shoup,
}

/// `index` with its `bits` low bits in reverse order.
#[inline(always)]
pub(crate) fn reverse_bits(index: usize, bits: u32) -> usize {
    if bits == 0 {
        0
    } else {
        index.reverse_bits() >> (usize::BITS - bits)
    }
}

/// `out[i] = values[bitrev(i)]`, for a power of two of values.
pub(crate) fn reverse_copy(values: &[u64], out: &mut [u64]) {
    /// A tile is `SIDE` times `SIDE` words: each line of the cache is visited once. Word by word,
    /// the reads would lie a multiple of 4 KiB apart and compete for the same lines.
    const SIDE: usize = 8;
    const SIDE_BITS: u32 = SIDE.trailing_zeros();
    let bits = values.len().trailing_zeros();
    if bits < 2 * SIDE_BITS {
        for (i, word) in out.iter_mut().enumerate() {
            *word = values[reverse_bits(i, bits)];
        }
        return;
    }
    let stride = values.len() / SIDE;
    for middle in 0..stride / SIDE {
        let mut tile = [[0; SIDE]; SIDE];
        for (i, line) in values.chunks_exact(stride).enumerate() {
            let words = &line[middle * SIDE..][..SIDE];
            for (j, &word) in words.iter().enumerate() {
                tile[reverse_bits(j, SIDE_BITS)][reverse_bits(i, SIDE_BITS)] = word;
            }
        }
        let middle = reverse_bits(middle, bits - 2 * SIDE_BITS);
        for (line, words) in out.chunks_exact_mut(stride).zip(&tile) {
            line[middle * SIDE..][..SIDE].copy_from_slice(words);
        }
    }
}

/// The smallest root of unity construction used throughout: for the smallest `base >= 2` that is
/// no square, `base^((q - 1) / order)`, which has exactly that order.
///
/// # Errors
/// [`Error::RootOfUnity`] if `order` (a power of two, at least 2) does not divide `q - 1`.
pub(crate) fn root_of_unity(modulus: &Modulus, order: usize) -> Result<u64, Error> {
    let q = modulus.value();
    let order = order as u64;
    if !(q - 1).is_multiple_of(order) {
        return Err(Error::RootOfUnity { modulus: q, order });
    }
    // r^(order / 2) = base^((q - 1) / 2), so -1 there says that base is no square, whatever order.
    (2..q)
        .map(|base| modulus.pow(base, (q - 1) / order))
        .find(|&root| modulus.pow(root, order / 2) == q - 1)
        .ok_or(Error::RootOfUnity { modulus: q, order })
}

impl CosetTransform {
    /// The transform of `length` (a power of two) points `offset generator^i`; `generator` has
    /// order `length` and `offset` is not zero.
    #[must_use]
    pub fn new(modulus: Modulus, length: usize, offset: u64, generator: u64) -> Self {
        let inverse = |a| modulus.inverse_or_zero(a);
        Self {
            modulus,
            length,
            twiddles: Self::tree(&modulus, length, offset, generator),
            inverse_twiddles: Self::tree(&modulus, length, inverse(offset), inverse(generator)),
            inverse_length: modulus.shoup(inverse(length as u64)),
        }
    }

    fn tree(modulus: &Modulus, length: usize, offset: u64, generator: u64) -> Vec<Shoup> {
        let mut tree = vec![Shoup::default(); length];
        let mut nodes = 1;
        while nodes < length {
            let half = (length / (2 * nodes)) as u64;
            let first = modulus.pow(offset, half);
            let step = modulus.pow(generator, half);
            let powers = modulus.powers(step, nodes);
            let bits = nodes.trailing_zeros();
            for (node, twiddle) in tree[nodes..2 * nodes].iter_mut().enumerate() {
                *twiddle = modulus.shoup(modulus.mul(first, powers[reverse_bits(node, bits)]));
            }
            nodes *= 2;
        }
        tree
    }

    /// The field.
    #[must_use]
    pub fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// The number of points.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Coefficients to values, in place: `a[i] <- sum_j (g w^bitrev(i))^j a[j]`.
    ///
    /// Only the first `used` coefficients are read, the others stand for zeros: the levels that
    /// would only copy them are replaced by the copy.
    pub fn forward(&self, a: &mut [u64], used: usize) {
        vectorised(
            #[inline(always)]
            || self.descend(&self.twiddles, a, used),
        );
    }

    /// Values to coefficients, in place: the inverse of [`Self::forward`].
    pub fn inverse(&self, a: &mut [u64]) {
        vectorised(
            #[inline(always)]
            || {
                self.ascend(&self.inverse_twiddles, a);
                self.finish_scaled(a);
            },
        );
    }

    /// The transposed map of [`Self::forward`], in place.
    pub fn forward_transpose(&self, a: &mut [u64]) {
        vectorised(
            #[inline(always)]
            || {
                self.ascend(&self.twiddles, a);
                let q = self.modulus.value();
                for word in a {
                    *word = subtract_once(*word, q);
                }
            },
        );
    }

    /// The transposed map of [`Self::inverse`], in place.
    pub fn inverse_transpose(&self, a: &mut [u64]) {
        vectorised(
            #[inline(always)]
            || {
                self.descend(&self.inverse_twiddles, a, self.length);
                self.finish_scaled(a);
            },
        );
    }

    #[inline(always)]
    fn finish_scaled(&self, a: &mut [u64]) {
        let q = self.modulus.value();
        for word in a {
            *word = self.inverse_length.mul(*word, q);
        }
    }

    /// Moduli split from the root down; canonical words in and out.
    #[inline(always)]
    fn descend(&self, tree: &[Shoup], a: &mut [u64], used: usize) {
        let q = self.modulus.value();
        let a = &mut a[..self.length];
        let mut block = self.length;
        let mut nodes = 1;
        // An upper half of zeros leaves (x, x) behind whatever the twiddle.
        while block > 1 && used <= block / 2 {
            block /= 2;
            nodes *= 2;
        }
        if nodes > 1 {
            // The first level that does not only copy, from the first block to the others.
            let (first, others) = a.split_at_mut(block);
            first[used..].fill(0);
            let (left, right) = first.split_at(block / 2);
            let right = &right[..used.saturating_sub(block / 2)];
            if block == 1 {
                others.fill(first[0]);
                return;
            }
            for (other, &twiddle) in others.chunks_exact_mut(block).zip(&tree[nodes + 1..]) {
                spread(left, right, other, twiddle, q);
            }
            descend_level(first, &tree[nodes..=nodes], block, q);
            block /= 2;
            nodes *= 2;
        } else {
            a[used..].fill(0);
        }
        // Two levels in one pass over memory, as long as the loops inside are not short.
        while block >= 32 {
            let (upper, lower) = (&tree[nodes..2 * nodes], &tree[2 * nodes..4 * nodes]);
            descend_two_levels(a, upper, lower, block, q);
            block /= 4;
            nodes *= 4;
        }
        while block > 1 {
            let twiddles = &tree[nodes..2 * nodes];
            // A length known to the compiler spares the loop inside short blocks.
            match block {
                2 => descend_level(a, twiddles, 2, q),
                4 => descend_level(a, twiddles, 4, q),
                8 => descend_level(a, twiddles, 8, q),
                _ => descend_level(a, twiddles, block, q),
            }
            block /= 2;
            nodes *= 2;
        }
        for word in a {
            *word = subtract_once(subtract_once(*word, 2 * q), q);
        }
    }

    /// The transposed network, from the leaves up; words below `2q` out.
    #[inline(always)]
    fn ascend(&self, tree: &[Shoup], a: &mut [u64]) {
        let q = self.modulus.value();
        let a = &mut a[..self.length];
        let mut block = 2;
        let mut nodes = self.length / 2;
        while nodes > 0 {
            let twiddles = &tree[nodes..2 * nodes];
            match block {
                2 => ascend_level(a, twiddles, 2, q),
                4 => ascend_level(a, twiddles, 4, q),
                8 => ascend_level(a, twiddles, 8, q),
                _ => ascend_level(a, twiddles, block, q),
            }
            block *= 2;
            nodes /= 2;
        }
    }
}

/// `out <- (x + s y, x - s y)`, `y` being filled up with zeros; canonical words in, below `4q` out.
#[inline(always)]
fn spread(x: &[u64], y: &[u64], out: &mut [u64], twiddle: Shoup, q: u64) {
    let (left, right) = out.split_at_mut(x.len());
    for (((&x, &y), left), right) in x.iter().zip(y).zip(&mut *left).zip(&mut *right) {
        let turned = twiddle.mul_lazy(y, q);
        *left = x + turned;
        *right = x + 2 * q - turned;
    }
    left[y.len()..].copy_from_slice(&x[y.len()..]);
    right[y.len()..].copy_from_slice(&x[y.len()..]);
}

/// `(x, y) <- (x + s y, x - s y)` between the halves of each block; words below `4q` in and out.
#[inline(always)]
fn descend_level(a: &mut [u64], twiddles: &[Shoup], block: usize, q: u64) {
    for (block, &twiddle) in a.chunks_exact_mut(block).zip(twiddles) {
        let (left, right) = block.split_at_mut(block.len() / 2);
        for (x, y) in left.iter_mut().zip(right) {
            (*x, *y) = descend_pair(*x, *y, twiddle, q);
        }
    }
}

/// [`descend_level`] twice: `lower` are the twiddles of the halves.
#[inline(always)]
fn descend_two_levels(a: &mut [u64], upper: &[Shoup], lower: &[Shoup], block: usize, q: u64) {
    let (lower, _) = lower.as_chunks::<2>();
    for ((block, &twiddle), &[first, second]) in a.chunks_exact_mut(block).zip(upper).zip(lower) {
        let (left, right) = block.split_at_mut(block.len() / 2);
        let (x0, x1) = left.split_at_mut(left.len() / 2);
        let (y0, y1) = right.split_at_mut(right.len() / 2);
        for ((x0, x1), (y0, y1)) in x0.iter_mut().zip(x1).zip(y0.iter_mut().zip(y1)) {
            let (left0, right0) = descend_pair(*x0, *y0, twiddle, q);
            let (left1, right1) = descend_pair(*x1, *y1, twiddle, q);
            (*x0, *x1) = descend_pair(left0, left1, first, q);
            (*y0, *y1) = descend_pair(right0, right1, second, q);
        }
    }
}

#[inline(always)]
fn descend_pair(x: u64, y: u64, twiddle: Shoup, q: u64) -> (u64, u64) {
    let kept = subtract_once(x, 2 * q);
    let turned = twiddle.mul_lazy(y, q);
    (kept + turned, kept + 2 * q - turned)
}

/// `(x, y) <- (x + y, s (x - y))` between the halves of each block; words below `2q` in and out.
#[inline(always)]
fn ascend_level(a: &mut [u64], twiddles: &[Shoup], block: usize, q: u64) {
    for (block, &twiddle) in a.chunks_exact_mut(block).zip(twiddles) {
        let (left, right) = block.split_at_mut(block.len() / 2);
        for (x, y) in left.iter_mut().zip(right) {
            let sum = subtract_once(*x + *y, 2 * q);
            let difference = *x + 2 * q - *y;
            *x = sum;
            *y = twiddle.mul_lazy(difference, q);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: u64 = 1_152_921_504_577_486_849;

    fn transform(length: usize) -> CosetTransform {
        let modulus = Modulus::new(Q).expect("prime");
        let generator = match length {
            1 => 1,
            _ => root_of_unity(&modulus, length).expect("order"),
        };
        CosetTransform::new(modulus, length, 3, generator)
    }

    fn sample(length: usize) -> Vec<u64> {
        (0..length as u64)
            .map(|i| Q - 1 - i * i * 0x9E37_79B9 % 7919)
            .collect()
    }

    #[test]
    fn values_are_those_of_the_polynomial() {
        for length in [1, 2, 4, 8, 32] {
            let transform = transform(length);
            let modulus = transform.modulus();
            let bits = length.trailing_zeros();
            for used in 0..=length {
                let coefficients = &sample(length)[..used];
                // Beyond `used` the input is not read.
                let mut values = vec![u64::MAX; length];
                values[..used].copy_from_slice(coefficients);
                transform.forward(&mut values, used);
                for (i, &value) in values.iter().enumerate() {
                    let root = if length == 1 {
                        1
                    } else {
                        root_of_unity(modulus, length).unwrap()
                    };
                    let power = modulus.pow(root, reverse_bits(i, bits) as u64);
                    let point = modulus.mul(3, power);
                    let horner = coefficients
                        .iter()
                        .rev()
                        .fold(0, |sum, &c| modulus.multiply_add(c, sum, point));
                    assert_eq!(value, horner, "length {length}, used {used}, position {i}");
                }
            }
        }
    }

    #[test]
    fn inverses_and_transposes() {
        for length in [1, 2, 16, 1024] {
            let transform = transform(length);
            let (a, b) = (sample(length), transform.modulus().powers(5, length));
            let apply = |map: &dyn Fn(&mut [u64]), a: &[u64]| {
                let mut out = a.to_vec();
                map(&mut out);
                out
            };
            let forward = apply(&|x| transform.forward(x, length), &a);
            assert_eq!(apply(&|x| transform.inverse(x), &forward), a);
            let transposed = apply(&|x| transform.forward_transpose(x), &b);
            assert_eq!(apply(&|x| transform.inverse_transpose(x), &transposed), b);
            let modulus = transform.modulus();
            assert_eq!(modulus.dot(&forward, &b), modulus.dot(&a, &transposed));
        }
    }
}
