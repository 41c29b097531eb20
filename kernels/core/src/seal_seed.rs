//! The uniform polynomial that SEAL expands from a 64-byte seed (its `BLAKE2Xb` generator).
//!
//! The generator fills 4096 bytes at a time: `H0 = BLAKE2b(counter; key = seed)` with the output
//! length in the node offset, then 64 expansion nodes of fanout and depth 0 over `H0` (BLAKE2X,
//! Aumasson, Neves, Wilcox-O'Hearn, Winnerlein, 2016). A word is rejected when it is not below the
//! largest multiple of `q` that SEAL uses; replacements follow the `limbs * n` first words.

use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};
use rayon::prelude::*;

use crate::modulus::Modulus;

/// Bytes of a SEAL seed.
pub const SEED_BYTES: usize = 64;

const REFILL_BYTES: usize = 4096;
const NODE_BYTES: usize = 64;
const LEAF_BYTES: u32 = 64;
const NODES: usize = REFILL_BYTES / NODE_BYTES;
const WORD_BYTES: usize = 8;

/// The output length of BLAKE2X, in the upper half of the node offset.
const XOF_LENGTH: u64 = (REFILL_BYTES as u64) << 32;

/// Refills `counter` of the generator into `out`, 4096 bytes.
fn refill(seed: &[u8; SEED_BYTES], counter: u64, out: &mut [u8]) {
    let root = Params::new()
        .hash_length(NODE_BYTES)
        .key(seed)
        .node_offset(XOF_LENGTH)
        .hash(&counter.to_le_bytes());
    let mut jobs: [HashManyJob<'_>; NODES] = std::array::from_fn(|node| {
        let mut params = Params::new();
        params
            .hash_length(NODE_BYTES)
            .fanout(0)
            .max_depth(0)
            .max_leaf_length(LEAF_BYTES)
            .node_offset(XOF_LENGTH | node as u64)
            .inner_hash_length(NODE_BYTES);
        HashManyJob::new(&params, root.as_bytes())
    });
    hash_many(&mut jobs);
    for (job, chunk) in jobs.iter().zip(out.chunks_exact_mut(NODE_BYTES)) {
        chunk.copy_from_slice(job.to_hash().as_bytes());
    }
}

/// `count` refills from `counter` on, as words.
fn words(seed: &[u8; SEED_BYTES], counter: u64, count: usize) -> Vec<u64> {
    let mut bytes = vec![0; count * REFILL_BYTES];
    bytes
        .par_chunks_exact_mut(REFILL_BYTES)
        .enumerate()
        .for_each(|(index, chunk)| refill(seed, counter + index as u64, chunk));
    let (words, _) = bytes.as_chunks::<WORD_BYTES>();
    words.iter().map(|&word| u64::from_le_bytes(word)).collect()
}

/// Uniform words `[limb, n]` from `seed`, word for word as SEAL's `sample_poly_uniform`.
#[must_use]
pub fn expand(seed: &[u8; SEED_BYTES], moduli: &[Modulus], n: usize) -> Vec<u64> {
    let length = moduli.len() * n;
    let refills = (length * WORD_BYTES).div_ceil(REFILL_BYTES);
    let mut stream = words(seed, 0, refills);
    let mut next = length;
    let mut counter = refills as u64;
    let mut out = Vec::with_capacity(length);
    for (limb, modulus) in moduli.iter().enumerate() {
        let limit = u64::MAX - u64::MAX % modulus.value() - 1;
        for index in limb * n..(limb + 1) * n {
            let mut word = stream[index];
            while word >= limit {
                if next == stream.len() {
                    stream.extend(words(seed, counter, 1));
                    counter += 1;
                }
                word = stream[next];
                next += 1;
            }
            out.push(modulus.reduce_word(word));
        }
    }
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
        .for_each(|(out, seed)| out.copy_from_slice(&expand(seed, moduli, n)));
    out
}
