// Bytes, hexadecimal and base64.

export function concatenated(...parts) {
  const joined = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

export function equal(left, right) {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}

export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function fromHex(text) {
  if (typeof text !== "string" || !/^(?:[0-9a-f]{2})*$/.test(text)) {
    throw new Error("not hexadecimal");
  }
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

// Standard base64 in its one canonical form: other forms of the same bytes are refused.
export function fromBase64(text) {
  let binary;
  try {
    binary = atob(text);
  } catch {
    throw new Error("not base64");
  }
  if (binary === "" || btoa(binary) !== text) {
    throw new Error("base64 is empty or not canonical");
  }
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
}

export function fromText(text) {
  return new TextEncoder().encode(text);
}

export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}
