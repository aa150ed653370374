// Runs in a worker of its own: pictures of a film become what the model sees of them, and larger ones for
// the reader. What a 4K picture takes here would stop the page.

import { middleSquare, squareBox } from "./resize.js";

const QUALITY = 0.85; // of the larger pictures, JPEG
const PROBE = 16; // pixels a side of what is drawn to see whether a canvas gives back what it got

function drawn(picture, width, height, box) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, ...box, 0, 0, width, height);
  return context;
}

// Whether this browser changes pixels that a page reads, as some do against being tracked.
function noisy() {
  const context = new OffscreenCanvas(PROBE, PROBE).getContext("2d", { willReadFrequently: true });
  const image = context.createImageData(PROBE, PROBE);
  for (let i = 0; i < image.data.length; i++) image.data[i] = i % 4 === 3 ? 255 : (i * 37) % 256;
  context.putImageData(image, 0, 0);
  const { data } = context.getImageData(0, 0, PROBE, PROBE);
  return data.some((value, i) => value !== image.data[i]);
}

// Of one picture: the model's pixels, (size, size, 3), and, where it has more, a JPEG of the same square.
async function seen({ picture, size, most }) {
  const [width, height] = [picture.displayWidth ?? picture.width, picture.displayHeight ?? picture.height];
  const { data } = drawn(picture, width, height, [0, 0, width, height]).getImageData(0, 0, width, height);
  const pixels = middleSquare(data, height, width, size);
  const side = Math.max(size, Math.min(most, width, height));
  let large = null;
  if (side > size) {
    const { canvas } = drawn(picture, side, side, squareBox(height, width, size));
    large = new Uint8Array(await (await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY })).arrayBuffer());
  }
  picture.close();
  return { pixels, large, noisy: noisy() };
}

self.onmessage = async ({ data }) => {
  try {
    const answer = await seen(data);
    self.postMessage({ id: data.id, ...answer });
  } catch (error) {
    self.postMessage({ id: data.id, error: error.message });
  }
};
