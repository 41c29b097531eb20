// Checkpoints (c2sp.org/tlog-checkpoint), the notes they stand in (c2sp.org/signed-note), and keys.

import { concatenated, equal, fromBase64, fromText, sha256, toHex } from "./bytes.js";

const ED25519 = 0x01;
const KEY_ID_BYTES = 4;
const KEY_BYTES = 32;
const MARK = "\u2014 ";

// Parse name+identifier+base64 and recompute the identifier.
export async function parseLogKey(text) {
  const found = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/.exec(text);
  if (found === null) {
    throw new Error("not a verifier key: expected name+identifier+base64");
  }
  const [, name, stated, data] = found;
  const raw = fromBase64(data);
  if (raw[0] !== ED25519 || raw.length !== 1 + KEY_BYTES) {
    throw new Error("not the Ed25519 key of a log");
  }
  const named = concatenated(fromText(`${name}\n`), raw);
  const id = (await sha256(named)).slice(0, KEY_ID_BYTES);
  if (toHex(id) !== stated) {
    throw new Error(`the key's identifier is ${toHex(id)}, not ${stated}`);
  }
  return { name, id, raw: raw.slice(1) };
}

// Parse a checkpoint; its signatures are not verified.
export function parseCheckpoint(note) {
  const blank = note.lastIndexOf("\n\n");
  if (blank < 0 || !note.endsWith("\n")) {
    throw new Error("a checkpoint ends in an empty line and lines of signatures");
  }
  const text = note.slice(0, blank + 1);
  const lines = text.split("\n");
  if (lines.length !== 4 || lines[3] !== "") {
    throw new Error("a checkpoint has three lines: origin, size and root");
  }
  if (!/^(?:0|[1-9][0-9]{0,18})$/.test(lines[1])) {
    throw new Error("the checkpoint states no size");
  }
  const root = fromBase64(lines[2]);
  if (root.length !== 32) {
    throw new Error(`the checkpoint's root has ${root.length} bytes, not 32`);
  }
  const signatures = note.slice(blank + 2, -1).split("\n").map(parseSignature);
  return { text, origin: lines[0], size: BigInt(lines[1]), root, signatures };
}

function parseSignature(line) {
  const [name, data, ...rest] = line.slice(MARK.length).split(" ");
  if (!line.startsWith(MARK) || !name || data === undefined || rest.length) {
    throw new Error("the checkpoint has a line that is no signature");
  }
  const raw = fromBase64(data);
  return { name, id: raw.slice(0, KEY_ID_BYTES), signature: raw.slice(KEY_ID_BYTES) };
}

// Check that a log has signed a checkpoint of itself.
export async function verifyCheckpoint(checkpoint, key) {
  if (checkpoint.origin !== key.name) {
    throw new Error(`a checkpoint of \u201c${checkpoint.origin}\u201d, not of \u201c${key.name}\u201d`);
  }
  const lines = checkpoint.signatures.filter(
    (line) => line.name === key.name && equal(line.id, key.id),
  );
  if (lines.length === 0) {
    throw new Error("the checkpoint has no signature of this key");
  }
  for (const line of lines) {
    await verifySignature(key.raw, line.signature, fromText(checkpoint.text));
  }
}

export async function verifySignature(raw, signature, message) {
  const key = await crypto.subtle.importKey("raw", raw, "Ed25519", false, ["verify"]);
  if (!(await crypto.subtle.verify("Ed25519", key, signature, message))) {
    throw new Error("the signature does not verify");
  }
}
