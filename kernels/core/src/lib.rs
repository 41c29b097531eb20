//! Arithmetic kernels: prime fields, number-theoretic transforms, Reed-Solomon rows, projections,
//! deterministic streams and column hashing.
//!
//! A kernel knows no protocol: it maps words to words. Conventions used everywhere:
//!
//! * a *word* is a `u64` in `[0, q)`, `q` an odd prime of 50 to 61 bits ([`Modulus`]);
//! * matrices are flat row-major slices; the shape is given beside the slice;
//! * sizes are checked by the caller (the binding crate), except where a [`Result`] is returned;
//! * sums of products are taken in `u128` and reduced once every [`MAX_LAZY_PRODUCTS`] terms.
//!
//! Loops that profit from wide registers or from the BMI2 multiplier run under [`vectorised`],
//! which picks the instruction set at run time; the crate itself contains no unsafe code.
//! Nothing here is constant time with respect to its inputs, except as far as straight-line
//! arithmetic happens to be.

#![forbid(unsafe_code)]
// Code below `vectorised` must be inlined into it to be compiled for the chosen instruction set.
#![allow(clippy::inline_always)]

mod error;
pub mod extension;
pub mod hashing;
mod lanes;
pub mod linear;
pub mod matrix;
mod modulus;
mod negacyclic;
mod packed;
pub mod projection;
mod reed_solomon;
pub mod seal_seed;
pub mod stream;
pub mod sumcheck;
pub mod tile;
mod transform;
mod vector;

pub use error::Error;
pub use extension::Extension;
pub use modulus::{MAX_LAZY_PRODUCTS, Modulus};
pub use negacyclic::NegacyclicNtt;
pub use reed_solomon::ReedSolomon;
pub use transform::CosetTransform;

/// Runs `work` compiled for the best instruction set of this machine (AVX2 and BMI2 on `x86_64`).
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
