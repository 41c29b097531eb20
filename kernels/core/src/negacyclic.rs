//! The negacyclic transform of `F_q[X] / (X^n + 1)` in SEAL's order.

use rayon::prelude::*;

use crate::transform::{CosetTransform, root_of_unity};
use crate::{Error, Modulus};

const MAX_LENGTH: usize = 1 << 20;

/// `V[i, j] = psi^((2 bitrev(i) + 1) j)`, `psi` the numerically smallest primitive `2n`-th root.
#[derive(Clone, Debug)]
pub struct NegacyclicNtt(CosetTransform);

impl NegacyclicNtt {
    /// Tables for length `n`.
    ///
    /// # Errors
    /// `n` is not a power of two in `[2, 2^20]`, or `q` is not 1 modulo `2n`.
    pub fn new(modulus: Modulus, n: usize) -> Result<Self, Error> {
        if !n.is_power_of_two() || !(2..=MAX_LENGTH).contains(&n) {
            let expected = format!("a power of two from 2 to {MAX_LENGTH}");
            return Err(Error::Length {
                name: "n",
                value: n,
                expected,
            });
        }
        let root = root_of_unity(&modulus, 2 * n)?;
        let square = modulus.shoup(modulus.mul(root, root));
        // The primitive roots are the odd powers of any one of them.
        let (mut smallest, mut power) = (root, root);
        for _ in 1..n {
            power = square.mul(power, modulus.value());
            smallest = smallest.min(power);
        }
        let generator = modulus.mul(smallest, smallest);
        Ok(Self(CosetTransform::new(modulus, n, smallest, generator)))
    }

    /// The field.
    #[must_use]
    pub fn modulus(&self) -> &Modulus {
        self.0.modulus()
    }

    /// The length of one polynomial.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.length()
    }

    /// `V a` for each row.
    pub fn forward(&self, rows: &mut [u64]) {
        let n = self.length();
        rows.par_chunks_exact_mut(n)
            .for_each(|row| self.0.forward(row, n));
    }

    /// `V^-1 a` for each row.
    pub fn inverse(&self, rows: &mut [u64]) {
        rows.par_chunks_exact_mut(self.length())
            .for_each(|row| self.0.inverse(row));
    }

    /// `V^T a` for each row.
    pub fn forward_transpose(&self, rows: &mut [u64]) {
        rows.par_chunks_exact_mut(self.length())
            .for_each(|row| self.0.forward_transpose(row));
    }

    /// `V^-T a` for each row.
    pub fn inverse_transpose(&self, rows: &mut [u64]) {
        rows.par_chunks_exact_mut(self.length())
            .for_each(|row| self.0.inverse_transpose(row));
    }
}
