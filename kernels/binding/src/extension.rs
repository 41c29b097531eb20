//! `Extension` and products over it for all limbs.

use kernels_core::extension::words::Folded;
use kernels_core::extension::{Element, rows, words};
use numpy::{PyArray1, PyArray2, PyArray3, PyArray4, PyArrayDyn};
use pyo3::prelude::*;
use rayon::prelude::*;

use crate::border::{Array, Prime, Refusal, array, canonical, output_size, pairs};
use crate::linear::{canonical_limbs, ciphertexts};

/// The quadratic extension of one prime field.
#[pyclass(frozen, module = "kernels")]
pub(crate) struct Extension(kernels_core::Extension);

type Words<'py> = PyResult<Bound<'py, PyArrayDyn<u64>>>;

/// Components are the first axis.
fn elements<'a>(name: &str, array: &'a Array<'_, u64>) -> Result<&'a [u64], Refusal> {
    if array.shape().first() == Some(&2) {
        return array.flat(name);
    }
    Err(Refusal::new(
        name,
        "a first axis of 2, the components",
        format_args!("shape {:?}", array.shape()),
    ))
}

#[pymethods]
impl Extension {
    #[new]
    fn new(q: Prime) -> Self {
        Self(kernels_core::Extension::new(q.0))
    }

    #[getter]
    fn q(&self) -> u64 {
        self.0.modulus().value()
    }

    #[getter]
    fn nonresidue(&self) -> u64 {
        self.0.nonresidue()
    }

    fn __repr__(&self) -> String {
        format!("Extension({})", self.q())
    }

    fn mul<'py>(&self, py: Python<'py>, a: Array<'py, u64>, b: Array<'py, u64>) -> Words<'py> {
        let field = &self.0;
        let shape = a.shape().to_vec();
        if b.shape() != shape {
            let found = format!("shape {:?}", b.shape());
            return Err(Refusal::new("b", format_args!("shape {shape:?}"), found).into());
        }
        let (a, b) = (elements("a", &a)?, elements("b", &b)?);
        let product = py.detach(|| {
            canonical("a", field.modulus(), a)?;
            canonical("b", field.modulus(), b)?;
            Ok::<_, Refusal>(field.mul_elements(a, b))
        })?;
        array(py, product, shape)
    }

    fn scale<'py>(&self, py: Python<'py>, a: Array<'py, u64>, x: Array<'py, u64>) -> Words<'py> {
        let field = &self.0;
        let shape = a.shape().to_vec();
        let a = elements("a", &a)?;
        let x = x.exactly("x", [2])?;
        let product = py.detach(|| {
            canonical("a", field.modulus(), a)?;
            canonical("x", field.modulus(), x)?;
            Ok::<_, Refusal>(field.scale_elements(a, [x[0], x[1]]))
        })?;
        array(py, product, shape)
    }

    fn inner<'py>(
        &self,
        py: Python<'py>,
        a: Array<'py, u64>,
        b: Array<'py, u64>,
    ) -> PyResult<Bound<'py, PyArray1<u64>>> {
        let field = &self.0;
        let [_, n] = a.view::<2>("a")?.shape;
        let a = a.exactly("a", [2, n])?;
        let b = b.exactly("b", [2, n])?;
        let product = py.detach(|| {
            canonical("a", field.modulus(), a)?;
            canonical("b", field.modulus(), b)?;
            Ok::<_, Refusal>(field.inner(a, b))
        })?;
        Ok(PyArray1::from_slice(py, &product))
    }

    fn combine_words<'py>(
        &self,
        py: Python<'py>,
        words: Array<'py, u64>,
        weights: Array<'py, u64>,
    ) -> PyResult<Bound<'py, PyArray2<u64>>> {
        let modulus = self.0.modulus();
        let words = words.view::<2>("words")?;
        let [count, n] = words.shape;
        let weights = weights.exactly("weights", [2, count])?;
        output_size(&[2, n])?;
        let combined = py.detach(|| {
            canonical("words", modulus, words.data)?;
            canonical("weights", modulus, weights)?;
            Ok::<_, Refusal>(rows::combine_words(&self.0, words.data, weights, n))
        })?;
        array(py, combined, [2, n])
    }

    fn inner_words<'py>(
        &self,
        py: Python<'py>,
        words: Array<'py, u64>,
        b: Array<'py, u64>,
    ) -> PyResult<Bound<'py, PyArray2<u64>>> {
        let modulus = self.0.modulus();
        let words = words.view::<2>("words")?;
        let [count, n] = words.shape;
        let b = b.exactly("b", [2, n])?;
        output_size(&[2, count])?;
        let products = py.detach(|| {
            canonical("words", modulus, words.data)?;
            canonical("b", modulus, b)?;
            Ok::<_, Refusal>(rows::inner_words(&self.0, words.data, b, count))
        })?;
        array(py, products, [2, count])
    }

    fn eq_table<'py>(
        &self,
        py: Python<'py>,
        points: Array<'py, u64>,
    ) -> PyResult<Bound<'py, PyArray2<u64>>> {
        let [count, _] = points.view::<2>("points")?.shape;
        let points = points.exactly("points", [count, 2])?;
        let length = u32::try_from(count)
            .ok()
            .and_then(|bits| 1_usize.checked_shl(bits))
            .unwrap_or(usize::MAX);
        output_size(&[2, length])?;
        let table = py.detach(|| {
            canonical("points", self.0.modulus(), points)?;
            Ok::<_, Refusal>(self.0.eq_table(pairs(points)))
        })?;
        array(py, table, [2, length])
    }
}

/// The fields of the limbs.
pub(crate) fn fields(moduli: &[Prime]) -> Vec<kernels_core::Extension> {
    moduli
        .iter()
        .map(|prime| kernels_core::Extension::new(prime.0))
        .collect()
}

/// The words of an array with one modulus per entry of its first axis are canonical.
pub(crate) fn canonical_first_axis(
    name: &str,
    words: &[u64],
    fields: &[kernels_core::Extension],
) -> Result<(), Refusal> {
    let length = words.len() / fields.len().max(1);
    fields.par_iter().enumerate().try_for_each(|(limb, field)| {
        canonical(name, field.modulus(), &words[limb * length..][..length])
    })
}

/// One element per limb.
pub(crate) fn points<'a>(
    name: &str,
    array: &'a Array<'_, u64>,
    fields: &[kernels_core::Extension],
) -> Result<&'a [Element], Refusal> {
    let words = array.exactly(name, [fields.len(), 2])?;
    canonical_first_axis(name, words, fields)?;
    Ok(pairs(words))
}

/// Ciphertexts `[count, poly, limb, n]` at one point per limb.
pub(crate) fn folded<'a>(
    name: &str,
    words: &'a Array<'_, u64>,
    sigmas: &'a Array<'_, u64>,
    (moduli, fields): (&[Prime], &[kernels_core::Extension]),
) -> Result<Folded<'a>, Refusal> {
    let (shape, words) = ciphertexts(name, words, moduli)?;
    let sigmas = points("sigmas", sigmas, fields)?;
    Ok(Folded {
        words,
        shape,
        sigmas,
    })
}

pub(crate) fn canonical_folded(
    name: &str,
    folded: Folded<'_>,
    fields: &[kernels_core::Extension],
) -> Result<(), Refusal> {
    let moduli: Vec<_> = fields.iter().map(|field| *field.modulus()).collect();
    canonical_limbs(name, folded.words, &moduli, folded.shape)
}

/// `sum_p sigma^p words[:, p]`.
#[pyfunction]
pub(crate) fn sigma_fold<'py>(
    py: Python<'py>,
    words: Array<'py, u64>,
    sigmas: Array<'py, u64>,
    moduli: Vec<Prime>,
) -> PyResult<Bound<'py, PyArray4<u64>>> {
    let fields = fields(&moduli);
    let folded = folded("words", &words, &sigmas, (&moduli, &fields))?;
    let shape = folded.shape;
    let output_shape = [shape.limbs, 2, shape.count, shape.n];
    output_size(&output_shape)?;
    let folded = py.detach(|| {
        canonical_folded("words", folded, &fields)?;
        Ok::<_, Refusal>(words::sigma_fold(folded, &fields))
    })?;
    array(py, folded, output_shape)
}

/// `sum_p sigma^p <words[u, p], weights>`.
#[pyfunction]
pub(crate) fn evaluate_folded<'py>(
    py: Python<'py>,
    words: Array<'py, u64>,
    weights: Array<'py, u64>,
    sigmas: Array<'py, u64>,
    moduli: Vec<Prime>,
) -> PyResult<Bound<'py, PyArray3<u64>>> {
    let (shape, words) = ciphertexts("words", &words, &moduli)?;
    let fields = fields(&moduli);
    let sigmas = points("sigmas", &sigmas, &fields)?;
    let weights = weights.exactly("weights", [shape.limbs, 2, shape.n])?;
    let output_shape = [shape.limbs, 2, shape.count];
    output_size(&output_shape)?;
    let moduli = crate::border::moduli(&moduli);
    let sums = py.detach(|| {
        canonical_limbs("words", words, &moduli, shape)?;
        canonical_first_axis("weights", weights, &fields)?;
        Ok::<_, Refusal>(words::evaluate_folded(
            words, weights, sigmas, &fields, shape,
        ))
    })?;
    array(py, sums, output_shape)
}

/// Inner products over n of the rows of `a` with the rows of `b`.
#[pyfunction]
pub(crate) fn cross_gram<'py>(
    py: Python<'py>,
    a: Array<'py, u64>,
    b: Array<'py, u64>,
    moduli: Vec<Prime>,
) -> PyResult<Bound<'py, PyArray4<u64>>> {
    let fields = fields(&moduli);
    let [_, _, a_rows, n] = a.view::<4>("a")?.shape;
    let [_, _, b_rows, _] = b.view::<4>("b")?.shape;
    let a = a.exactly("a", [fields.len(), 2, a_rows, n])?;
    let b = b.exactly("b", [fields.len(), 2, b_rows, n])?;
    let output_shape = [fields.len(), 2, a_rows, b_rows];
    output_size(&output_shape)?;
    let products = py.detach(|| {
        canonical_first_axis("a", a, &fields)?;
        canonical_first_axis("b", b, &fields)?;
        Ok::<_, Refusal>(rows::cross_gram(&fields, a, b, (a_rows, b_rows, n)))
    })?;
    array(py, products, output_shape)
}

/// `sum_d weights[d] rows[d]`.
#[pyfunction]
pub(crate) fn combine_rows_extension<'py>(
    py: Python<'py>,
    weights: Array<'py, u64>,
    rows: Array<'py, u64>,
    moduli: Vec<Prime>,
) -> PyResult<Bound<'py, PyArray3<u64>>> {
    let fields = fields(&moduli);
    let [_, _, count, n] = rows.view::<4>("rows")?.shape;
    let rows = rows.exactly("rows", [fields.len(), 2, count, n])?;
    let weights = weights.exactly("weights", [fields.len(), 2, count])?;
    let output_shape = [fields.len(), 2, n];
    output_size(&output_shape)?;
    let combined = py.detach(|| {
        canonical_first_axis("rows", rows, &fields)?;
        canonical_first_axis("weights", weights, &fields)?;
        Ok::<_, Refusal>(rows::combine_rows(&fields, weights, rows, (count, n)))
    })?;
    array(py, combined, output_shape)
}
