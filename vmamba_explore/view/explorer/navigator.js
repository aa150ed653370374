// The navigator: a small map of every layer, direction and side at the token frame shown, to click in.

import { colored, element, FONT, outline } from "../widgets/drawing.js";
import { rangeInWords, toLevels } from "./data.js";
import { joined, sideName } from "./terms.js";

const SMALL = { most: 48, least: 9, gap: 2, left: 18, top: 16, between: 8, tall: 184 }; // CSS pixels

// How big square tiles may be, and in how many blocks of lines they stand side by side: rows lines
// of `columns` tiles each, in a width and a height.
export function tiling(rows, columns, width, height) {
  for (let size = SMALL.most; size > SMALL.least; size--) {
    const step = size + SMALL.gap;
    const lines = Math.max(1, Math.floor((height + SMALL.gap) / step));
    const blocks = Math.ceil(rows / lines);
    const wide = blocks * (SMALL.left + columns * step - SMALL.gap) + (blocks - 1) * SMALL.between;
    if (wide <= width) return { size, blocks, lines: Math.ceil(rows / blocks) };
  }
  return { size: SMALL.least, blocks: 1, lines: rows }; // taller than asked for, and all of it
}

export function createNavigator(view) {
  const canvas = element("canvas", { role: "img" });
  const caption = element("div", { class: "vmx-soft", "aria-hidden": "true" }); // the canvas has that name
  const node = element("div", { class: "vmx-navigator" }, caption, canvas);
  let hover = null;
  let pictures = []; // by column: all its layers at this token frame, below each other

  // Columns of tiles: each direction of each side.
  function columns() {
    const { quantity } = view;
    const directions = quantity.directions.length ? quantity.directions : [""];
    return view.sides(true).flatMap((side) => directions.map((direction) => ({ side, direction })));
  }

  function plan() {
    const { quantity, data } = view;
    const list = columns();
    const rows = quantity.shape[0];
    const tiles = tiling(rows, list.length, view.areas.rail, SMALL.tall);
    const [high, wide] = data.sides[0].size;
    const height = high < wide ? Math.max(SMALL.least, Math.round((tiles.size * high) / wide)) : tiles.size;
    const block = SMALL.left + list.length * (tiles.size + SMALL.gap) - SMALL.gap + SMALL.between;
    return { ...tiles, list, rows, height, block };
  }

  const place = ({ size, height, block, lines }, row, column) => ({
    x: Math.floor(row / lines) * block + SMALL.left + column * (size + SMALL.gap),
    y: SMALL.top + (row % lines) * (height + SMALL.gap),
  });

  const layerOf = (row) => (view.quantity.shape[0] === 1 ? view.get("layer") : view.data.layers[row]);
  const scaleOf = ({ side, direction }, row) =>
    view.quantity.scale(side, direction, view.get("scale") === "all" ? null : layerOf(row));

  // One picture for each column, so that a step of the frame makes few.
  function paint({ list, rows }) {
    const { quantity, data } = view;
    pictures = list.map((column) => {
      const tokens = data.rows * data.cols;
      const levels = new Uint8Array(rows * tokens);
      for (let row = 0; row < rows; row++) {
        const plane = quantity.plane(column.side, column.direction, layerOf(row), view.tokenFrame);
        levels.set(toLevels(plane, scaleOf(column, row)), row * tokens);
      }
      return colored(levels, data.table(scaleOf(column, 0).signed), rows * data.rows, data.cols);
    });
  }

  function draw() {
    const { data, quantity } = view;
    const here = plan();
    const { list, rows, size, height, block, blocks, lines } = here;
    const ratio = window.devicePixelRatio || 1;
    const [wide, high] = [blocks * block - SMALL.between, SMALL.top + lines * (height + SMALL.gap)];
    const pixels = { width: Math.round(wide * ratio), height: Math.round(high * ratio) };
    if (canvas.width !== pixels.width || canvas.height !== pixels.height) Object.assign(canvas, pixels);
    canvas.style.width = `${wide}px`;
    canvas.style.height = `${high}px`;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, wide, high);
    context.imageSmoothingEnabled = false;
    context.font = FONT;
    const chosen = view.shownDirections(true);
    list.forEach((column, i) => {
      for (let row = 0; row < rows; row++) {
        const { x, y } = place(here, row, i);
        context.drawImage(pictures[i], 0, row * data.rows, data.cols, data.rows, x, y, size, height);
        if (row % lines === 0) head(context, column, x, size);
      }
    });
    context.fillStyle = view.ink();
    context.textAlign = "right";
    const every = Math.ceil(11 / (height + SMALL.gap));
    for (let row = 0; row < rows; row++) {
      const { x, y } = place(here, row, 0);
      const words = quantity.shape[0] > 1 || data.layers.length < 2 ? data.layers[row] ?? "" : "";
      if ((row % lines) % every === 0) context.fillText(words, x - 4, y + height / 2 + 4);
    }
    const now = quantity.shape[0] === 1 ? 0 : data.layers.indexOf(view.get("layer"));
    list.forEach(({ direction }, i) => {
      if (direction && quantity.directions.length > 1 && !chosen.includes(direction)) return;
      const { x, y } = place(here, now, i);
      outline(context, x, y, size, height);
    });
    if (hover) {
      const { x, y } = place(here, hover.row, hover.column);
      context.strokeStyle = view.ink();
      context.lineWidth = 1;
      context.strokeRect(x - 0.5, y - 0.5, size + 1, height + 1);
    }
  }

  // A side's letter and a direction's color above a column.
  function head(context, { side, direction }, x, size) {
    const letter = view.data.sides.length > 1 ? sideName(view.data, side) : "";
    const color = view.data.colors[direction];
    if (color) {
      context.fillStyle = color;
      context.fillRect(x, SMALL.top - 5, size, 3);
    }
    context.fillStyle = view.ink();
    context.textAlign = "left";
    const { directions } = view.quantity;
    const fit = directions.every((each) => context.measureText(each).width <= size);
    const words = letter ? (direction === (directions[0] ?? "") ? letter : "") : fit ? direction : "";
    const room = (directions.length || 1) * (size + SMALL.gap);
    if (context.measureText(words).width <= room) context.fillText(words, x, SMALL.top - 7); // else hovering names it
  }

  function name({ side, direction }, row) {
    const layer = view.quantity.shape[0] === 1 ? "" : `layer ${view.data.layers[row]}`;
    return joined(sideName(view.data, side), layer, direction);
  }

  function describe() {
    const { quantity } = view;
    const all = `${quantity.name} at token frame ${view.tokenFrame}`;
    let words = all;
    if (hover) {
      const column = columns()[hover.column];
      words = joined(name(column, hover.row), rangeInWords(scaleOf(column, hover.row)));
    }
    caption.textContent = words;
    canvas.setAttribute("aria-label", `${all}, a small map for each layer and scan; click one to go there, or use the arrow keys and d`);
  }

  function tileAt(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const { list, rows, size, height, block, lines } = plan();
    const column = Math.floor(((x % block) - SMALL.left) / (size + SMALL.gap));
    const line = Math.floor((y - SMALL.top) / (height + SMALL.gap));
    const row = Math.floor(x / block) * lines + line;
    const inside = line >= 0 && line < lines && row < rows && column >= 0 && column < list.length;
    return inside ? { row, column, ...list[column] } : null;
  }

  function point(event) {
    const found = event ? tileAt(event) : null;
    if (found?.row === hover?.row && found?.column === hover?.column) return;
    hover = found;
    view.touch("tile");
  }

  function go(event) {
    const tile = tileAt(event);
    if (!tile) return;
    const { quantity, data } = view;
    if (quantity.shape[0] > 1) view.set("layer", data.layers[tile.row]);
    const one = data.directions.includes(view.get("direction")); // a single one is shown
    if (one && tile.direction) view.set("direction", tile.direction);
  }

  view.listen(canvas, "pointermove", point);
  view.listen(canvas, "pointerleave", () => point(null));
  view.listen(canvas, "click", go);

  let painted = "";
  return {
    nodes: [node],
    update(changed) {
      node.hidden = view.quantity === null;
      if (node.hidden) return;
      if (changed.has("quantity") || changed.has("data")) hover = null;
      const wanted = [view.get("quantity"), view.get("scale"), view.tokenFrame].join();
      const anew = wanted !== painted || view.touched(changed, "data");
      const drawn = anew || view.touched(changed, "layer", "direction", "tile", "size", "theme");
      if (!drawn) return;
      if (anew) paint(plan());
      painted = wanted;
      draw();
      describe();
    },
  };
}
