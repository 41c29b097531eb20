// Trees of RFC 9162, section 2.1, with SHA-256.

import { concatenated, sha256 } from "./bytes.js";

const HASH_BYTES = 32;

export function leafHash(entry) {
  return sha256(concatenated(Uint8Array.of(0), entry));
}

function nodeHash(left, right) {
  return sha256(concatenated(Uint8Array.of(1), left, right));
}

// Walk from a leaf to the root, section 2.1.3.2.
//
// Index and size are BigInt. The result holds every hash on the way; its last one is the root which
// leaf and proof lead to, to be compared with that of a checkpoint.
export async function pathToRoot(leaf, index, size, proof) {
  if (index < 0n || index >= size) {
    throw new Error(`there is no entry ${index} in a log of ${size}`);
  }
  let [at, last] = [index, size - 1n];
  const path = [leaf];
  for (const sibling of proof) {
    if (sibling.length !== HASH_BYTES) {
      throw new Error(`the proof holds a hash of ${sibling.length} bytes`);
    }
    if (last === 0n) {
      throw new Error(`the proof of ${proof.length} hashes is too long`);
    }
    const below = path[path.length - 1];
    if (at & 1n || at === last) {
      path.push(await nodeHash(sibling, below));
      // A node at the right edge without a sibling passes to the level above unchanged.
      while (at !== 0n && !(at & 1n)) {
        [at, last] = [at >> 1n, last >> 1n];
      }
    } else {
      path.push(await nodeHash(below, sibling));
    }
    [at, last] = [at >> 1n, last >> 1n];
  }
  if (last !== 0n) {
    throw new Error(`the proof of ${proof.length} hashes is too short`);
  }
  return path;
}
