//! Folding and projecting by public random matrices.

use kernels_core::projection::{self, MAX_WIDE_BITS, ROWS_PER_GROUP};
use numpy::{PyArray1, PyArray2};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyInt, PyList};

use crate::border::{Array, Prime, Refusal, array, canonical, output_size, pairs};

/// `out[c, j] = sum_s gammas[c, s] r[s, j]` for a packed 0/1 matrix `r`.
#[pyfunction]
pub(crate) fn fold_bits<'py>(
    py: Python<'py>,
    q: Prime,
    bits: Array<'py, u8>,
    gammas: Array<'py, u64>,
) -> PyResult<Bound<'py, PyArray2<u64>>> {
    let bits = bits.view::<2>("bits")?;
    let [groups, n] = bits.shape;
    let rows = output_size(&[groups, ROWS_PER_GROUP])?;
    let [combinations, _] = gammas.view::<2>("gammas")?.shape;
    let gammas = gammas.exactly("gammas", [combinations, rows])?;
    output_size(&[combinations, n])?;
    let words = py.detach(|| {
        canonical("gammas", &q.0, gammas)?;
        let shape = (combinations, groups, n);
        Ok::<_, Refusal>(projection::fold_bits(&q.0, bits.data, gammas, shape))
    })?;
    array(py, words, [combinations, n])
}

/// The exact sums of signed 64-bit integers selected by each row.
#[pyfunction]
pub(crate) fn project_bits_i64<'py>(
    py: Python<'py>,
    bits: Array<'py, u8>,
    x: Array<'py, i64>,
) -> PyResult<Bound<'py, PyList>> {
    let x = x.view::<1>("x")?;
    let [groups, _] = bits.view::<2>("bits")?.shape;
    let bits = bits.exactly("bits", [groups, x.shape[0]])?;
    output_size(&[groups, ROWS_PER_GROUP])?;
    let sums = py.detach(|| projection::project_bits_i64(bits, x.data, groups));
    PyList::new(py, sums)
}

/// The exact sums of signed 128-bit integers selected by each row.
#[pyfunction]
pub(crate) fn project_bits_wide<'py>(
    py: Python<'py>,
    bits: Array<'py, u8>,
    x: Array<'py, u64>,
) -> PyResult<Bound<'py, PyList>> {
    let [n, _] = x.view::<2>("x")?.shape;
    let x = pairs(x.exactly("x", [n, 2])?);
    let [groups, _] = bits.view::<2>("bits")?.shape;
    let bits = bits.exactly("bits", [groups, n])?;
    output_size(&[groups, ROWS_PER_GROUP])?;
    let sums = py.detach(|| match projection::first_too_wide(x) {
        None => Ok(projection::project_bits_wide(bits, x, groups)),
        Some(index) => Err(Refusal::new(
            "x",
            format_args!("magnitudes below 2^{MAX_WIDE_BITS}"),
            format_args!("a larger one at index {index}"),
        )),
    })?;
    let from_bytes = py.get_type::<PyInt>().getattr("from_bytes")?;
    let signed = [("signed", true)].into_py_dict(py)?;
    let integers = sums
        .into_iter()
        .map(|sum| {
            let bytes = PyBytes::new(py, &sum.to_le_bytes());
            from_bytes.call((bytes, "little"), Some(&signed))
        })
        .collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, integers)
}

/// The sums of words selected by each row.
#[pyfunction]
pub(crate) fn project_bits_mod<'py>(
    py: Python<'py>,
    q: Prime,
    bits: Array<'py, u8>,
    x: Array<'py, u64>,
) -> PyResult<Bound<'py, PyArray1<u64>>> {
    let x = x.view::<1>("x")?;
    let [groups, _] = bits.view::<2>("bits")?.shape;
    let bits = bits.exactly("bits", [groups, x.shape[0]])?;
    output_size(&[groups, ROWS_PER_GROUP])?;
    let words = py.detach(|| {
        canonical("x", &q.0, x.data)?;
        Ok::<_, Refusal>(projection::project_bits_mod(&q.0, bits, x.data, groups))
    })?;
    Ok(PyArray1::from_vec(py, words))
}

/// `out[c, j] = sum_s gammas[c, s] coefficients[s, j]` for signed 32-bit integers.
#[pyfunction]
pub(crate) fn fold_i32<'py>(
    py: Python<'py>,
    q: Prime,
    coefficients: Array<'py, i32>,
    gammas: Array<'py, u64>,
) -> PyResult<Bound<'py, PyArray2<u64>>> {
    let coefficients = coefficients.view::<2>("coefficients")?;
    let [rows, n] = coefficients.shape;
    let [combinations, _] = gammas.view::<2>("gammas")?.shape;
    let gammas = gammas.exactly("gammas", [combinations, rows])?;
    output_size(&[combinations, n])?;
    let words = py.detach(|| {
        canonical("gammas", &q.0, gammas)?;
        let shape = (combinations, rows, n);
        Ok::<_, Refusal>(projection::fold_i32(&q.0, coefficients.data, gammas, shape))
    })?;
    array(py, words, [combinations, n])
}

/// The exact inner products of signed 64-bit integers with rows of signed 32-bit integers.
#[pyfunction]
pub(crate) fn project_i32<'py>(
    py: Python<'py>,
    coefficients: Array<'py, i32>,
    x: Array<'py, i64>,
) -> PyResult<Bound<'py, PyList>> {
    let x = x.view::<1>("x")?;
    let [rows, _] = coefficients.view::<2>("coefficients")?.shape;
    let coefficients = coefficients.exactly("coefficients", [rows, x.shape[0]])?;
    output_size(&[rows])?;
    let sums = py.detach(|| projection::project_i32(coefficients, x.data, rows));
    PyList::new(py, sums)
}
