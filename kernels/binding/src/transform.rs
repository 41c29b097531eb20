//! `NegacyclicNtt`.

use numpy::PyArrayDyn;
use pyo3::prelude::*;

use crate::border::{Array, Length, Prime, Refusal, array, canonical};

/// The negacyclic transform in SEAL's order, batched over leading axes.
#[pyclass(frozen, module = "kernels")]
pub(crate) struct NegacyclicNtt(kernels_core::NegacyclicNtt);

type Words<'py> = PyResult<Bound<'py, PyArrayDyn<u64>>>;

impl NegacyclicNtt {
    fn apply<'py>(
        &self,
        py: Python<'py>,
        a: &Array<'py, u64>,
        map: impl FnOnce(&kernels_core::NegacyclicNtt, &mut [u64]) + Send,
    ) -> Words<'py> {
        let shape = a.shape().to_vec();
        let n = self.0.length();
        if shape.last() != Some(&n) {
            return Err(Refusal::new(
                "a",
                format_args!("a last axis of {n}"),
                format_args!("shape {shape:?}"),
            )
            .into());
        }
        let a = a.flat("a")?;
        let transform = &self.0;
        let words = py.detach(|| {
            canonical("a", transform.modulus(), a)?;
            let mut words = a.to_vec();
            map(transform, &mut words);
            Ok::<_, Refusal>(words)
        })?;
        array(py, words, shape)
    }
}

#[pymethods]
impl NegacyclicNtt {
    #[new]
    fn new(py: Python<'_>, q: Prime, n: Length) -> PyResult<Self> {
        let transform = py.detach(|| kernels_core::NegacyclicNtt::new(q.0, n.0));
        Ok(Self(transform.map_err(Refusal::from)?))
    }

    #[getter]
    fn q(&self) -> u64 {
        self.0.modulus().value()
    }

    #[getter]
    fn n(&self) -> usize {
        self.0.length()
    }

    fn __repr__(&self) -> String {
        format!("NegacyclicNtt(q={}, n={})", self.q(), self.n())
    }

    fn forward<'py>(&self, py: Python<'py>, a: Array<'py, u64>) -> Words<'py> {
        self.apply(py, &a, kernels_core::NegacyclicNtt::forward)
    }

    fn inverse<'py>(&self, py: Python<'py>, a: Array<'py, u64>) -> Words<'py> {
        self.apply(py, &a, kernels_core::NegacyclicNtt::inverse)
    }

    fn forward_transpose<'py>(&self, py: Python<'py>, a: Array<'py, u64>) -> Words<'py> {
        self.apply(py, &a, kernels_core::NegacyclicNtt::forward_transpose)
    }

    fn inverse_transpose<'py>(&self, py: Python<'py>, a: Array<'py, u64>) -> Words<'py> {
        self.apply(py, &a, kernels_core::NegacyclicNtt::inverse_transpose)
    }
}
