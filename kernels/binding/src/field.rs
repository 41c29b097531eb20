//! `Modulus`, `combine_rows` and `gemm`.

use kernels_core::matrix;
use numpy::{PyArray1, PyArray2, PyArrayDyn};
use pyo3::prelude::*;

use crate::border::{Array, Integer, Length, Prime, Refusal, array, canonical, output_size, pairs};

/// An odd prime `q` of 50 to 61 bits and arithmetic modulo it.
#[pyclass(frozen, module = "kernels")]
pub(crate) struct Modulus(kernels_core::Modulus);

type Words<'py> = PyResult<Bound<'py, PyArrayDyn<u64>>>;

impl Modulus {
    /// Checks operands of one shape and applies `op` without the interpreter lock.
    fn apply<'py, const A: usize>(
        &self,
        py: Python<'py>,
        operands: [(&str, &Array<'py, u64>); A],
        op: impl FnOnce(&kernels_core::Modulus, [&[u64]; A]) -> Result<Vec<u64>, Refusal> + Send,
    ) -> Words<'py> {
        let shape = operands[0].1.shape().to_vec();
        let mut slices: [&[u64]; A] = [&[]; A];
        for (slice, (name, operand)) in slices.iter_mut().zip(operands) {
            if operand.shape() != shape {
                return Err(Refusal::new(
                    name,
                    format_args!("shape {shape:?}"),
                    format_args!("shape {:?}", operand.shape()),
                )
                .into());
            }
            *slice = operand.flat(name)?;
        }
        let names = operands.map(|(name, _)| name);
        let modulus = &self.0;
        let words = py.detach(|| {
            for (name, slice) in names.iter().zip(&slices) {
                canonical(name, modulus, slice)?;
            }
            op(modulus, slices)
        })?;
        array(py, words, shape)
    }
}

#[pymethods]
impl Modulus {
    #[new]
    fn new(q: Prime) -> Self {
        Self(q.0)
    }

    #[getter]
    fn value(&self) -> u64 {
        self.0.value()
    }

    fn __repr__(&self) -> String {
        format!("Modulus({})", self.0.value())
    }

    fn add<'py>(&self, py: Python<'py>, a: Array<'py, u64>, b: Array<'py, u64>) -> Words<'py> {
        self.apply(
            py,
            [("a", &a), ("b", &b)],
            |q, [a, b]| Ok(q.add_words(a, b)),
        )
    }

    fn sub<'py>(&self, py: Python<'py>, a: Array<'py, u64>, b: Array<'py, u64>) -> Words<'py> {
        self.apply(
            py,
            [("a", &a), ("b", &b)],
            |q, [a, b]| Ok(q.sub_words(a, b)),
        )
    }

    fn neg<'py>(&self, py: Python<'py>, a: Array<'py, u64>) -> Words<'py> {
        self.apply(py, [("a", &a)], |q, [a]| Ok(q.neg_words(a)))
    }

    fn mul<'py>(&self, py: Python<'py>, a: Array<'py, u64>, b: Array<'py, u64>) -> Words<'py> {
        self.apply(
            py,
            [("a", &a), ("b", &b)],
            |q, [a, b]| Ok(q.mul_words(a, b)),
        )
    }

    fn scale<'py>(&self, py: Python<'py>, a: Array<'py, u64>, s: Integer<'py>) -> Words<'py> {
        let s = s.modulo(&self.0)?;
        self.apply(py, [("a", &a)], |q, [a]| Ok(q.scale_words(a, s)))
    }

    fn inverse<'py>(&self, py: Python<'py>, a: Array<'py, u64>) -> Words<'py> {
        self.apply(py, [("a", &a)], |q, [a]| Ok(q.inverse_words(a)?))
    }

    fn multiply_add<'py>(
        &self,
        py: Python<'py>,
        acc: Array<'py, u64>,
        a: Array<'py, u64>,
        b: Array<'py, u64>,
    ) -> Words<'py> {
        let operands = [("acc", &acc), ("a", &a), ("b", &b)];
        self.apply(py, operands, |q, [acc, a, b]| {
            Ok(q.multiply_add_words(acc, a, b))
        })
    }

    fn dot<'py>(&self, py: Python<'py>, a: Array<'py, u64>, b: Array<'py, u64>) -> PyResult<u64> {
        let a = a.view::<1>("a")?;
        let b = b.exactly("b", a.shape)?;
        let modulus = &self.0;
        let product = py.detach(|| {
            canonical("a", modulus, a.data)?;
            canonical("b", modulus, b)?;
            Ok::<_, Refusal>(modulus.dot(a.data, b))
        })?;
        Ok(product)
    }

    fn powers<'py>(
        &self,
        py: Python<'py>,
        base: Integer<'py>,
        count: Length,
    ) -> PyResult<Bound<'py, PyArray1<u64>>> {
        let base = base.modulo(&self.0)?;
        let count = output_size(&[count.0])?;
        let modulus = &self.0;
        Ok(PyArray1::from_vec(
            py,
            py.detach(|| modulus.powers(base, count)),
        ))
    }

    fn reduce_i64<'py>(&self, py: Python<'py>, x: Array<'py, i64>) -> Words<'py> {
        let (shape, x) = (x.shape().to_vec(), x.flat("x")?);
        let modulus = &self.0;
        let words = py.detach(|| modulus.reduce_i64_words(x));
        array(py, words, shape)
    }

    fn reduce_wide<'py>(&self, py: Python<'py>, x: Array<'py, u64>) -> Words<'py> {
        let mut shape = x.shape().to_vec();
        let x = x.flat("x")?;
        if shape.pop() != Some(2) {
            return Err(Refusal::new("x", "a last axis of (low, high)", "another shape").into());
        }
        let modulus = &self.0;
        let words = py.detach(|| modulus.reduce_wide_words(pairs(x)));
        array(py, words, shape)
    }
}

/// `sum_i weights[c, i] rows[i, :]`.
#[pyfunction]
pub(crate) fn combine_rows<'py>(
    py: Python<'py>,
    q: Prime,
    rows: Array<'py, u64>,
    weights: Array<'py, u64>,
) -> PyResult<Bound<'py, PyArray2<u64>>> {
    let rows = rows.view::<2>("rows")?;
    let [row_count, m] = rows.shape;
    let [combinations, _] = weights.view::<2>("weights")?.shape;
    let weights = weights.exactly("weights", [combinations, row_count])?;
    output_size(&[combinations, m])?;
    let words = py.detach(|| {
        canonical("rows", &q.0, rows.data)?;
        canonical("weights", &q.0, weights)?;
        let shape = (combinations, row_count, m);
        Ok::<_, Refusal>(matrix::combine_rows(&q.0, rows.data, weights, shape))
    })?;
    array(py, words, [combinations, m])
}

/// Inner products of the rows of `a` with the rows of `b`.
#[pyfunction]
pub(crate) fn gemm<'py>(
    py: Python<'py>,
    q: Prime,
    a: Array<'py, u64>,
    b: Array<'py, u64>,
) -> PyResult<Bound<'py, PyArray2<u64>>> {
    let a = a.view::<2>("a")?;
    let [a_rows, m] = a.shape;
    let [b_rows, _] = b.view::<2>("b")?.shape;
    let b = b.exactly("b", [b_rows, m])?;
    output_size(&[a_rows, b_rows])?;
    let words = py.detach(|| {
        canonical("a", &q.0, a.data)?;
        canonical("b", &q.0, b)?;
        Ok::<_, Refusal>(matrix::gemm(&q.0, a.data, b, (a_rows, b_rows, m)))
    })?;
    array(py, words, [a_rows, b_rows])
}
