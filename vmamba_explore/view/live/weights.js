// The weights of a model from the text in a page; portable.py writes it.

import { base128Bytes } from "./base128.js";

// header: { tensors: [[name, shape], …], bytes: of the deflated stream }; text: in base 128
export async function unpackWeights(header, text) {
  const stream = new Blob([base128Bytes(text, header.bytes)]).stream();
  const inflated = stream.pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(inflated).arrayBuffer());
  const count = planes.length / 4; // the first bytes of all numbers, then all second ones, …
  const bytes = new Uint8Array(planes.length);
  for (let plane = 0; plane < 4; plane += 1) {
    for (let i = 0; i < count; i += 1) bytes[4 * i + plane] = planes[plane * count + i];
  }
  const numbers = new Float32Array(bytes.buffer);
  let start = 0;
  const weights = new Map();
  for (const [name, shape] of header.tensors) {
    const end = start + shape.reduce((a, b) => a * b, 1);
    weights.set(name, numbers.slice(start, end));
    start = end;
  }
  return weights;
}
