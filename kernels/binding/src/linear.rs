//! `linear_small`, `linear_words` and `inner_products`.

use kernels_core::linear::{self, MAX_SMALL_WEIGHT, NotCanonical, Shape};
use numpy::{PyArray3, PyArray4};
use pyo3::prelude::*;

use crate::border::{Array, Prime, Refusal, View, array, canonical, moduli, output_size};

/// Shape and words of a `[count, poly, limb, n]` array with one modulus per limb.
pub(crate) fn ciphertexts<'a>(
    name: &str,
    array: &'a Array<'_, u64>,
    primes: &[Prime],
) -> Result<(Shape, &'a [u64]), Refusal> {
    let View {
        shape: [count, polys, limbs, n],
        data,
    } = array.view::<4>(name)?;
    if limbs != primes.len() {
        return Err(Refusal::new(
            "moduli",
            format_args!("{limbs} moduli, one per limb of {name}"),
            primes.len(),
        ));
    }
    Ok((
        Shape {
            count,
            polys,
            limbs,
            n,
        },
        data,
    ))
}

pub(crate) fn canonical_limbs(
    name: &str,
    words: &[u64],
    moduli: &[kernels_core::Modulus],
    shape: Shape,
) -> Result<(), Refusal> {
    if linear::is_canonical(words, moduli, shape) {
        return Ok(());
    }
    Err(not_canonical(name, words, moduli, shape))
}

/// Finds the offending word again, for the message.
pub(crate) fn not_canonical(
    name: &str,
    words: &[u64],
    moduli: &[kernels_core::Modulus],
    shape: Shape,
) -> Refusal {
    words
        .chunks_exact(shape.n.max(1))
        .enumerate()
        .find_map(|(plane, words)| canonical(name, &moduli[plane % shape.limbs], words).err())
        .unwrap_or_else(|| Refusal::new(name, "canonical words", "an array that changed meanwhile"))
}

/// `sum_k weights[j, k] words[k]`, signed weights of at most `2^17`.
#[pyfunction]
pub(crate) fn linear_small<'py>(
    py: Python<'py>,
    words: Array<'py, u64>,
    weights: Array<'py, i64>,
    moduli: Vec<Prime>,
) -> PyResult<Bound<'py, PyArray4<u64>>> {
    let (shape, words) = ciphertexts("words", &words, &moduli)?;
    let [outputs, _] = weights.view::<2>("weights")?.shape;
    let weights = weights.exactly("weights", [outputs, shape.count])?;
    let output_shape = [outputs, shape.polys, shape.limbs, shape.n];
    output_size(&output_shape)?;
    if let Some(index) = linear::first_large_weight(weights) {
        let found = format!("{} at flat index {index}", weights[index]);
        let expected = format!("magnitudes of at most {MAX_SMALL_WEIGHT}");
        return Err(Refusal::new("weights", expected, found).into());
    }
    let moduli = self::moduli(&moduli);
    let result = py.detach(|| {
        linear::linear_small(words, weights, &moduli, shape, outputs)
            .map_err(|NotCanonical| not_canonical("words", words, &moduli, shape))
    })?;
    array(py, result, output_shape)
}

/// `sum_k weights[j, k, limb] words[k]`, weights given as residues.
#[pyfunction]
pub(crate) fn linear_words<'py>(
    py: Python<'py>,
    words: Array<'py, u64>,
    weights: Array<'py, u64>,
    moduli: Vec<Prime>,
) -> PyResult<Bound<'py, PyArray4<u64>>> {
    let (shape, words) = ciphertexts("words", &words, &moduli)?;
    let [outputs, ..] = weights.view::<3>("weights")?.shape;
    let weights = weights.exactly("weights", [outputs, shape.count, shape.limbs])?;
    let output_shape = [outputs, shape.polys, shape.limbs, shape.n];
    output_size(&output_shape)?;
    let moduli = self::moduli(&moduli);
    let result = py.detach(|| {
        canonical_limbs("words", words, &moduli, shape)?;
        let weights_shape = Shape {
            count: outputs,
            polys: shape.count,
            n: 1,
            ..shape
        };
        canonical_limbs("weights", weights, &moduli, weights_shape)?;
        Ok::<_, Refusal>(linear::linear_words(
            words, weights, &moduli, shape, outputs,
        ))
    })?;
    array(py, result, output_shape)
}

/// Inner products over poly and n: `[limb, c, k]`.
#[pyfunction]
pub(crate) fn inner_products<'py>(
    py: Python<'py>,
    words: Array<'py, u64>,
    vectors: Array<'py, u64>,
    moduli: Vec<Prime>,
) -> PyResult<Bound<'py, PyArray3<u64>>> {
    let (shape, words) = ciphertexts("words", &words, &moduli)?;
    let [vector_count, ..] = vectors.view::<4>("vectors")?.shape;
    let vectors = vectors.exactly("vectors", [vector_count, shape.polys, shape.limbs, shape.n])?;
    let output_shape = [shape.limbs, vector_count, shape.count];
    output_size(&output_shape)?;
    let moduli = self::moduli(&moduli);
    let result = py.detach(|| {
        let vectors_shape = Shape {
            count: vector_count,
            ..shape
        };
        canonical_limbs("vectors", vectors, &moduli, vectors_shape)?;
        linear::inner_products(words, vectors, &moduli, shape, vector_count)
            .map_err(|NotCanonical| not_canonical("words", words, &moduli, shape))
    })?;
    array(py, result, output_shape)
}
