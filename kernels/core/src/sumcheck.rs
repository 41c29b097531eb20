//! Provers of sum-checks `sum_{k, n} omega(k) lambda(n) f(h(k, n))` over `E`, all limbs at once.
//!
//! Rounds bind the bits of `k` from the most significant, then those of `n`: a table `t` over the
//! bound bit becomes `t_0 + x (t_1 - t_0)`, `t_0` and `t_1` being its two halves. The message of a
//! round is its polynomial at `0, 2, 3, ...`; the value at 1 follows from the claim (Lund, Fortnow,
//! Karloff and Nisan, 1992; Thaler, "Proofs, Arguments, and Zero-Knowledge", section 4.1).
//!
//! `K` and `N` are filled up to powers of two by zeros in all tables; `omega` and `lambda` vanish
//! there, so `f(0)` does not matter. `lambda` is kept times `2^64`: Montgomery's reductions take
//! that out again.

mod gram;
mod instance;
mod polynomial;
mod product;
mod summand;
mod table;

use rayon::prelude::*;

use crate::extension::words::Folded;
use crate::extension::{Element, Extension};
use crate::sumcheck::gram::Gram;
use crate::sumcheck::instance::Instance;
use crate::sumcheck::polynomial::Polynomial;
use crate::sumcheck::product::Product;
use crate::sumcheck::summand::Values;
use crate::sumcheck::table::Table;

pub use crate::sumcheck::gram::{LowRank, Sparse};

/// The largest degree of [`Sumcheck::power`].
pub const MAX_DEGREE: usize = polynomial::MAX_DEGREE;

/// A call that does not belong to the present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfTurn {
    /// All rounds are over.
    Finished,
    /// Rounds are left.
    Unfinished,
}

/// A factor of what is summed, `k` rows of `n` columns.
#[derive(Clone, Copy, Debug)]
pub enum Factor<'a> {
    /// `[limb, 2, k, n]`
    Elements(&'a [u64]),
    /// `k` ciphertexts at a point.
    Folded(Folded<'a>),
}

impl Factor<'_> {
    fn table(&self, field: &Extension, (limb, limbs): (usize, usize), columns: usize) -> Table {
        match self {
            Self::Elements(words) => Table::new(part(words, limb, limbs)),
            Self::Folded(folded) => Table::folded(&folded.limb(field, limb), columns),
        }
    }
}

/// The prover of one limb.
trait Prover: Send + Sync {
    /// Values of a round polynomial that a message has.
    fn points(&self) -> usize;
    fn message(&self) -> Values;
    fn bind(&mut self, x: Element);
    /// `omega`, then the factors, at the point of all challenges.
    fn finals(&self) -> Vec<Element>;
}

/// The prover of one sum-check over the fields of all limbs, which share the shape.
pub struct Sumcheck {
    limbs: Vec<Box<dyn Prover>>,
    rounds: usize,
    remaining: usize,
}

impl Sumcheck {
    /// `f(h) = sum_i coefficients[i] h^i`: `omega` is `[limb, 2, k]`, `lambda` `[limb, 2, n]`,
    /// `coefficients` `[limb, d + 1]` with `1 <= d <=` [`MAX_DEGREE`]; `shape` is `(k, n)`, both
    /// positive.
    #[must_use]
    pub fn power(
        fields: &[Extension],
        omega: &[u64],
        lambda: &[u64],
        h: Factor<'_>,
        coefficients: &[u64],
        shape @ (_, columns): (usize, usize),
    ) -> Self {
        Self::new(fields, shape, |limb, field| {
            let omega = part(omega, limb, fields.len());
            let lambda = part(lambda, limb, fields.len());
            let h = [h.table(field, (limb, fields.len()), columns)];
            let coefficients = part(coefficients, limb, fields.len());
            let polynomial = Polynomial::new(field, coefficients);
            Box::new(Instance::new(*field, polynomial, omega, lambda, h, columns))
        })
    }

    /// `f(a, b) = a b`; the rest as in [`Self::power`].
    #[must_use]
    pub fn product(
        fields: &[Extension],
        omega: &[u64],
        lambda: &[u64],
        factors: [Factor<'_>; 2],
        shape @ (_, columns): (usize, usize),
    ) -> Self {
        Self::new(fields, shape, |limb, field| {
            let omega = part(omega, limb, fields.len());
            let lambda = part(lambda, limb, fields.len());
            let factors = factors.map(|it| it.table(field, (limb, fields.len()), columns));
            Box::new(Instance::new(
                *field, Product, omega, lambda, factors, columns,
            ))
        })
    }

    /// `f(h) = h^2` for `h(k, n) = sum_d w[k, d] x(d, n)`, which is never stored: the rows of `x`
    /// are ciphertexts at a point and one row of a constant; the rest as in [`Self::power`].
    ///
    /// While `k` is bound, `sum_n lambda h_k h_k' = w_k G w_k'^T` for the Gram matrix `G` of the
    /// rows of `x`.
    #[must_use]
    pub fn gram(
        fields: &[Extension],
        omega: &[u64],
        lambda: &[u64],
        h: LowRank<'_>,
        shape @ (_, columns): (usize, usize),
    ) -> Self {
        Self::new(fields, shape, |limb, field| {
            let omega = part(omega, limb, fields.len());
            let lambda = part(lambda, limb, fields.len());
            Box::new(Gram::new(*field, limb, omega, lambda, h, columns))
        })
    }

    fn new(
        fields: &[Extension],
        (rows, columns): (usize, usize),
        limb: impl Fn(usize, &Extension) -> Box<dyn Prover> + Sync,
    ) -> Self {
        let limbs = fields
            .par_iter()
            .enumerate()
            .map(|(index, field)| limb(index, field))
            .collect();
        let bits = |length: usize| length.next_power_of_two().trailing_zeros() as usize;
        let rounds = bits(rows) + bits(columns);
        Self {
            limbs,
            rounds,
            remaining: rounds,
        }
    }

    /// The number of all rounds.
    #[must_use]
    pub const fn rounds(&self) -> usize {
        self.rounds
    }

    /// The round polynomials at `0, 2, 3, ...`: `[limb, point, 2]`.
    ///
    /// # Errors
    /// [`OutOfTurn::Finished`].
    pub fn message(&self) -> Result<Vec<u64>, OutOfTurn> {
        if self.remaining == 0 {
            return Err(OutOfTurn::Finished);
        }
        let values: Vec<Values> = self.limbs.par_iter().map(|limb| limb.message()).collect();
        Ok(self
            .limbs
            .iter()
            .zip(values)
            .flat_map(|(limb, values)| values.into_iter().take(limb.points()).flatten())
            .collect())
    }

    /// Binds the bit of this round to one challenge per limb.
    ///
    /// # Errors
    /// [`OutOfTurn::Finished`].
    pub fn bind(&mut self, x: &[Element]) -> Result<(), OutOfTurn> {
        self.remaining = self.remaining.checked_sub(1).ok_or(OutOfTurn::Finished)?;
        self.limbs
            .par_iter_mut()
            .zip(x)
            .for_each(|(limb, &x)| limb.bind(x));
        Ok(())
    }

    /// `omega` and the factors at the point of all challenges: `[limb, factor + 1, 2]`.
    ///
    /// # Errors
    /// [`OutOfTurn::Unfinished`].
    pub fn finals(&self) -> Result<Vec<u64>, OutOfTurn> {
        if self.remaining > 0 {
            return Err(OutOfTurn::Unfinished);
        }
        Ok(self
            .limbs
            .iter()
            .flat_map(|limb| limb.finals())
            .flatten()
            .collect())
    }
}

/// The part of one limb.
fn part(words: &[u64], limb: usize, limbs: usize) -> &[u64] {
    let length = words.len() / limbs;
    &words[limb * length..][..length]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Modulus;
    use crate::linear::Shape;

    /// Checks all messages of a sum-check whose tables are constant, so that each of its rounds
    /// halves the sum, and returns the elements at the end.
    fn run(field: &Extension, mut sumcheck: Sumcheck, term: Element) -> Vec<u64> {
        for left in (0..sumcheck.rounds()).rev() {
            let wanted = field.mul_word(term, 1 << left);
            for value in sumcheck.message().expect("rounds left").chunks(2) {
                assert_eq!(value, wanted, "{left} rounds left");
            }
            sumcheck.bind(&[[5, 7]]).expect("rounds left");
        }
        assert_eq!(sumcheck.message(), Err(OutOfTurn::Finished));
        sumcheck.finals().expect("no rounds left")
    }

    #[test]
    fn the_largest_words_do_not_overflow() {
        let (k, n) = (4, 2048);
        for q in [2_305_843_009_213_693_951, 1_152_921_504_577_486_849] {
            let field = Extension::new(Modulus::new(q).expect("prime"));
            let fields = [field];
            let largest = vec![q - 1; 2 * k * n];
            let (omega, lambda) = (&largest[..2 * k], &largest[..2 * n]);
            let h = [q - 1; 2];
            let square = field.mul(h, h);
            let weight = square;

            for degree in 1..=MAX_DEGREE {
                let coefficients = vec![q - 1; degree + 1];
                // Horner's rule, every coefficient being -1.
                let value =
                    (0..=degree).fold([0; 2], |value, _| field.sub(field.mul(value, h), [1, 0]));
                let shape = (k, n);
                let factor = Factor::Elements(&largest);
                let sumcheck =
                    Sumcheck::power(&fields, omega, lambda, factor, &coefficients, shape);
                let finals = run(&field, sumcheck, field.mul(weight, value));
                assert_eq!(finals, [q - 1; 4]);
            }

            // At sigma = u two polynomials are the components.
            let folded = |count| Folded {
                words: &largest[..2 * count * n],
                shape: Shape {
                    count,
                    polys: 2,
                    limbs: 1,
                    n,
                },
                sigmas: &[[0, 1]],
            };
            let factors = [Factor::Elements(&largest), Factor::Folded(folded(k))];
            let sumcheck = Sumcheck::product(&fields, omega, lambda, factors, (k, n));
            let finals = run(&field, sumcheck, field.mul(weight, square));
            assert_eq!(finals, [q - 1; 6]);

            // Three rows of -1 - u, the first one taken off, and a constant that cancels out:
            // h = -(1 + u) (1 + 1 - 1).
            let w = Sparse {
                indptr: &[0, 5, 10, 15, 20],
                columns: &[0, 1, 2, 3, 3].repeat(4),
                values: &[-1, 1, 1, 1, -1].repeat(4),
            };
            let h = LowRank {
                rows: folded(3),
                constants: &[q - 1],
                w,
            };
            let sumcheck = Sumcheck::gram(&fields, omega, lambda, h, (k, n));
            let finals = run(&field, sumcheck, field.mul(weight, square));
            assert_eq!(finals, [q - 1; 4]);
        }
    }
}
