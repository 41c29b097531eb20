// The receipt in an entry of the log, read from its bytes.

import { concatenated, equal, sha256, toHex } from "./bytes.js";
import { verifySignature } from "./checkpoint.js";
import { decode, encodedText } from "./encoding.js";

const ENTRY = "blindproof signed receipt 1";
const RECEIPT = "blindproof receipt 1";
const SERVER_LABEL = "blindproof receipt, server";
const NANOSECONDS = 1_000_000_000n;

// Fields in their order in the encoding; each says how the page shows it.
const FIELDS = [
  ["receipt_id", toHex],
  ["time", instant],
  ["time_source", String],
  ["tenant", String],
  ["actor", String],
  ["purpose", String],
  ["subject", toHex],
  ["action", String],
  ["outcome", String],
  ["reason", String],
  ["digests", null],
  ["software_version", String],
  ["soundness_bits", String],
  ["error_bound", String],
  ["request_id", toHex],
  ["idempotency_digest", toHex],
];
const DIGESTS = ["model", "parameters", "graph", "input", "output", "proof", "plaintext", "key"];

// Parse an entry: the receipt's bytes and fields, and the server's signature, not verified.
export function parseEntry(bytes) {
  const [form, encoded, key, signature] = tuple(decode(bytes), 4, ENTRY);
  if (form !== ENTRY || [encoded, key, signature].some((part) => !(part instanceof Uint8Array))) {
    throw new Error(`the entry is no \u201c${ENTRY}\u201d`);
  }
  const [name, ...values] = tuple(decode(encoded), FIELDS.length + 1, RECEIPT);
  if (name !== RECEIPT) {
    throw new Error(`the entry holds no \u201c${RECEIPT}\u201d`);
  }
  return { encoded, key, signature, fields: shownFields(values) };
}

// What the page must show for each field of the receipt.
function shownFields(values) {
  const fields = new Map();
  FIELDS.forEach(([name, shown], index) => {
    const value = values[index];
    if (shown === null) {
      tuple(value, DIGESTS.length, "digests").forEach((digest, at) => {
        fields.set(`digest_${DIGESTS[at]}`, digest === null ? "" : toHex(digest));
      });
    } else {
      fields.set(name, value === null ? "" : shown(value));
    }
  });
  return fields;
}

function tuple(value, size, name) {
  if (!Array.isArray(value) || value.length !== size) {
    throw new Error(`${name}: expected ${size} items`);
  }
  return value;
}

function instant(time) {
  const whole = new Date(Number(time / NANOSECONDS) * 1000).toISOString().slice(0, 19);
  return `${whole}.${String(time % NANOSECONDS).padStart(9, "0")}Z`;
}

// Check that the log's key has signed the receipt.
export async function verifyReceipt(entry, logKey) {
  if (!equal(entry.key, logKey.raw)) {
    throw new Error("the receipt is signed by another key");
  }
  // The digest of the pair of label and receipt, as the signer computes it.
  const pair = Uint8Array.of("l".charCodeAt(0), 2, 0, 0, 0);
  const labelled = concatenated(pair, encodedText(SERVER_LABEL), entry.encoded);
  await verifySignature(logKey.raw, entry.signature, await sha256(labelled));
}
