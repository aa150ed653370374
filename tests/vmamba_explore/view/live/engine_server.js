// Answers a test in Python: holds a network and calls functions of the live page's modules.
//
// Each line of stdin is a request { id?, on, name, args, keep }, each line of stdout its answer
// { value } or { error }. on: a module of view/live, or { held: number }; what keep holds back is
// named by a number. Arrays travel as { array: type, base64 }.

import { createInterface } from "node:readline";

const LIVE = new URL("../../../../vmamba_explore/view/live/", import.meta.url);
const TYPES = { Float32Array, Float64Array, Int32Array, Uint8Array, Int8Array, Uint8ClampedArray };
const held = [];

const hold = (value) => ({ held: held.push(value) - 1 });

function decoded(value) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(decoded);
  if (value.held !== undefined) return held[value.held];
  if (value.report) return async () => {};
  if (value.map) return new Map(value.map.map(([key, item]) => [key, decoded(item)]));
  if (value.array) {
    const bytes = Uint8Array.from(Buffer.from(value.base64, "base64"));
    return new TYPES[value.array](bytes.buffer);
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, decoded(item)]));
}

function encoded(value) {
  if (typeof value === "function" || value === undefined) return null;
  if (typeof value === "number" && !Number.isFinite(value)) return { number: String(value) };
  if (value === null || typeof value !== "object") return value;
  if (ArrayBuffer.isView(value)) {
    const base64 = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
    return { array: value.constructor.name, base64 };
  }
  if (value instanceof ArrayBuffer) return encoded(new Uint8Array(value));
  if (Array.isArray(value)) return value.map(encoded);
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return Object.fromEntries(entries.map(([key, item]) => [key, encoded(item)]));
}

async function answer({ on, name, args, keep }) {
  const owner = typeof on === "string" ? await import(new URL(on, LIVE)) : held[on.held];
  const found = owner[name];
  const given = args?.map(decoded);
  let value = found;
  if (given) value = /^class\b/.test(found) ? new found(...given) : found.apply(owner, given);
  value = await value;
  return keep ? hold(value) : encoded(value);
}

for await (const line of createInterface({ input: process.stdin })) {
  let reply;
  try {
    reply = { value: await answer(JSON.parse(line)) };
  } catch (error) {
    reply = { error: error.message, stack: error.stack };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
