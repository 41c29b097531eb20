//! `TileProgram`.

use kernels_core::tile::{
    AffineTerm, MAX_DEGREE, MAX_POLYS, MAX_ROW_NORM, NotCanonical, Program, Rows, Shape,
};
use numpy::PyArrayDyn;
use pyo3::prelude::*;

use crate::border::{
    Array, Integer, Length, Output, Prime, Refusal, View, canonical, indices, moduli, output_size,
};
use crate::linear::not_canonical;

/// Polynomials of all units of one tensor: bounds the memory of a tile.
const MAX_PLANES: usize = 1 << 20;

/// Source, row pointers, columns, values and one factor per limb.
type PyTerm<'py> = (
    Length,
    Array<'py, i64>,
    Array<'py, i32>,
    Array<'py, i32>,
    Vec<Integer<'py>>,
);

/// One term with its arrays checked.
struct Term<'a> {
    source: usize,
    indptr: Vec<usize>,
    columns: Vec<u32>,
    values: &'a [i32],
    factors: Vec<u64>,
}

impl Term<'_> {
    fn rows(&self) -> Rows<'_> {
        Rows {
            indptr: &self.indptr,
            columns: &self.columns,
            values: self.values,
        }
    }
}

/// A circuit over ciphertext words that is evaluated tile by tile.
#[pyclass(module = "kernels")]
pub(crate) struct TileProgram(Program);

impl TileProgram {
    fn source(&self, name: &str, tensor: usize) -> Result<Shape, Refusal> {
        self.0.shape(tensor).ok_or_else(|| {
            Refusal::new(
                name,
                "a tensor made before",
                format_args!("tensor {tensor}"),
            )
        })
    }

    /// One canonical row per limb.
    fn limb_rows<'a>(
        &self,
        name: &str,
        words: &'a Array<'_, u64>,
        width: Option<usize>,
    ) -> Result<(usize, &'a [u64]), Refusal> {
        let [_, found] = words.view::<2>(name)?.shape;
        let width = width.unwrap_or(found);
        let words = words.exactly(name, [self.0.moduli().len(), width])?;
        for (modulus, row) in self.0.moduli().iter().zip(words.chunks_exact(width.max(1))) {
            canonical(name, modulus, row)?;
        }
        Ok((width, words))
    }

    fn term<'a>(&self, units: usize, term: &'a PyTerm<'_>) -> PyResult<Term<'a>> {
        let (Length(source), indptr, columns, values, factors) = term;
        let inputs = self.source("source", *source)?.units;
        let columns = columns.view::<1>("columns")?;
        let [entries] = columns.shape;
        let values = values.exactly("values", [entries])?;
        let indptr = indices(
            "indptr",
            indptr.exactly("indptr", [units + 1])?,
            entries + 1,
        )?;
        if indptr[0] != 0 || indptr[units] != entries || !indptr.is_sorted() {
            let expected = format!("row pointers ascending from 0 to {entries}");
            return Err(Refusal::new("indptr", expected, "other ones").into());
        }
        let columns = columns
            .data
            .iter()
            .map(|&column| {
                u32::try_from(column)
                    .ok()
                    .filter(|&index| (index as usize) < inputs)
                    .ok_or_else(|| {
                        let expected = format!("indices in [0, {inputs})");
                        Refusal::new("columns", expected, column)
                    })
            })
            .collect::<Result<_, _>>()?;
        let limbs = self.0.moduli().len();
        if factors.len() != limbs {
            let expected = format!("{limbs} integers, one per limb");
            return Err(Refusal::new("factor", expected, factors.len()).into());
        }
        let factors = self.0.moduli().iter().zip(factors);
        let term = Term {
            source: *source,
            indptr,
            columns,
            values,
            factors: factors
                .map(|(modulus, factor)| factor.modulo(modulus))
                .collect::<Result<_, _>>()?,
        };
        if let Some(row) = term.rows().first_long_row() {
            let expected = format!("rows with a sum of magnitudes of at most {MAX_ROW_NORM}");
            return Err(Refusal::new("values", expected, format_args!("row {row}")).into());
        }
        Ok(term)
    }
}

/// The shape of a tensor, within bounds.
fn bounded(shape: Shape) -> Result<Shape, Refusal> {
    let Shape { units, polys } = shape;
    let planes = units.checked_mul(polys);
    if polys <= MAX_POLYS && planes.is_some_and(|planes| (1..=MAX_PLANES).contains(&planes)) {
        return Ok(shape);
    }
    Err(Refusal::new(
        "tensor",
        format_args!("1 to {MAX_POLYS} polynomials, 1 to {MAX_PLANES} in all units together"),
        format_args!("{units} units of {polys}"),
    ))
}

#[pymethods]
impl TileProgram {
    #[new]
    fn new(moduli: Vec<Prime>, units: Length, polys: Length) -> PyResult<Self> {
        if moduli.is_empty() {
            return Err(Refusal::new("moduli", "at least one", 0).into());
        }
        let shape = Shape {
            units: units.0,
            polys: polys.0,
        };
        Ok(Self(Program::new(self::moduli(&moduli), bounded(shape)?)))
    }

    #[pyo3(signature = (units, terms, bias))]
    fn affine(
        &mut self,
        units: Length,
        terms: Vec<PyTerm<'_>>,
        bias: Option<Array<'_, u64>>,
    ) -> PyResult<usize> {
        let units = units.0;
        bounded(Shape { units, polys: 1 })?;
        if terms.is_empty() {
            return Err(Refusal::new("terms", "at least one", 0).into());
        }
        let terms = terms
            .iter()
            .map(|term| self.term(units, term))
            .collect::<PyResult<Vec<_>>>()?;
        let mut polys = 1;
        for term in &terms {
            polys = polys.max(self.source("source", term.source)?.polys);
        }
        bounded(Shape { units, polys })?;
        let bias = match &bias {
            Some(words) => Some(self.limb_rows("bias", words, Some(units))?.1),
            None => None,
        };
        let terms: Vec<AffineTerm<'_>> = terms
            .iter()
            .map(|term| AffineTerm {
                source: term.source,
                rows: term.rows(),
                factors: &term.factors,
            })
            .collect();
        Ok(self.0.affine(units, &terms, bias))
    }

    fn power(&mut self, source: Length, coefficients: Array<'_, u64>) -> PyResult<usize> {
        let Shape { units, polys } = self.source("source", source.0)?;
        let (width, words) = self.limb_rows("coefficients", &coefficients, None)?;
        if !(2..=MAX_DEGREE + 1).contains(&width) {
            let expected = format!("2 to {} coefficients per limb", MAX_DEGREE + 1);
            return Err(Refusal::new("coefficients", expected, width).into());
        }
        let polys = (width - 1) * (polys - 1) + 1;
        bounded(Shape { units, polys })?;
        Ok(self.0.power(source.0, words))
    }

    fn product(&mut self, left: Length, right: Length) -> PyResult<usize> {
        let left_shape = self.source("left", left.0)?;
        let right_shape = self.source("right", right.0)?;
        if left_shape.units != right_shape.units {
            let expected = format!("{} units", left_shape.units);
            return Err(Refusal::new("right", expected, right_shape.units).into());
        }
        bounded(Shape {
            units: left_shape.units,
            polys: left_shape.polys + right_shape.polys - 1,
        })?;
        Ok(self.0.product(left.0, right.0))
    }

    fn run<'py>(
        &self,
        py: Python<'py>,
        words: Array<'py, u64>,
        keep: Vec<Length>,
    ) -> PyResult<Vec<Bound<'py, PyArrayDyn<u64>>>> {
        let input = self.source("words", 0)?;
        let limbs = self.0.moduli().len();
        let View {
            shape: [.., n],
            data: _,
        } = words.view::<4>("words")?;
        let words = words.exactly("words", [input.units, input.polys, limbs, n])?;
        let keep: Vec<usize> = keep.into_iter().map(|Length(tensor)| tensor).collect();
        let mut shapes = Vec::with_capacity(keep.len());
        let mut elements = 0_usize;
        for &tensor in &keep {
            let Shape { units, polys } = self.source("keep", tensor)?;
            let shape = [units, polys, limbs, n];
            elements += output_size(&shape)?;
            shapes.push(shape);
        }
        // One bound for all results of the call.
        output_size(&[elements])?;
        let mut kept = shapes
            .iter()
            .map(|shape| Output::new(py, shape))
            .collect::<PyResult<Vec<_>>>()?;
        let mut out = kept
            .iter_mut()
            .map(|output| output.elements("result"))
            .collect::<Result<Vec<_>, _>>()?;
        let program = &self.0;
        py.detach(|| {
            program
                .run(words, n, &keep, &mut out)
                .map_err(|NotCanonical| {
                    let shape = kernels_core::linear::Shape {
                        count: input.units,
                        polys: input.polys,
                        limbs,
                        n,
                    };
                    not_canonical("words", words, program.moduli(), shape)
                })
        })?;
        Ok(kept.into_iter().map(Output::finish).collect())
    }
}
