// PNG pictures as pixels, decoded here: no browser changes a color, and none hides what a canvas holds.

import { inflate } from "../widgets/drawing.js";

const SIGNATURE_LENGTH = 8;

// What a row's filter adds to a byte: from its left, above, and above left.
const PREDICTED = [
  () => 0,
  (left) => left,
  (_, above) => above,
  (left, above) => (left + above) >> 1,
  (left, above, corner) => {
    const [a, b, c] = [left, above, corner].map((each) => Math.abs(left + above - corner - each));
    return a <= b && a <= c ? left : b <= c ? above : corner;
  },
];

// RGB pixels (height, width, 3) of a PNG picture of 8 bits a color that is not interlaced, as
// pictures.py writes them.
export async function pngPixels(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const packed = [];
  let [at, width, height, fits] = [SIGNATURE_LENGTH, 0, 0, false];
  while (at + 12 <= file.length) {
    const [length, start] = [view.getUint32(at), at + 8];
    const kind = String.fromCharCode(...file.subarray(at + 4, start));
    if (kind === "IHDR") {
      [width, height] = [view.getUint32(start), view.getUint32(start + 4)];
      fits = [8, 2, 0, 0, 0].every((value, i) => file[start + 8 + i] === value);
    } else if (kind === "IDAT") packed.push(file.subarray(start, start + length));
    at = start + length + 4;
  }
  if (!fits) throw new Error("A frame in this page is not the PNG picture that it was written as.");
  const rows = await inflate(new Blob(packed));
  const [size, pixels] = [3 * width, new Uint8Array(3 * width * height)];
  for (let y = 0; y < height; y++) {
    const predicted = PREDICTED[rows[y * (size + 1)]];
    for (let x = 0; x < size; x++) {
      const to = y * size + x;
      const left = x >= 3 ? pixels[to - 3] : 0;
      const above = y > 0 ? pixels[to - size] : 0;
      const corner = x >= 3 && y > 0 ? pixels[to - size - 3] : 0;
      pixels[to] = rows[y * (size + 1) + 1 + x] + predicted(left, above, corner);
    }
  }
  return pixels;
}
