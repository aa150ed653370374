// From a picture to what the model sees of it: the short side resized, the middle square cut out. The same
// filter, and the same rounding, as torch's antialiased bilinear resize of uint8 (clips/picture.py).

const HALF = 1e-9; // how near to a half a side must be to count as one

// Rounds as Python does: a half to the even number.
function evenly(value) {
  const floor = Math.floor(value);
  if (Math.abs(value - floor - 0.5) > HALF) return Math.round(value);
  return floor + (floor % 2);
}

// Height and width when the short side has `size` pixels.
export function resizedSides(height, width, size) {
  const short = Math.min(height, width);
  return [height, width].map((side) => Math.max(size, evenly((side * size) / short)));
}

// What is kept of a picture, in its own pixels: left, top, width, height.
export function squareBox(height, width, size) {
  const [tall, wide] = resizedSides(height, width, size);
  const [top, left] = [Math.floor((tall - size) / 2), Math.floor((wide - size) / 2)];
  const [across, down] = [width / wide, height / tall];
  return [left * across, top * down, size * across, size * down];
}

// For `count` places from `first` on: where each begins to read, how much, and with which whole-number weights.
function taps(from, to, first, count) {
  const scale = from / to;
  const support = Math.max(1, scale);
  const all = [];
  let largest = 0;
  for (let place = 0; place < to; place++) { // all of them: the largest weight gives the precision
    const center = scale * (place + 0.5);
    const begin = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(from, Math.trunc(center + support + 0.5));
    const weights = new Float64Array(end - begin);
    let sum = 0;
    for (let i = begin; i < end; i++) {
      const distance = Math.abs((i - center + 0.5) / support);
      sum += weights[i - begin] = distance < 1 ? 1 - distance : 0;
    }
    for (let i = 0; i < weights.length; i++) largest = Math.max(largest, weights[i] /= sum);
    if (place >= first && place < first + count) all.push({ begin, weights });
  }
  let bits = 0;
  while (bits < 22 && Math.trunc(0.5 + largest * 2 ** (bits + 1)) < 2 ** 15) bits += 1;
  for (const tap of all) tap.weights = Int32Array.from(tap.weights, (weight) => Math.trunc(weight * 2 ** bits + 0.5));
  return { all, bits };
}

const byte = (value) => Math.max(0, Math.min(value, 255));

// Resizes along rows: pixels (height, width, `step` bytes each) become (height, count, 3).
function across(pixels, height, width, step, to, first, count) {
  const out = new Uint8Array(height * count * 3);
  if (to === width) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < count; x++) {
        for (let c = 0; c < 3; c++) out[(y * count + x) * 3 + c] = pixels[(y * width + first + x) * step + c];
      }
    }
    return out;
  }
  const { all, bits } = taps(width, to, first, count);
  const half = 2 ** (bits - 1);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < count; x++) {
      const { begin, weights } = all[x];
      let [red, green, blue] = [half, half, half];
      for (let i = 0, at = (y * width + begin) * step; i < weights.length; i++, at += step) {
        red += weights[i] * pixels[at];
        green += weights[i] * pixels[at + 1];
        blue += weights[i] * pixels[at + 2];
      }
      const at = (y * count + x) * 3;
      out[at] = byte(red >> bits);
      out[at + 1] = byte(green >> bits);
      out[at + 2] = byte(blue >> bits);
    }
  }
  return out;
}

// Resizes along columns: pixels (height, width, 3) become (count, width, 3).
function down(pixels, height, width, to, first, count) {
  const row = width * 3;
  if (to === height) return pixels.slice(first * row, (first + count) * row);
  const { all, bits } = taps(height, to, first, count);
  const out = new Uint8Array(count * row);
  const sums = new Int32Array(row);
  for (let y = 0; y < count; y++) {
    const { begin, weights } = all[y];
    sums.fill(2 ** (bits - 1));
    for (let i = 0, at = begin * row; i < weights.length; i++, at += row) {
      for (let x = 0; x < row; x++) sums[x] += weights[i] * pixels[at + x];
    }
    for (let x = 0; x < row; x++) out[y * row + x] = byte(sums[x] >> bits);
  }
  return out;
}

// The model's pixels of a picture, Uint8Array (size, size, 3); `pixels` are red, green, blue, alpha.
export function middleSquare(pixels, height, width, size) {
  const [tall, wide] = resizedSides(height, width, size);
  const [top, left] = [Math.floor((tall - size) / 2), Math.floor((wide - size) / 2)];
  const narrow = across(pixels, height, width, 4, wide, left, size);
  return down(narrow, height, size, tall, top, size);
}
