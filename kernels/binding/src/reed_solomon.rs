//! `ReedSolomon`.

use numpy::{PyArray2, PyArrayDyn};
use pyo3::prelude::*;

use crate::border::{
    Array, Length, Output, Prime, Refusal, array, canonical, indices, output_size,
};

/// Zero-knowledge Reed-Solomon rows over one field.
#[pyclass(frozen, module = "kernels")]
pub(crate) struct ReedSolomon(kernels_core::ReedSolomon);

type Words<'py> = Bound<'py, PyArrayDyn<u64>>;
type Words2<'py> = Bound<'py, PyArray2<u64>>;

#[pymethods]
impl ReedSolomon {
    #[new]
    fn new(py: Python<'_>, q: Prime, l: Length, t: Length, n: Length) -> PyResult<Self> {
        let code = py.detach(|| kernels_core::ReedSolomon::new(q.0, l.0, t.0, n.0));
        Ok(Self(code.map_err(Refusal::from)?))
    }

    #[getter]
    fn q(&self) -> u64 {
        self.0.modulus().value()
    }

    #[getter]
    fn l(&self) -> usize {
        self.0.message_length()
    }

    #[getter]
    fn t(&self) -> usize {
        self.0.randomness_length()
    }

    #[getter]
    fn k(&self) -> usize {
        self.0.dimension()
    }

    #[getter]
    fn n(&self) -> usize {
        self.0.codeword_length()
    }

    fn __repr__(&self) -> String {
        format!(
            "ReedSolomon(q={}, l={}, t={}, n={})",
            self.q(),
            self.l(),
            self.t(),
            self.n()
        )
    }

    #[pyo3(signature = (messages, randomness, out=None))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        messages: Array<'py, u64>,
        randomness: Array<'py, u64>,
        out: Option<Output<'py, u64>>,
    ) -> PyResult<(Words2<'py>, Words<'py>)> {
        let code = &self.0;
        let [rows, _] = messages.view::<2>("messages")?.shape;
        let messages = messages.exactly("messages", [rows, code.message_length()])?;
        let randomness = randomness.exactly("randomness", [rows, code.randomness_length()])?;
        let mut out = Output::or_new(py, "out", out, &[rows, code.codeword_length()])?;
        let codewords = out.elements("out")?;
        let coefficients = py.detach(|| {
            canonical("messages", code.modulus(), messages)?;
            canonical("randomness", code.modulus(), randomness)?;
            Ok::<_, Refusal>(code.encode(messages, randomness, codewords))
        })?;
        let coefficients = array(py, coefficients, [rows, code.dimension()])?;
        Ok((coefficients, out.finish()))
    }

    #[pyo3(signature = (coefficients, out=None))]
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        coefficients: Array<'py, u64>,
        out: Option<Output<'py, u64>>,
    ) -> PyResult<Words<'py>> {
        let code = &self.0;
        let coefficients = coefficients.view::<2>("coefficients")?;
        let [rows, m] = coefficients.shape;
        self.check_degree(m)?;
        let mut out = Output::or_new(py, "out", out, &[rows, code.codeword_length()])?;
        let words = out.elements("out")?;
        py.detach(|| {
            canonical("coefficients", code.modulus(), coefficients.data)?;
            code.evaluate(coefficients.data, m, words);
            Ok::<_, Refusal>(())
        })?;
        Ok(out.finish())
    }

    fn evaluate_at<'py>(
        &self,
        py: Python<'py>,
        coefficients: Array<'py, u64>,
        positions: Array<'py, i64>,
    ) -> PyResult<Words2<'py>> {
        let code = &self.0;
        let coefficients = coefficients.view::<2>("coefficients")?;
        let [rows, m] = coefficients.shape;
        self.check_degree(m)?;
        let positions = self.positions(&positions)?;
        output_size(&[rows, positions.len()])?;
        output_size(&[m, positions.len()])?;
        let words = py.detach(|| {
            canonical("coefficients", code.modulus(), coefficients.data)?;
            Ok::<_, Refusal>(code.evaluate_at(coefficients.data, m, rows, &positions))
        })?;
        array(py, words, [rows, positions.len()])
    }

    fn lagrange<'py>(&self, py: Python<'py>, positions: Array<'py, i64>) -> PyResult<Words2<'py>> {
        let code = &self.0;
        let positions = self.positions(&positions)?;
        output_size(&[positions.len(), code.message_length()])?;
        let words = py.detach(|| code.lagrange(&positions));
        array(py, words, [positions.len(), code.message_length()])
    }

    fn interpolate_rows<'py>(
        &self,
        py: Python<'py>,
        values: Array<'py, u64>,
    ) -> PyResult<Words2<'py>> {
        let code = &self.0;
        let [rows, _] = values.view::<2>("values")?.shape;
        let shape = [rows, code.message_length()];
        let values = values.exactly("values", shape)?;
        let words = py.detach(|| {
            canonical("values", code.modulus(), values)?;
            Ok::<_, Refusal>(code.interpolate_rows(values))
        })?;
        array(py, words, shape)
    }

    fn linear_polynomials<'py>(
        &self,
        py: Python<'py>,
        constraints: Array<'py, u64>,
        codewords: Array<'py, u64>,
        blinding: Array<'py, u64>,
    ) -> PyResult<Words2<'py>> {
        let code = &self.0;
        let [count, rows, _] = constraints.view::<3>("constraints")?.shape;
        let constraints =
            constraints.exactly("constraints", [count, rows, code.message_length()])?;
        let codewords = codewords.exactly("codewords", [rows, code.codeword_length()])?;
        let shape = [count, code.linear_length()];
        let blinding = blinding.exactly("blinding", shape)?;
        let words = py.detach(|| {
            canonical("constraints", code.modulus(), constraints)?;
            canonical("codewords", code.modulus(), codewords)?;
            canonical("blinding", code.modulus(), blinding)?;
            Ok::<_, Refusal>(code.linear_polynomials(constraints, codewords, blinding)?)
        })?;
        array(py, words, shape)
    }

    fn quadratic_quotients<'py>(
        &self,
        py: Python<'py>,
        codewords: Array<'py, u64>,
        triples: Array<'py, i64>,
        weights: Array<'py, u64>,
        blinding: Array<'py, u64>,
    ) -> PyResult<Words2<'py>> {
        let code = &self.0;
        let [rows, _] = codewords.view::<2>("codewords")?.shape;
        let codewords = codewords.exactly("codewords", [rows, code.codeword_length()])?;
        let weights = weights.view::<2>("weights")?;
        let [count, products] = weights.shape;
        let triples = triples.exactly("triples", [products, 3])?;
        let triples = indices("triples", triples, rows)?;
        let shape = [count, code.quadratic_length() - code.message_length()];
        let blinding = blinding.exactly("blinding", shape)?;
        let words = py.detach(|| {
            canonical("codewords", code.modulus(), codewords)?;
            canonical("weights", code.modulus(), weights.data)?;
            canonical("blinding", code.modulus(), blinding)?;
            let triples = triples.as_chunks().0;
            Ok::<_, Refusal>(code.quadratic_quotients(
                codewords,
                triples,
                weights.data,
                (count, blinding),
            )?)
        })?;
        array(py, words, shape)
    }

    fn group_sum<'py>(&self, py: Python<'py>, coefficients: Array<'py, u64>) -> PyResult<u64> {
        let code = &self.0;
        let coefficients = coefficients.view::<1>("coefficients")?.data;
        let sum = py.detach(|| {
            canonical("coefficients", code.modulus(), coefficients)?;
            Ok::<_, Refusal>(code.group_sum(coefficients))
        })?;
        Ok(sum)
    }
}

impl ReedSolomon {
    fn check_degree(&self, m: usize) -> Result<(), Refusal> {
        let n = self.0.codeword_length();
        if m > n {
            return Err(Refusal::new(
                "coefficients",
                format_args!("rows of at most {n}"),
                m,
            ));
        }
        Ok(())
    }

    fn positions(&self, positions: &Array<'_, i64>) -> Result<Vec<usize>, Refusal> {
        let positions = positions.view::<1>("positions")?;
        indices("positions", positions.data, self.0.codeword_length())
    }
}
