// What the widgets share: bytes of a trait, elements, frames, and maps as colors.

export const FONT = "11px system-ui, sans-serif";

export function asBytes(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children); // strings become text, never HTML
  return node;
}

// A control under its name, which stands beside it where it may be short.
export function labeled(name, control, words = name) {
  control.setAttribute("aria-label", name);
  return element("label", {}, element("span", {}, words), control);
}

// pairs: value and words of each option.
export const menu = (pairs, attributes) =>
  element("select", attributes, ...pairs.map(([value, words]) => element("option", { value }, words)));

export async function inflate(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Encoded pictures, one after the other, each from its offset to the next.
export async function decodePictures(bytes, offsets) {
  const blobs = offsets.slice(1).map((end, i) => new Blob([bytes.slice(offsets[i], end)]));
  return Promise.all(blobs.map((blob) => createImageBitmap(blob)));
}

// The picture in gray, so that all hue is the map's.
export function grayed(picture) {
  const { width, height } = picture;
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  context.globalCompositeOperation = "saturation";
  context.fillStyle = "gray";
  context.fillRect(0, 0, width, height);
  return canvas;
}

// Levels as a picture, one pixel each; a level past the table (red, green, blue) stays transparent.
export function colored(levels, table, height, width) {
  const image = new ImageData(width, height);
  for (let i = 0; i < levels.length; i++) {
    if (3 * levels[i] >= table.length) continue;
    for (let color = 0; color < 3; color++) {
      image.data[4 * i + color] = table[3 * levels[i] + color];
    }
    image.data[4 * i + 3] = 255;
  }
  const canvas = element("canvas", { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// A canvas drawn in two steps: what rarely changes is kept, marks are drawn over it again and again.
export class Board {
  constructor(attributes) {
    this.canvas = element("canvas", attributes);
    this.kept = element("canvas");
  }

  // Sizes are CSS pixels here and in what `paint` draws.
  draw(width, height, paint) {
    this.ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.kept]) {
      canvas.width = Math.max(1, Math.round(width * this.ratio));
      canvas.height = Math.max(1, Math.round(height * this.ratio));
    }
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.kept.getContext("2d");
    context.scale(this.ratio, this.ratio);
    paint(context);
  }

  mark(paint) {
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.kept, 0, 0);
    context.scale(this.ratio, this.ratio);
    paint(context);
  }

  // Where on the canvas the pointer is, CSS pixels.
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }
}

// A frame around a cell that is seen on every color.
export function outline(context, x, y, width, height) {
  for (const [color, line] of [["#000", 3], ["#fff", 1.5]]) {
    context.strokeStyle = color;
    context.lineWidth = line;
    context.strokeRect(x, y, width, height);
  }
}

export const short = (value) => String(Number(value.toPrecision(3)));
