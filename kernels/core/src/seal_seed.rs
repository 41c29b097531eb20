//! The uniform polynomial that SEAL expands from a 64-byte seed (its `BLAKE2Xb` generator).
//!
//! The generator fills 4096 bytes at a time: `H0 = BLAKE2b(counter; key = seed)` with the output
//! length in the node offset, then 64 expansion nodes of fanout and depth 0 over `H0` (BLAKE2X,
//! Aumasson, Neves, Wilcox-O'Hearn, Winnerlein, 2016). A word is rejected when it is not below the
//! largest multiple of `q` that SEAL uses; replacements follow the `limbs * n` first words.

use std::sync::OnceLock;

use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};
use rayon::prelude::*;

use crate::linear::NotCanonical;
use crate::modulus::Modulus;
use crate::vectorised;

/// Bytes of a SEAL seed.
pub const SEED_BYTES: usize = 64;

const REFILL_BYTES: usize = 4096;
const WORD_BYTES: usize = 8;
const REFILL_WORDS: usize = REFILL_BYTES / WORD_BYTES;
const DIGEST_WORDS: usize = 8;
const DIGEST_BYTES: usize = DIGEST_WORDS * WORD_BYTES;
const NODES: usize = REFILL_BYTES / DIGEST_BYTES;
const LEAF_BYTES: u32 = 64;

/// Nodes hashed by one call: twice the hashes that run side by side.
const LANES: usize = 8;

/// The output length of BLAKE2X, in the upper half of the node offset.
const XOF_LENGTH: u64 = (REFILL_BYTES as u64) << 32;

/// Parameters of the expansion nodes: fanout and depth 0, told apart by their offsets.
fn node_params() -> &'static [Params; NODES] {
    static PARAMS: OnceLock<[Params; NODES]> = OnceLock::new();
    PARAMS.get_or_init(|| {
        std::array::from_fn(|node| {
            Params::new()
                .hash_length(DIGEST_BYTES)
                .fanout(0)
                .max_depth(0)
                .max_leaf_length(LEAF_BYTES)
                .node_offset(XOF_LENGTH | node as u64)
                .inner_hash_length(DIGEST_BYTES)
                .clone()
        })
    })
}

/// Refill `counter` of the generator, as words.
fn refill(seed: &[u8; SEED_BYTES], counter: u64, out: &mut [u64; REFILL_WORDS]) {
    let root = Params::new()
        .hash_length(DIGEST_BYTES)
        .key(seed)
        .node_offset(XOF_LENGTH)
        .hash(&counter.to_le_bytes());
    let (groups, _) = out.as_chunks_mut::<{ LANES * DIGEST_WORDS }>();
    let (params, _) = node_params().as_chunks::<LANES>();
    for (group, params) in groups.iter_mut().zip(params) {
        let mut jobs: [HashManyJob<'_>; LANES] =
            std::array::from_fn(|lane| HashManyJob::new(&params[lane], root.as_bytes()));
        hash_many(&mut jobs);
        for (node, job) in group.chunks_exact_mut(DIGEST_WORDS).zip(&jobs) {
            let digest = job.to_hash();
            let (bytes, _) = digest.as_bytes().as_chunks::<WORD_BYTES>();
            for (word, &bytes) in node.iter_mut().zip(bytes) {
                *word = u64::from_le_bytes(bytes);
            }
        }
    }
}

/// Writes the uniform words `[limb, n]` of `seed`, as SEAL's `sample_poly_uniform` draws them.
fn expand_into(seed: &[u8; SEED_BYTES], moduli: &[Modulus], out: &mut [u64]) {
    if out.is_empty() {
        return;
    }
    let n = out.len() / moduli.len();
    let (refills, rest) = out.as_chunks_mut::<REFILL_WORDS>();
    let mut counter = refills.len() as u64;
    refills
        .par_iter_mut()
        .enumerate()
        .for_each(|(counter, words)| refill(seed, counter as u64, words));
    // What the words leave over of the last refill is the first to replace rejected words.
    let mut stream = [0; REFILL_WORDS];
    let mut next = REFILL_WORDS;
    if !rest.is_empty() {
        refill(seed, counter, &mut stream);
        counter += 1;
        next = rest.len();
        rest.copy_from_slice(&stream[..next]);
    }
    for (modulus, words) in moduli.iter().zip(out.chunks_exact_mut(n)) {
        let limit = u64::MAX - u64::MAX % modulus.value() - 1;
        // Rejections are rare for the primes in use: one look at all words, then no more branches.
        if words
            .iter()
            .copied()
            .max()
            .is_some_and(|word| word >= limit)
        {
            for word in &mut *words {
                while *word >= limit {
                    if next == REFILL_WORDS {
                        refill(seed, counter, &mut stream);
                        counter += 1;
                        next = 0;
                    }
                    *word = stream[next];
                    next += 1;
                }
            }
        }
        vectorised(
            #[inline(always)]
            || {
                for word in words {
                    *word = modulus.reduce_word(*word);
                }
            },
        );
    }
}

/// Uniform words `[limb, n]` from `seed`, word for word as SEAL's `sample_poly_uniform`.
#[must_use]
pub fn expand(seed: &[u8; SEED_BYTES], moduli: &[Modulus], n: usize) -> Vec<u64> {
    let mut out = vec![0; moduli.len() * n];
    expand_into(seed, moduli, &mut out);
    out
}

/// [`expand`] for many seeds: `[seed, limb, n]`.
#[must_use]
pub fn expand_many(seeds: &[[u8; SEED_BYTES]], moduli: &[Modulus], n: usize) -> Vec<u64> {
    let mut out = vec![0; seeds.len() * moduli.len() * n];
    if out.is_empty() {
        return out;
    }
    out.par_chunks_exact_mut(moduli.len() * n)
        .zip(seeds)
        .for_each(|(out, seed)| expand_into(seed, moduli, out));
    out
}

/// Whole ciphertexts `[seed, 2, limb, n]`: the words `c0`, `[seed, limb, n]`, then those of the
/// seed. `c0` is checked in the same pass.
///
/// # Errors
/// A word of `c0` is not below the modulus of its limb.
pub fn expand_ciphertexts(
    seeds: &[[u8; SEED_BYTES]],
    c0: &[u64],
    moduli: &[Modulus],
    n: usize,
) -> Result<Vec<u64>, NotCanonical> {
    let size = moduli.len() * n;
    let mut out = vec![0; 2 * seeds.len() * size];
    if out.is_empty() {
        return Ok(out);
    }
    out.par_chunks_exact_mut(2 * size)
        .zip(c0.par_chunks_exact(size).zip(seeds))
        .try_for_each(|(out, (c0, seed))| {
            let canonical = |(modulus, words): (&Modulus, &[u64])| modulus.is_canonical(words);
            if !moduli.iter().zip(c0.chunks_exact(n)).all(canonical) {
                return Err(NotCanonical);
            }
            let (first, second) = out.split_at_mut(size);
            first.copy_from_slice(c0);
            expand_into(seed, moduli, second);
            Ok(())
        })?;
    Ok(out)
}
