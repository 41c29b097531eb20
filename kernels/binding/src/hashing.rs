//! SHA-256 over chunks, columns and trees.

use kernels_core::hashing::{self, DIGEST_BYTES, WrongOpening};
use numpy::{PyArray2, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::border::{Array, Length, Refusal, array, indices, output_size, prefix};

type Digests<'py> = PyResult<Bound<'py, PyArray2<u8>>>;

/// The bytes of a C-contiguous array or of a bytes-like object, as a flat array, without a copy.
fn flat_bytes<'py>(data: &Bound<'py, PyAny>) -> PyResult<Array<'py, u8>> {
    let py = data.py();
    let flat = if let Ok(words) = data.cast::<PyUntypedArray>() {
        if !words.is_c_contiguous() {
            return Err(Refusal::new("data", "a C-contiguous array", "another layout").into());
        }
        words
            .call_method1("reshape", (-1,))?
            .call_method1("view", ("uint8",))?
    } else {
        let view = py
            .import("builtins")?
            .getattr("memoryview")?
            .call1((data,))?;
        // `frombuffer` refuses an empty buffer.
        if view.getattr("nbytes")?.extract::<usize>()? == 0 {
            py.import("numpy")?.call_method1("empty", (0, "uint8"))?
        } else {
            py.import("numpy")?
                .call_method1("frombuffer", (view, "uint8"))?
        }
    };
    flat.extract()
}

/// The concatenated SHA-256 of each chunk of a buffer.
#[pyfunction]
pub(crate) fn sha256_chunks<'py>(
    py: Python<'py>,
    data: Bound<'py, PyAny>,
    chunk_bytes: Length,
) -> PyResult<Bound<'py, PyBytes>> {
    if chunk_bytes.0 == 0 {
        return Err(Refusal::new("chunk_bytes", "a positive length", 0).into());
    }
    let bytes = flat_bytes(&data)?;
    let bytes = bytes.flat("data")?;
    output_size(&[bytes.len().div_ceil(chunk_bytes.0), DIGEST_BYTES])?;
    Ok(PyBytes::new(
        py,
        &py.detach(|| hashing::sha256_chunks(bytes, chunk_bytes.0)),
    ))
}

/// The leaf of every column of stacked row arrays.
#[pyfunction]
pub(crate) fn hash_columns<'py>(
    py: Python<'py>,
    rows: Vec<Array<'py, u64>>,
    salts: Array<'py, u8>,
    prefix: &[u8],
) -> Digests<'py> {
    let prefix = self::prefix(prefix)?;
    let [n, _] = salts.view::<2>("salts")?.shape;
    let salts = salts.exactly("salts", [n, DIGEST_BYTES])?;
    let arrays = rows
        .iter()
        .map(|array| {
            let [count, _] = array.view::<2>("rows")?.shape;
            array.exactly("rows", [count, n])
        })
        .collect::<Result<Vec<_>, _>>()?;
    let leaves = py.detach(|| hashing::hash_columns(&arrays, salts, prefix, n));
    array(py, leaves, [n, DIGEST_BYTES])
}

/// Columns of `rows` at `positions`, one per line.
#[pyfunction]
pub(crate) fn gather_columns<'py>(
    py: Python<'py>,
    rows: Array<'py, u64>,
    positions: Array<'py, i64>,
) -> PyResult<Bound<'py, PyArray2<u64>>> {
    let rows = rows.view::<2>("rows")?;
    let [count, n] = rows.shape;
    let positions = indices("positions", positions.view::<1>("positions")?.data, n)?;
    output_size(&[positions.len(), count])?;
    let columns = py.detach(|| hashing::gather_columns(rows.data, n, &positions));
    array(py, columns, [positions.len(), count])
}

/// The leaves of opened columns.
#[pyfunction]
pub(crate) fn hash_leaves<'py>(
    py: Python<'py>,
    columns: Array<'py, u64>,
    salts: Array<'py, u8>,
    prefix: &[u8],
) -> Digests<'py> {
    let prefix = self::prefix(prefix)?;
    let columns = columns.view::<2>("columns")?;
    let [count, rows] = columns.shape;
    let salts = salts.exactly("salts", [count, DIGEST_BYTES])?;
    let leaves = py.detach(|| hashing::hash_leaves(columns.data, salts, prefix, rows));
    array(py, leaves, [count, DIGEST_BYTES])
}

/// All nodes of a Merkle tree in heap order.
#[pyfunction]
pub(crate) fn merkle_nodes<'py>(
    py: Python<'py>,
    leaves: Array<'py, u8>,
    prefix: &[u8],
) -> Digests<'py> {
    let prefix = self::prefix(prefix)?;
    let [count, _] = leaves.view::<2>("leaves")?.shape;
    let leaves = leaves.exactly("leaves", [count, DIGEST_BYTES])?;
    if !count.is_power_of_two() {
        return Err(Refusal::new("leaves", "a power of two of leaves", count).into());
    }
    output_size(&[2 * count, DIGEST_BYTES])?;
    let nodes = py.detach(|| hashing::merkle_nodes(leaves, prefix));
    array(py, nodes, [2 * count, DIGEST_BYTES])
}

/// The root above some leaves of a tree, from an opening.
#[pyfunction]
pub(crate) fn merkle_root<'py>(
    py: Python<'py>,
    leaves: Array<'py, u8>,
    positions: Array<'py, i64>,
    opening: &[u8],
    count: Length,
    prefix: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let prefix = self::prefix(prefix)?;
    let count = count.0;
    if !count.is_power_of_two() {
        return Err(Refusal::new("count", "a power of two", count).into());
    }
    let positions = positions.view::<1>("positions")?;
    if positions.data.is_empty() {
        return Err(Refusal::new("positions", "at least one position", "none").into());
    }
    let leaves = leaves.exactly("leaves", [positions.shape[0], DIGEST_BYTES])?;
    let positions = indices("positions", positions.data, count)?;
    if let Some(index) = positions.windows(2).position(|pair| pair[0] >= pair[1]) {
        let found = format!("{} before {}", positions[index], positions[index + 1]);
        return Err(Refusal::new("positions", "ascending distinct positions", found).into());
    }
    let root = py
        .detach(|| hashing::merkle_root(leaves, &positions, opening, count, prefix))
        .map_err(|WrongOpening { expected }| {
            Refusal::new("opening", format_args!("{expected} bytes"), opening.len())
        })?;
    Ok(PyBytes::new(py, &root))
}
