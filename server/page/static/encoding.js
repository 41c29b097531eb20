// The canonical encoding in which entries of the log are written: one byte string for one value.
//
// None is null, integers are BigInt, floats are numbers, tuples are arrays.

import { concatenated, equal, fromText, toHex } from "./bytes.js";

const MAX_DEPTH = 16;

// The value of bytes that hold exactly one, in its only form.
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.at !== bytes.length) {
    throw new Error("bytes are left after the value");
  }
  return value;
}

// A text as it stands inside an encoding.
export function encodedText(text) {
  const body = fromText(text);
  const header = new DataView(new ArrayBuffer(9));
  header.setUint8(0, "s".charCodeAt(0));
  header.setBigUint64(1, BigInt(body.length), true);
  return concatenated(new Uint8Array(header.buffer), body);
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  take(size) {
    if (size > this.bytes.length - this.at) {
      throw new Error("the encoding is cut short");
    }
    this.at += Number(size);
    return this.bytes.subarray(this.at - Number(size), this.at);
  }

  view(size) {
    const taken = this.take(size);
    return new DataView(taken.buffer, taken.byteOffset, size);
  }

  value(depth) {
    if (depth > MAX_DEPTH) {
      throw new Error("the encoding is nested too deeply");
    }
    const tag = String.fromCharCode(this.take(1)[0]);
    switch (tag) {
      case "n":
        return null;
      case "t":
        return true;
      case "f":
        return false;
      case "i":
        return integer(this.take(this.view(4).getUint32(0, true)));
      case "d":
        return double(this.take(8));
      case "s":
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
          this.take(this.view(8).getBigUint64(0, true)),
        );
      case "b":
        return this.take(this.view(8).getBigUint64(0, true));
      case "l":
        return this.items(this.view(4).getUint32(0, true), depth);
      default:
        throw new Error("the encoding has an unknown tag");
    }
  }

  items(count, depth) {
    if (count > this.bytes.length - this.at) {
      throw new Error("the encoding is cut short");
    }
    return Array.from({ length: count }, () => this.value(depth + 1));
  }
}

// Two's complement, little-endian, in its shortest form.
function integer(body) {
  const size = body.length;
  const negative = size > 0 && body[size - 1] >= 0x80;
  const filler = negative ? 0xff : 0x00;
  const spare = size > 1 && body[size - 1] === filler && body[size - 2] >= 0x80 === negative;
  if (size === 0 || spare) {
    throw new Error("an integer is not in its shortest form");
  }
  const magnitude = BigInt(`0x${toHex(body.slice().reverse())}`);
  return negative ? magnitude - (1n << BigInt(8 * size)) : magnitude;
}

function double(body) {
  const value = new DataView(body.buffer, body.byteOffset, 8).getFloat64(0, true);
  if (!Number.isFinite(value) || (value === 0 && !equal(body, new Uint8Array(8)))) {
    throw new Error("a float is not finite or not canonical");
  }
  return value;
}
