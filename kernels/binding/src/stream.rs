//! Deterministic streams and SEAL's seed expansion.

use kernels_core::linear::{NotCanonical, Shape};
use kernels_core::{seal_seed, stream};
use numpy::{PyArray1, PyArray2, PyArray3, PyArray4};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::border::{Array, Length, Prime, Seed, array, moduli, output_size};
use crate::linear::not_canonical;

type StreamSeed = Seed<{ stream::SEED_BYTES }>;
type SealSeed = Seed<{ seal_seed::SEED_BYTES }>;

/// Bytes of the SHA-256 counter stream.
#[pyfunction]
pub(crate) fn xof_bytes(
    py: Python<'_>,
    seed: StreamSeed,
    count: Length,
) -> PyResult<Bound<'_, PyBytes>> {
    let count = output_size(&[count.0])?;
    Ok(PyBytes::new(
        py,
        &py.detach(|| stream::xof_bytes(seed.0, count)),
    ))
}

/// Uniform words of the SHA-256 counter stream.
#[pyfunction]
pub(crate) fn xof_field(
    py: Python<'_>,
    seed: StreamSeed,
    q: Prime,
    count: Length,
) -> PyResult<Bound<'_, PyArray1<u64>>> {
    let count = output_size(&[count.0])?;
    Ok(PyArray1::from_vec(
        py,
        py.detach(|| stream::xof_field(seed.0, &q.0, count)),
    ))
}

/// Bytes of the `ChaCha20` stream.
#[pyfunction]
pub(crate) fn chacha_bytes(
    py: Python<'_>,
    seed: StreamSeed,
    count: Length,
) -> PyResult<Bound<'_, PyBytes>> {
    let count = output_size(&[count.0])?;
    Ok(PyBytes::new(
        py,
        &py.detach(|| stream::chacha_bytes(seed.0, count)),
    ))
}

/// Uniform words of the `ChaCha20` stream.
#[pyfunction]
pub(crate) fn chacha_field(
    py: Python<'_>,
    seed: StreamSeed,
    q: Prime,
    count: Length,
) -> PyResult<Bound<'_, PyArray1<u64>>> {
    let count = output_size(&[count.0])?;
    Ok(PyArray1::from_vec(
        py,
        py.detach(|| stream::chacha_field(seed.0, &q.0, count)),
    ))
}

/// SEAL's uniform polynomial of a 64-byte seed.
#[pyfunction]
pub(crate) fn expand_seal_seed(
    py: Python<'_>,
    seed: SealSeed,
    moduli: Vec<Prime>,
    n: Length,
) -> PyResult<Bound<'_, PyArray2<u64>>> {
    let shape = [moduli.len(), n.0];
    output_size(&shape)?;
    let moduli = self::moduli(&moduli);
    array(
        py,
        py.detach(|| seal_seed::expand(&seed.0, &moduli, n.0)),
        shape,
    )
}

/// SEAL's uniform polynomials of many seeds.
#[pyfunction]
pub(crate) fn expand_seal_seeds(
    py: Python<'_>,
    seeds: Vec<SealSeed>,
    moduli: Vec<Prime>,
    n: Length,
) -> PyResult<Bound<'_, PyArray3<u64>>> {
    let shape = [seeds.len(), moduli.len(), n.0];
    output_size(&shape)?;
    let moduli = self::moduli(&moduli);
    let seeds: Vec<_> = seeds.into_iter().map(|seed| seed.0).collect();
    array(
        py,
        py.detach(|| seal_seed::expand_many(&seeds, &moduli, n.0)),
        shape,
    )
}

/// Whole ciphertexts: the given first polynomials, SEAL's uniform polynomials of the seeds.
#[pyfunction]
pub(crate) fn expand_ciphertexts<'py>(
    py: Python<'py>,
    seeds: Vec<SealSeed>,
    c0: Array<'py, u64>,
    moduli: Vec<Prime>,
) -> PyResult<Bound<'py, PyArray4<u64>>> {
    let [_, _, n] = c0.view::<3>("c0")?.shape;
    let (count, limbs) = (seeds.len(), moduli.len());
    let c0 = c0.exactly("c0", [count, limbs, n])?;
    let output_shape = [count, 2, limbs, n];
    output_size(&output_shape)?;
    let moduli = self::moduli(&moduli);
    let seeds: Vec<_> = seeds.into_iter().map(|seed| seed.0).collect();
    let words = py.detach(|| {
        seal_seed::expand_ciphertexts(&seeds, c0, &moduli, n).map_err(|NotCanonical| {
            let polys = 1;
            let shape = Shape {
                count,
                polys,
                limbs,
                n,
            };
            not_canonical("c0", c0, &moduli, shape)
        })
    })?;
    array(py, words, output_shape)
}
