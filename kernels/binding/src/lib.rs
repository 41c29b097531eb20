//! The Python module `kernels._native`: checks arguments, releases the interpreter lock, calls the
//! core. Documented for Python callers in `kernels/_native.pyi`.

#![forbid(unsafe_code)]
// PyO3 hands extracted arguments over by value.
#![allow(clippy::needless_pass_by_value)]

mod border;
mod extension;
mod field;
mod hashing;
mod linear;
mod projection;
mod reed_solomon;
mod stream;
mod sumcheck;
mod threads;
mod tile;
mod transform;

/// Arithmetic and hashing kernels.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::extension::{
        Extension, combine_rows_extension, cross_gram, evaluate_folded, sigma_fold,
    };
    #[pymodule_export]
    use crate::field::{Modulus, combine_rows, gemm};
    #[pymodule_export]
    use crate::hashing::{
        gather_columns, hash_columns, hash_leaves, merkle_nodes, merkle_root, sha256_chunks,
    };
    #[pymodule_export]
    use crate::linear::{inner_products, linear_small, linear_words};
    #[pymodule_export]
    use crate::projection::{
        fold_bits, fold_i32, project_bits_i64, project_bits_mod, project_bits_wide, project_i32,
    };
    #[pymodule_export]
    use crate::reed_solomon::ReedSolomon;
    #[pymodule_export]
    use crate::stream::{
        chacha_bytes, chacha_field, expand_ciphertexts, expand_seal_seed, expand_seal_seeds,
        xof_bytes, xof_field,
    };
    #[pymodule_export]
    use crate::sumcheck::{GramSumcheck, PowerSumcheck, ProductSumcheck};
    #[pymodule_export]
    use crate::threads::compute_here;
    #[pymodule_export]
    use crate::tile::TileProgram;
    #[pymodule_export]
    use crate::transform::NegacyclicNtt;
}
