// The frames of a bundled clip, bit for bit: written by clip_pixels.py, read without a canvas.

import { inflate } from "../widgets/drawing.js";

// Adds to what predictions left of a plane, row by row, the predictions.
function predicted(rest, width) {
  const plane = new Uint8Array(rest.length); // modulo 256, as all sums here
  for (let i = 0; i < rest.length; i++) {
    const left = i % width ? plane[i - 1] : 0;
    const above = i < width ? 0 : plane[i - width];
    const corner = i % width && i >= width ? plane[i - width - 1] : 0;
    const [low, high] = left < above ? [left, above] : [above, left];
    plane[i] = rest[i] + Math.min(high, Math.max(low, left + above - corner));
  }
  return plane;
}

// bytes: what clip_pixels.py wrote of a clip of this shape; gives RGB pixels (frames, height, width, 3)
export async function clipPixels(bytes, [frames, height, width]) {
  const packed = await inflate(bytes);
  const size = height * width;
  const planes = []; // all frames of green, of red - green, and of blue - green
  for (let number = 0; number < 3 * frames; number++) {
    const from = 3 * frames + number * size;
    const plane = predicted(packed.subarray(from, from + size), width);
    if (packed[number]) for (let i = 0; i < size; i++) plane[i] += planes[number - 1][i] - 128;
    planes.push(plane);
  }
  const pixels = new Uint8Array(3 * frames * size);
  for (let frame = 0; frame < frames; frame++) {
    const [green, red, blue] = [0, 1, 2].map((color) => planes[color * frames + frame]);
    for (let i = 0, at = 3 * frame * size; i < size; i++, at += 3) {
      pixels[at] = red[i] + green[i] - 128;
      pixels[at + 1] = green[i];
      pixels[at + 2] = blue[i] + green[i] - 128;
    }
  }
  return pixels;
}
