// What the steps of "How it works" are drawn with: formulas, numbers, rows of numbers as colors, pixels.

import { terms } from "../explorer/terms.js";
import { toLevels } from "../explorer/data.js";
import { asBytes, colored, element, short } from "../widgets/drawing.js";

// A number with three digits and a true minus sign.
export const walkNumber = (value) => short(value).replace("-", "−");

// A share that is kept: three digits would make 1 of one that is nearly all.
export const walkShare = (value) => (value > 0.995 && value < 1 ? String(Number(value.toFixed(6))) : walkNumber(value));

// A number as a factor: a negative number is bracketed; and as a further term of a sum.
export const walkFactor = (value) => (value < 0 ? `(${walkNumber(value)})` : walkNumber(value));
export const walkTerm = (value) => `${value < 0 ? "−" : "+"} ${walkNumber(Math.abs(value))}`;

// Text as a formula: _x, _{xy}, ^x and ^{xy} go below or above the line, single letters are set as variables.
export function walkFormula(text) {
  const parts = text.match(/[_^](?:\{[^}]*\}|\S)|\p{L}+|[^_^\p{L}]+/gu) ?? [];
  const said = text.replace(/[{}]/g, "").replaceAll("_", " ");
  return element("div", { class: "vmx-walk-formula", role: "math", "aria-label": said }, ...parts.map((part) => {
    if ("_^".includes(part[0])) {
      return element(part[0] === "_" ? "sub" : "sup", {}, part.slice(1).replace(/[{}]/g, ""));
    }
    return [...part].length === 1 && /\p{L}/u.test(part) ? element("var", {}, part) : part;
  }));
}

// The scale that some numbers span; a signed one is centered on zero.
export function walkScale(values, signed = values.some((value) => value < 0)) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const reach = Math.max(-low, high) || 1;
  if (signed) return { low: -reach, high: reach, signed };
  return { low, high: high > low ? high : low + 1, signed };
}

export const walkTable = (model, signed) => {
  const tables = asBytes(model.get("tables"));
  return tables.subarray(signed ? 3 * terms.levels : 0).subarray(0, 3 * terms.levels);
};

// Draws (height, width) numbers into a canvas, one pixel each; the style sheet makes them large.
export function walkPaint(canvas, model, values, scale, height, width) {
  const picture = colored(toLevels(values, scale), walkTable(model, scale.signed), height, width);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  context.drawImage(picture, 0, 0);
}

// Numbers as a row of colors under their name and range. marked: the number that is spelled out.
export function walkStrip(model, name, values, { marked = null, scale = walkScale(values) } = {}) {
  const range = `${walkNumber(Math.min(...values))} to ${walkNumber(Math.max(...values))}`;
  const what = `${name}: ${values.length} numbers, ${range}`;
  const canvas = element("canvas", { role: "img", "aria-label": what, title: what });
  walkPaint(canvas, model, values, scale, 1, values.length);
  const row = element("div", { class: "vmx-walk-row" }, canvas);
  if (marked !== null) {
    const mark = element("span", { class: "vmx-walk-mark", "aria-hidden": "true" });
    mark.style.left = `${(100 * marked) / values.length}%`;
    mark.style.width = `${100 / values.length}%`;
    row.append(mark);
  }
  return element("figure", { class: "vmx-walk-strip" },
    element("figcaption", {}, element("span", {}, name), element("span", {}, `${values.length} numbers, ${range}`)), row);
}

// Pixels, (height, width, 3), as a canvas.
export function walkPixels(values, height, width, label) {
  const canvas = element("canvas", { width, height, class: "vmx-walk-pixels", role: "img", "aria-label": label });
  const image = new ImageData(width, height);
  for (let i = 0; i < height * width; i += 1) {
    image.data.set([values[3 * i], values[3 * i + 1], values[3 * i + 2], 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Where a token is, in words; place: [frame, row, col], null for the class token.
export const walkPlace = (place) => (
  place === null ? "the class token" : `token frame ${place[0]}, row ${place[1]}, col ${place[2]}`
);
