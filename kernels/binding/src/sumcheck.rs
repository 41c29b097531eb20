//! `PowerSumcheck`, `ProductSumcheck` and `GramSumcheck`.

use kernels_core::extension::words::Folded;
use kernels_core::sumcheck::{Factor, LowRank, MAX_DEGREE, OutOfTurn, Sparse, Sumcheck};
use numpy::PyArray3;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::border::{Array, Prime, Refusal, array, indices, output_size};
use crate::extension::{canonical_first_axis, canonical_folded, fields, folded, points};

type Words<'py> = PyResult<Bound<'py, PyArray3<u64>>>;

/// A sum-check with what the border must know of it.
struct Rounds {
    sumcheck: Sumcheck,
    fields: Vec<kernels_core::Extension>,
}

impl Rounds {
    fn message<'py>(&self, py: Python<'py>) -> Words<'py> {
        let words = py.detach(|| self.sumcheck.message()).map_err(out_of_turn)?;
        self.elements(py, words)
    }

    fn bind(&mut self, py: Python<'_>, x: &Array<'_, u64>) -> PyResult<()> {
        let x = points("x", x, &self.fields)?;
        let sumcheck = &mut self.sumcheck;
        py.detach(|| sumcheck.bind(x)).map_err(out_of_turn)
    }

    fn finals<'py>(&self, py: Python<'py>) -> Words<'py> {
        let words = self.sumcheck.finals().map_err(out_of_turn)?;
        self.elements(py, words)
    }

    /// `[limb, ..., 2]`.
    fn elements<'py>(&self, py: Python<'py>, words: Vec<u64>) -> Words<'py> {
        let limbs = self.fields.len();
        let count = words.len() / (2 * limbs);
        array(py, words, [limbs, count, 2])
    }
}

fn out_of_turn(error: OutOfTurn) -> PyErr {
    PyRuntimeError::new_err(match error {
        OutOfTurn::Finished => "all rounds are over",
        OutOfTurn::Unfinished => "rounds are left",
    })
}

/// The fields of the limbs, at least one.
fn limb_fields(moduli: &[Prime]) -> Result<Vec<kernels_core::Extension>, Refusal> {
    if moduli.is_empty() {
        return Err(Refusal::new("moduli", "at least one modulus", "none"));
    }
    Ok(fields(moduli))
}

/// `[limb, 2, length]` words, `length` positive.
fn vector<'a>(
    name: &str,
    array: &'a Array<'_, u64>,
    limbs: usize,
) -> Result<(usize, &'a [u64]), Refusal> {
    let [_, _, length] = array.view::<3>(name)?.shape;
    let words = array.exactly(name, [limbs, 2, length])?;
    if length == 0 {
        return Err(Refusal::new(name, "at least one element", "none"));
    }
    Ok((length, words))
}

/// Ciphertexts are `units`, of `n` words per limb and polynomial.
fn check_size(name: &str, folded: Folded<'_>, (units, n): (usize, usize)) -> Result<(), Refusal> {
    let shape = folded.shape;
    if (shape.count, shape.n) == (units, n) {
        return Ok(());
    }
    let [polys, limbs] = [shape.polys, shape.limbs];
    Err(Refusal::new(
        name,
        format_args!("shape {:?}", [units, polys, limbs, n]),
        format_args!("shape {:?}", [shape.count, polys, limbs, shape.n]),
    ))
}

/// One polynomial per limb.
fn polynomials<'a>(coefficients: &'a Array<'_, u64>, limbs: usize) -> Result<&'a [u64], Refusal> {
    let [_, count] = coefficients.view::<2>("coefficients")?.shape;
    let words = coefficients.exactly("coefficients", [limbs, count])?;
    if !(2..=MAX_DEGREE + 1).contains(&count) {
        let expected = format!("2 to {} coefficients", MAX_DEGREE + 1);
        return Err(Refusal::new("coefficients", expected, count));
    }
    Ok(words)
}

fn canonical_all<const A: usize>(
    arrays: [(&str, &[u64]); A],
    fields: &[kernels_core::Extension],
) -> Result<(), Refusal> {
    arrays
        .iter()
        .try_for_each(|(name, words)| canonical_first_axis(name, words, fields))
}

/// The prover of `sum omega(k) lambda(n) p(h(k, n))`.
#[pyclass(module = "kernels")]
pub(crate) struct PowerSumcheck(Rounds);

#[pymethods]
impl PowerSumcheck {
    #[new]
    fn new(
        py: Python<'_>,
        moduli: Vec<Prime>,
        omega: Array<'_, u64>,
        lam: Array<'_, u64>,
        h: Array<'_, u64>,
        coefficients: Array<'_, u64>,
    ) -> PyResult<Self> {
        let fields = limb_fields(&moduli)?;
        let (k, omega) = vector("omega", &omega, fields.len())?;
        let (n, lam) = vector("lam", &lam, fields.len())?;
        let h = h.exactly("h", [fields.len(), 2, k, n])?;
        let coefficients = polynomials(&coefficients, fields.len())?;
        let sumcheck = py.detach(|| {
            let named = [
                ("omega", omega),
                ("lam", lam),
                ("h", h),
                ("coefficients", coefficients),
            ];
            canonical_all(named, &fields)?;
            let (h, shape) = (Factor::Elements(h), (k, n));
            Ok::<_, Refusal>(Sumcheck::power(&fields, omega, lam, h, coefficients, shape))
        })?;
        Ok(Self(Rounds { sumcheck, fields }))
    }

    #[staticmethod]
    fn of_words(
        py: Python<'_>,
        moduli: Vec<Prime>,
        omega: Array<'_, u64>,
        lam: Array<'_, u64>,
        words: Array<'_, u64>,
        sigmas: Array<'_, u64>,
        coefficients: Array<'_, u64>,
    ) -> PyResult<Self> {
        let fields = limb_fields(&moduli)?;
        let (k, omega) = vector("omega", &omega, fields.len())?;
        let (n, lam) = vector("lam", &lam, fields.len())?;
        let h = folded("words", &words, &sigmas, (&moduli, &fields))?;
        check_size("words", h, (k, n))?;
        let coefficients = polynomials(&coefficients, fields.len())?;
        let sumcheck = py.detach(|| {
            let named = [
                ("omega", omega),
                ("lam", lam),
                ("coefficients", coefficients),
            ];
            canonical_all(named, &fields)?;
            canonical_folded("words", h, &fields)?;
            let (h, shape) = (Factor::Folded(h), (k, n));
            Ok::<_, Refusal>(Sumcheck::power(&fields, omega, lam, h, coefficients, shape))
        })?;
        Ok(Self(Rounds { sumcheck, fields }))
    }

    #[getter]
    fn rounds(&self) -> usize {
        self.0.sumcheck.rounds()
    }

    fn message<'py>(&self, py: Python<'py>) -> Words<'py> {
        self.0.message(py)
    }

    fn bind(&mut self, py: Python<'_>, x: Array<'_, u64>) -> PyResult<()> {
        self.0.bind(py, &x)
    }

    #[pyo3(name = "final")]
    fn finals<'py>(&self, py: Python<'py>) -> Words<'py> {
        self.0.finals(py)
    }
}

/// The prover of `sum omega(k) lambda(n) a(k, n) b(k, n)`.
#[pyclass(module = "kernels")]
pub(crate) struct ProductSumcheck(Rounds);

#[pymethods]
impl ProductSumcheck {
    #[new]
    fn new(
        py: Python<'_>,
        moduli: Vec<Prime>,
        omega: Array<'_, u64>,
        lam: Array<'_, u64>,
        a: Array<'_, u64>,
        b: Array<'_, u64>,
        sigmas: Array<'_, u64>,
    ) -> PyResult<Self> {
        let fields = limb_fields(&moduli)?;
        let (k, omega) = vector("omega", &omega, fields.len())?;
        let (n, lam) = vector("lam", &lam, fields.len())?;
        let a = folded("a", &a, &sigmas, (&moduli, &fields))?;
        let b = folded("b", &b, &sigmas, (&moduli, &fields))?;
        check_size("a", a, (k, n))?;
        check_size("b", b, (k, n))?;
        let sumcheck = py.detach(|| {
            canonical_all([("omega", omega), ("lam", lam)], &fields)?;
            canonical_folded("a", a, &fields)?;
            canonical_folded("b", b, &fields)?;
            let factors = [a, b].map(Factor::Folded);
            Ok::<_, Refusal>(Sumcheck::product(&fields, omega, lam, factors, (k, n)))
        })?;
        Ok(Self(Rounds { sumcheck, fields }))
    }

    #[getter]
    fn rounds(&self) -> usize {
        self.0.sumcheck.rounds()
    }

    fn message<'py>(&self, py: Python<'py>) -> Words<'py> {
        self.0.message(py)
    }

    fn bind(&mut self, py: Python<'_>, x: Array<'_, u64>) -> PyResult<()> {
        self.0.bind(py, &x)
    }

    #[pyo3(name = "final")]
    fn finals<'py>(&self, py: Python<'py>) -> Words<'py> {
        self.0.finals(py)
    }
}

/// The prover of `sum omega(k) lambda(n) (sum_d w[k, d] x(d, n))^2`, the last `x(d, n)` constant.
#[pyclass(module = "kernels")]
pub(crate) struct GramSumcheck(Rounds);

#[pymethods]
impl GramSumcheck {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        moduli: Vec<Prime>,
        omega: Array<'_, u64>,
        lam: Array<'_, u64>,
        words: Array<'_, u64>,
        sigmas: Array<'_, u64>,
        constants: Array<'_, u64>,
        indptr: Array<'_, i64>,
        columns: Array<'_, i32>,
        values: Array<'_, i32>,
    ) -> PyResult<Self> {
        let fields = limb_fields(&moduli)?;
        let (k, omega) = vector("omega", &omega, fields.len())?;
        let (n, lam) = vector("lam", &lam, fields.len())?;
        let rows = folded("words", &words, &sigmas, (&moduli, &fields))?;
        check_size("words", rows, (rows.shape.count, n))?;
        let constants = constants.exactly("constants", [fields.len()])?;
        let rank = rows.shape.count + 1;
        let [entries] = columns.view::<1>("columns")?.shape;
        let indptr = indptr.exactly("indptr", [k + 1])?;
        let values = values.exactly("values", [entries])?;
        let indptr = row_starts(indptr, entries)?;
        let columns: Vec<i64> = columns
            .flat("columns")?
            .iter()
            .map(|&column| i64::from(column))
            .collect();
        let columns = indices("columns", &columns, rank)?;
        // The rounds over k work on two dense matrices of this size; the Gram matrix comes first.
        output_size(&[fields.len(), 2, k, rank])?;
        output_size(&[fields.len(), 3, rank, rank])?;
        let sumcheck = py.detach(|| {
            let named = [("omega", omega), ("lam", lam), ("constants", constants)];
            canonical_all(named, &fields)?;
            canonical_folded("words", rows, &fields)?;
            let w = Sparse {
                indptr: &indptr,
                columns: &columns,
                values,
            };
            let h = LowRank { rows, constants, w };
            Ok::<_, Refusal>(Sumcheck::gram(&fields, omega, lam, h, (k, n)))
        })?;
        Ok(Self(Rounds { sumcheck, fields }))
    }

    #[getter]
    fn rounds(&self) -> usize {
        self.0.sumcheck.rounds()
    }

    fn message<'py>(&self, py: Python<'py>) -> Words<'py> {
        self.0.message(py)
    }

    fn bind(&mut self, py: Python<'_>, x: Array<'_, u64>) -> PyResult<()> {
        self.0.bind(py, &x)
    }

    #[pyo3(name = "final")]
    fn finals<'py>(&self, py: Python<'py>) -> Words<'py> {
        self.0.finals(py)
    }
}

/// Starts of the rows of a sparse matrix: from 0, ascending, to the number of entries.
fn row_starts(indptr: &[i64], entries: usize) -> Result<Vec<usize>, Refusal> {
    let starts = indices("indptr", indptr, entries + 1)?;
    if starts.first() == Some(&0) && starts.last() == Some(&entries) && starts.is_sorted() {
        return Ok(starts);
    }
    Err(Refusal::new(
        "indptr",
        format_args!("ascending from 0 to {entries}"),
        format_args!("{indptr:?}"),
    ))
}
