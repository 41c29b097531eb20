//! Where Python values become checked Rust values, and results become arrays.
//!
//! Every refusal names the argument, what was expected and what was found. `TypeError` is for the
//! wrong kind of object or dtype (`PyO3` notes the name), `ValueError` for everything else.

use kernels_core::{Error, Modulus};
use numpy::ndarray::IntoDimension;
use numpy::{
    Element, PyArray, PyArray1, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods,
    PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray, PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple};
use rayon::prelude::*;

/// Elements of the largest result: bounds what a call can allocate (2 GiB of words).
const MAX_OUTPUT_ELEMENTS: usize = 1 << 28;

/// Bytes of the longest hash prefix.
const MAX_PREFIX_BYTES: usize = 256;

/// Words checked by one task.
const CHUNK: usize = 1 << 15;

/// A refused argument; becomes a `ValueError`.
#[derive(Debug)]
pub(crate) struct Refusal(String);

impl Refusal {
    pub(crate) fn new(
        name: &str,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> Self {
        Self(format!("{name}: expected {expected}, found {found}"))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        PyValueError::new_err(refusal.0)
    }
}

/// A numpy array of dtype `T`, of any shape and layout.
pub(crate) struct Array<'py, T: Element>(PyReadonlyArrayDyn<'py, T>);

/// The array that an object is.
fn typed<'a, 'py, T: Element>(
    object: Borrowed<'a, 'py, PyAny>,
) -> PyResult<Borrowed<'a, 'py, PyArrayDyn<T>>> {
    let expected = dtype::<T>(object.py());
    let Ok(untyped) = object.cast::<PyUntypedArray>() else {
        let found = object.get_type().name()?.to_string();
        return Err(PyTypeError::new_err(format!(
            "expected an array of {expected}, found {found}"
        )));
    };
    if !untyped.dtype().is_equiv_to(&expected) {
        let found = untyped.dtype().to_string();
        return Err(PyTypeError::new_err(format!(
            "expected an array of {expected}, found an array of {found}"
        )));
    }
    object
        .cast::<PyArrayDyn<T>>()
        .map_err(|_| PyTypeError::new_err(format!("expected an array of {expected}")))
}

impl<'py, T: Element> FromPyObject<'_, 'py> for Array<'py, T> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let readonly = typed::<T>(object)?
            .try_readonly()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self(readonly))
    }
}

/// The elements of a C-contiguous array, with its shape.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T, const D: usize> {
    pub(crate) shape: [usize; D],
    pub(crate) data: &'a [T],
}

impl<T: Element> Array<'_, T> {
    pub(crate) fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    /// The elements in C order, whatever the shape.
    pub(crate) fn flat(&self, name: &str) -> Result<&[T], Refusal> {
        if !self.0.is_c_contiguous() {
            return Err(Refusal::new(name, "a C-contiguous array", "another layout"));
        }
        self.0
            .as_slice()
            .map_err(|_| Refusal::new(name, "an aligned array", "a misaligned one"))
    }

    /// The elements in C order of an array with `D` axes.
    pub(crate) fn view<const D: usize>(&self, name: &str) -> Result<View<'_, T, D>, Refusal> {
        let shape = <[usize; D]>::try_from(self.shape()).map_err(|_| {
            Refusal::new(
                name,
                format_args!("{D} axes"),
                format_args!("shape {:?}", self.shape()),
            )
        })?;
        Ok(View {
            shape,
            data: self.flat(name)?,
        })
    }

    /// As [`Self::view`], for one exact shape.
    pub(crate) fn exactly<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
    ) -> Result<&[T], Refusal> {
        if self.shape() != shape {
            return Err(Refusal::new(
                name,
                format_args!("shape {shape:?}"),
                format_args!("shape {:?}", self.shape()),
            ));
        }
        self.flat(name)
    }
}

/// A numpy array that a result is written to: no other argument may share its memory.
pub(crate) struct Output<'py, T: Element> {
    array: Bound<'py, PyArrayDyn<T>>,
    writable: PyReadwriteArrayDyn<'py, T>,
}

impl<'py, T: Element> FromPyObject<'_, 'py> for Output<'py, T> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let array = typed::<T>(object)?.to_owned();
        let writable = array
            .try_readwrite()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { array, writable })
    }
}

impl<'py, T: Element> Output<'py, T> {
    /// A new array, within bounds, of unspecified content.
    ///
    /// Of numpy's own memory, which asks for large pages: those of a large array are many.
    pub(crate) fn new(py: Python<'py>, shape: &[usize]) -> PyResult<Self> {
        output_size(shape)?;
        let shape = PyTuple::new(py, shape)?;
        py.import("numpy")?
            .call_method1("empty", (shape, dtype::<T>(py)))?
            .extract()
    }

    /// The array of an argument, of one exact shape, or a new one.
    pub(crate) fn or_new(
        py: Python<'py>,
        name: &str,
        given: Option<Self>,
        shape: &[usize],
    ) -> PyResult<Self> {
        let Some(output) = given else {
            return Self::new(py, shape);
        };
        let found = output.array.shape();
        if found != shape {
            let expected = format_args!("shape {shape:?}");
            return Err(Refusal::new(name, expected, format_args!("shape {found:?}")).into());
        }
        if !output.array.is_c_contiguous() {
            return Err(Refusal::new(name, "a C-contiguous array", "another layout").into());
        }
        Ok(output)
    }

    /// The elements in C order.
    pub(crate) fn elements(&mut self, name: &str) -> Result<&mut [T], Refusal> {
        self.writable
            .as_slice_mut()
            .map_err(|_| Refusal::new(name, "an aligned array", "a misaligned one"))
    }

    /// The array, written.
    pub(crate) fn finish(self) -> Bound<'py, PyArrayDyn<T>> {
        self.array
    }
}

/// Every word is below `q`.
pub(crate) fn canonical(name: &str, modulus: &Modulus, words: &[u64]) -> Result<(), Refusal> {
    if words
        .par_chunks(CHUNK)
        .all(|chunk| modulus.is_canonical(chunk))
    {
        return Ok(());
    }
    let index = words
        .iter()
        .position(|&word| word >= modulus.value())
        .unwrap_or_default();
    Err(Refusal::new(
        name,
        format_args!("words below {}", modulus.value()),
        format_args!("{} at flat index {index}", words[index]),
    ))
}

/// The number of elements of a result, within bounds.
pub(crate) fn output_size(shape: &[usize]) -> Result<usize, Refusal> {
    shape
        .iter()
        .try_fold(1_usize, |size, &length| size.checked_mul(length))
        .filter(|&size| size <= MAX_OUTPUT_ELEMENTS)
        .ok_or_else(|| {
            Refusal::new(
                "result",
                format_args!("at most {MAX_OUTPUT_ELEMENTS} elements"),
                format_args!("shape {shape:?}"),
            )
        })
}

/// Indices in `[0, bound)`.
pub(crate) fn indices(name: &str, values: &[i64], bound: usize) -> Result<Vec<usize>, Refusal> {
    values
        .iter()
        .map(|&value| {
            usize::try_from(value)
                .ok()
                .filter(|&index| index < bound)
                .ok_or_else(|| Refusal::new(name, format_args!("indices in [0, {bound})"), value))
        })
        .collect()
}

/// A short hash prefix.
pub(crate) fn prefix(bytes: &[u8]) -> Result<&[u8], Refusal> {
    if bytes.len() > MAX_PREFIX_BYTES {
        return Err(Refusal::new(
            "prefix",
            format_args!("at most {MAX_PREFIX_BYTES} bytes"),
            bytes.len(),
        ));
    }
    Ok(bytes)
}

/// Words as (low, high) pairs.
pub(crate) fn pairs(words: &[u64]) -> &[[u64; 2]] {
    words.as_chunks().0
}

/// An unsigned Python integer; one out of range is a `ValueError`, not an `OverflowError`.
fn unsigned<'py, T>(object: Borrowed<'_, 'py, PyAny>) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    object.extract::<T>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(object.py()) {
            PyValueError::new_err("expected an integer in [0, 2^64)")
        } else {
            error
        }
    })
}

/// A modulus: an odd prime of 50 to 61 bits.
pub(crate) struct Prime(pub(crate) Modulus);

impl FromPyObject<'_, '_> for Prime {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        Ok(Self(
            Modulus::new(unsigned(object)?).map_err(Refusal::from)?,
        ))
    }
}

/// The moduli of the limbs.
pub(crate) fn moduli(primes: &[Prime]) -> Vec<Modulus> {
    primes.iter().map(|prime| prime.0).collect()
}

/// A length.
pub(crate) struct Length(pub(crate) usize);

impl FromPyObject<'_, '_> for Length {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        Ok(Self(unsigned(object)?))
    }
}

/// A seed of exactly `N` bytes.
pub(crate) struct Seed<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> FromPyObject<'_, '_> for Seed<N> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let bytes: &[u8] = object.extract()?;
        let seed = bytes
            .try_into()
            .map_err(|_| Refusal::new("seed", format_args!("{N} bytes"), bytes.len()))?;
        Ok(Self(seed))
    }
}

/// Any Python integer.
pub(crate) struct Integer<'py>(Bound<'py, PyInt>);

impl<'py> FromPyObject<'_, 'py> for Integer<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        // numpy's integers are no `int`, but have `__index__`.
        let index = object.call_method0("__index__").map_err(|_| {
            PyTypeError::new_err(format!("expected an integer, found {}", object.get_type()))
        })?;
        Ok(Self(index.cast_into::<PyInt>()?))
    }
}

impl Integer<'_> {
    /// Its residue.
    pub(crate) fn modulo(&self, modulus: &Modulus) -> PyResult<u64> {
        self.0.as_any().rem(modulus.value())?.extract()
    }
}

/// A vector as an array of the given shape, without a copy.
pub(crate) fn array<T: Element, S: IntoDimension>(
    py: Python<'_>,
    elements: Vec<T>,
    shape: S,
) -> PyResult<Bound<'_, PyArray<T, S::Dim>>> {
    PyArray1::from_vec(py, elements).reshape(shape)
}
