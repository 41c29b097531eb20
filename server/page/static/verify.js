// The button that verifies a receipt: everything is computed here, from bytes and keys.

import { equal, fromHex, toHex } from "./bytes.js";
import { parseCheckpoint, parseLogKey, verifyCheckpoint } from "./checkpoint.js";
import { leafHash, pathToRoot } from "./merkle.js";
import { parseEntry, verifyReceipt } from "./receipt.js";

const MAX_HASHES = 64;
const NUMBERS = new Set(["soundness_bits", "error_bound"]);

const form = document.getElementById("verify");
const keyField = document.getElementById("log-key");
const checkpointField = document.getElementById("checkpoint");
const button = form.querySelector("button");
const steps = document.getElementById("steps");
const verdict = document.getElementById("verdict");
const address = form.dataset.address;

class NotReached extends Error {}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  steps.replaceChildren();
  verdict.className = "verdict running";
  verdict.textContent = "Verifying\u2026";
  try {
    await verify();
  } finally {
    button.disabled = false;
  }
});

async function verify() {
  const found = {};
  const outcomes = [
    await step("Key of the log", () => readKey(found)),
    await step("Entry of the log", () => fetchEntry(found)),
    await step("What this page shows", () => compareShown(found)),
    await step("Server's signature over the receipt", () => checkReceipt(found)),
    await step("Checkpoint of the log", () => checkCheckpoint(found)),
    await step("Inclusion in that log", () => checkInclusion(found)),
  ];
  const passed = outcomes.every(Boolean);
  verdict.className = `verdict ${passed ? "passed" : "failed"}`;
  verdict.textContent = passed
    ? `Verified in this browser: this receipt is entry ${found.index} of a log of ` +
      `${found.checkpoint.size} entries.${caution(found)}`
    : "Not verified: do not rely on what this page shows of this receipt.";
}

// What a success is worth when this server said what to compare with.
function caution(found) {
  if (found.ownKey) {
    return "";
  }
  return " The key is the one this server states: it is proof once you paste a key that you have from elsewhere.";
}

async function step(title, work) {
  const item = document.createElement("li");
  const heading = document.createElement("strong");
  const detail = document.createElement("span");
  heading.textContent = title;
  item.append(heading, detail);
  steps.append(item);
  try {
    detail.textContent = await work();
    item.className = "passed";
    return true;
  } catch (error) {
    item.className = error instanceof NotReached ? "skipped" : "failed";
    detail.textContent = error.message;
    return false;
  }
}

function reached(value) {
  if (value === undefined) {
    throw new NotReached("Not checked: a step above failed.");
  }
  return value;
}

async function readKey(found) {
  const text = keyField.value.trim();
  found.key = await parseLogKey(text);
  found.ownKey = text !== keyField.defaultValue.trim();
  const source = found.ownKey ? "pasted here" : "as this page states it";
  return `${found.key.name}, identifier ${toHex(found.key.id)}, ${source}.`;
}

async function fetchEntry(found) {
  const bytes = new Uint8Array(await (await fetched(`${address}/entry`)).arrayBuffer());
  found.leaf = await leafHash(bytes);
  found.entry = parseEntry(bytes);
  return `${bytes.length} bytes; SHA-256 leaf hash ${toHex(found.leaf)}.`;
}

// Every field of the entry, against the text that stands on this page.
async function compareShown(found) {
  const { fields } = reached(found.entry);
  if (fields.get("receipt_id") !== form.dataset.receipt) {
    throw new Error("The entry is that of another receipt.");
  }
  for (const [name, expected] of fields) {
    const elements = document.querySelectorAll(`[data-field="${name}"]`);
    if (elements.length !== 1 || normal(name, elements[0].textContent.trim()) !== expected) {
      throw new Error(`The entry says of ${name}: \u201c${expected}\u201d; this page says otherwise.`);
    }
  }
  return `All ${fields.size} fields are those of the entry.`;
}

// Servers and browsers write the same number differently.
function normal(name, text) {
  return NUMBERS.has(name) && text !== "" ? String(Number(text)) : text;
}

async function checkReceipt(found) {
  await verifyReceipt(reached(found.entry), reached(found.key));
  return "Ed25519, by the key of the log.";
}

async function checkCheckpoint(found) {
  const key = reached(found.key);
  const pasted = checkpointField.value.trim();
  const note = pasted ? `${pasted}\n` : await (await fetched("/checkpoint")).text();
  const checkpoint = parseCheckpoint(note.replaceAll("\r\n", "\n"));
  await verifyCheckpoint(checkpoint, key);
  found.checkpoint = checkpoint;
  const source = pasted ? "pasted here" : "from this server";
  return `${checkpoint.size} entries, root ${toHex(checkpoint.root)}, signed by the log, ${source}.`;
}

async function checkInclusion(found) {
  const { size, root } = reached(found.checkpoint);
  const leaf = reached(found.leaf);
  const proof = await (await fetched(`${address}/inclusion?size=${size}`)).json();
  if (!Number.isSafeInteger(proof.index) || !Array.isArray(proof.hashes)) {
    throw new Error("The server sent no proof.");
  }
  if (proof.hashes.length > MAX_HASHES) {
    throw new Error("The proof is longer than any log needs.");
  }
  const path = await pathToRoot(leaf, BigInt(proof.index), size, proof.hashes.map(fromHex));
  const computed = path[path.length - 1];
  if (!equal(computed, root)) {
    throw new Error(
      `The entry leads to root ${toHex(computed)}, the checkpoint has ${toHex(root)}: ` +
        "the entry, its place or the log was altered.",
    );
  }
  found.index = proof.index;
  return `Entry ${proof.index}: ${proof.hashes.length} hashes lead from it to the checkpoint's root.`;
}

async function fetched(path) {
  const response = await fetch(path, { credentials: "same-origin", cache: "no-store" });
  if (response.status === 401) {
    throw new Error("The session has ended: log in again.");
  }
  if (!response.ok) {
    throw new Error(`The server answered ${response.status}: it cannot show this.`);
  }
  return response;
}
