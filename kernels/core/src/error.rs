//! The one error type of the crate.

use std::fmt;

/// Why a modulus, a transform or a code cannot be built, or an operation has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The modulus is not an odd prime of 50 to 61 bits.
    Modulus {
        /// The refused value.
        value: u64,
        /// Which property fails.
        reason: &'static str,
    },
    /// A length that is not a power of two inside the stated range.
    Length {
        /// The name of the length.
        name: &'static str,
        /// The refused value.
        value: usize,
        /// What is accepted.
        expected: String,
    },
    /// The field has no root of unity of the order a transform needs.
    RootOfUnity {
        /// The modulus.
        modulus: u64,
        /// The order asked for.
        order: u64,
    },
    /// Zero has no inverse.
    ZeroInverse {
        /// Flat index of the first zero.
        index: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Modulus { value, reason } => {
                write!(
                    formatter,
                    "modulus: expected an odd prime of 50 to 61 bits, found {value} ({reason})"
                )
            }
            Self::Length {
                name,
                value,
                expected,
            } => {
                write!(formatter, "{name}: expected {expected}, found {value}")
            }
            Self::RootOfUnity { modulus, order } => {
                write!(
                    formatter,
                    "modulus: expected a prime congruent to 1 modulo {order}, found {modulus} \
                     (remainder {})",
                    modulus % order
                )
            }
            Self::ZeroInverse { index } => {
                write!(
                    formatter,
                    "a: expected words with an inverse, found zero at flat index {index}"
                )
            }
        }
    }
}

impl std::error::Error for Error {}
