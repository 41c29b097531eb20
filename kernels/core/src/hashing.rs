//! SHA-256 over chunks, columns and trees.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Bytes of a digest and of a salt.
pub const DIGEST_BYTES: usize = 32;

const WORD_BYTES: usize = 8;

/// Columns transposed together: eight cache lines of each row, which lie pages apart.
const COLUMNS_PER_TILE: usize = 64;

/// Below this width a tree level is hashed by one task.
const PARALLEL_NODES: usize = 128;

/// The concatenated SHA-256 of each chunk of `data` (`chunk_bytes > 0`; the last may be shorter).
#[must_use]
pub fn sha256_chunks(data: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let mut out = vec![0; data.len().div_ceil(chunk_bytes) * DIGEST_BYTES];
    out.par_chunks_exact_mut(DIGEST_BYTES)
        .zip(data.par_chunks(chunk_bytes))
        .for_each(|(out, chunk)| out.copy_from_slice(&Sha256::digest(chunk)));
    out
}

/// `leaf_j = SHA-256(prefix || salt_j || le64 words of column j)`, columns running through the
/// arrays in order; each array is `[rows, n]`, `salts` `[n, 32]`, the result `[n, 32]`.
#[must_use]
pub fn hash_columns(arrays: &[&[u64]], salts: &[u8], prefix: &[u8], n: usize) -> Vec<u8> {
    let mut leaves = vec![0; n * DIGEST_BYTES];
    if n == 0 {
        return leaves;
    }
    let rows: Vec<&[u64]> = arrays
        .iter()
        .flat_map(|array| array.chunks_exact(n))
        .collect();
    let head = prefix.len() + DIGEST_BYTES;
    let length = head + rows.len() * WORD_BYTES;
    leaves
        .par_chunks_mut(COLUMNS_PER_TILE * DIGEST_BYTES)
        .enumerate()
        .for_each_init(
            || vec![0_u8; COLUMNS_PER_TILE * length],
            |messages, (tile, leaves)| {
                let start = tile * COLUMNS_PER_TILE;
                let width = leaves.len() / DIGEST_BYTES;
                for (column, message) in messages.chunks_exact_mut(length).take(width).enumerate() {
                    message[..prefix.len()].copy_from_slice(prefix);
                    let salt = &salts[(start + column) * DIGEST_BYTES..][..DIGEST_BYTES];
                    message[prefix.len()..head].copy_from_slice(salt);
                }
                for (row, words) in rows.iter().enumerate() {
                    let offset = head + row * WORD_BYTES;
                    for (column, word) in words[start..start + width].iter().enumerate() {
                        let target = column * length + offset;
                        messages[target..target + WORD_BYTES].copy_from_slice(&word.to_le_bytes());
                    }
                }
                for (leaf, message) in leaves
                    .chunks_exact_mut(DIGEST_BYTES)
                    .zip(messages.chunks_exact(length))
                {
                    leaf.copy_from_slice(&Sha256::digest(message));
                }
            },
        );
    leaves
}

/// Columns of `rows` (`[r, n]`) at `positions`: `[positions, r]`.
#[must_use]
pub fn gather_columns(rows: &[u64], n: usize, positions: &[usize]) -> Vec<u64> {
    if n == 0 {
        return Vec::new();
    }
    let count = rows.len() / n;
    let mut out = vec![0; positions.len() * count];
    if out.is_empty() {
        return out;
    }
    out.par_chunks_exact_mut(count)
        .zip(positions)
        .for_each(|(column, &position)| {
            for (word, row) in column.iter_mut().zip(rows.chunks_exact(n)) {
                *word = row[position];
            }
        });
    out
}

/// The leaves of opened columns: `columns` is `[t, r]`, `salts` `[t, 32]`, the result `[t, 32]`.
#[must_use]
pub fn hash_leaves(columns: &[u64], salts: &[u8], prefix: &[u8], rows: usize) -> Vec<u8> {
    let mut leaves = vec![0; salts.len()];
    leaves
        .par_chunks_exact_mut(DIGEST_BYTES)
        .zip(salts.par_chunks_exact(DIGEST_BYTES))
        .enumerate()
        .for_each(|(index, (leaf, salt))| {
            let mut hasher = Sha256::new_with_prefix(prefix);
            hasher.update(salt);
            for word in &columns[index * rows..][..rows] {
                hasher.update(word.to_le_bytes());
            }
            leaf.copy_from_slice(&hasher.finalize());
        });
    leaves
}

/// The whole tree over `m` leaves (a power of two), `[2 m, 32]` in heap order: node 1 is the root,
/// node `m + j` leaf `j`, node `i = SHA-256(prefix || node 2i || node 2i+1)`, node 0 zero.
#[must_use]
pub fn merkle_nodes(leaves: &[u8], prefix: &[u8]) -> Vec<u8> {
    const PAIR: usize = 2 * DIGEST_BYTES;
    let mut nodes = vec![0; 2 * leaves.len()];
    nodes[leaves.len()..].copy_from_slice(leaves);
    let mut width = leaves.len() / DIGEST_BYTES / 2;
    while width > 0 {
        let (parents, children) = nodes.split_at_mut(width * PAIR);
        let parents = &mut parents[width * DIGEST_BYTES..];
        parents
            .par_chunks_exact_mut(DIGEST_BYTES)
            .zip(children[..width * PAIR].par_chunks_exact(PAIR))
            .with_min_len(PARALLEL_NODES)
            .for_each(|(parent, pair)| {
                let mut hasher = Sha256::new_with_prefix(prefix);
                hasher.update(pair);
                parent.copy_from_slice(&hasher.finalize());
            });
        width /= 2;
    }
    nodes
}

/// An opening that lists more or fewer siblings than its positions need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongOpening {
    /// The bytes it should have.
    pub expected: usize,
}

/// The root of the tree over `count` leaves (a power of two) that [`merkle_nodes`] would build, from
/// the leaves `[t, 32]` at ascending distinct `positions` and an opening: the siblings that cannot
/// be computed, level by level from the leaves up, by ascending index.
///
/// # Errors
/// The opening has another length than the positions need.
pub fn merkle_root(
    leaves: &[u8],
    positions: &[usize],
    opening: &[u8],
    count: usize,
    prefix: &[u8],
) -> Result<[u8; DIGEST_BYTES], WrongOpening> {
    let mut siblings = opening.as_chunks().0.iter();
    let mut needed = 0;
    let mut level: Vec<(usize, [u8; DIGEST_BYTES])> = positions
        .iter()
        .zip(leaves.as_chunks().0)
        .map(|(&position, &leaf)| (count + position, leaf))
        .collect();
    while level.first().is_some_and(|&(node, _)| node > 1) {
        level = level
            .chunk_by(|(left, _), (right, _)| left ^ 1 == *right)
            .map(|family| {
                let (node, first) = family[0];
                let second = family.get(1).map_or_else(
                    || {
                        needed += DIGEST_BYTES;
                        // Too short an opening is refused in the end.
                        siblings.next().copied().unwrap_or_default()
                    },
                    |&(_, second)| second,
                );
                let mut hasher = Sha256::new_with_prefix(prefix);
                if node % 2 == 0 {
                    hasher.update(first);
                    hasher.update(second);
                } else {
                    hasher.update(second);
                    hasher.update(first);
                }
                (node / 2, hasher.finalize().into())
            })
            .collect();
    }
    match level.first() {
        Some(&(_, root)) if opening.len() == needed => Ok(root),
        _ => Err(WrongOpening { expected: needed }),
    }
}
