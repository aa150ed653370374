// The strip: a map's frame means, layer by direction by token frame, to click in.

import { Board, element, FONT, outline } from "../widgets/drawing.js";
import { rangeInWords } from "./data.js";
import { joined, sideName } from "./terms.js";

const CELL = { left: 22, top: 16, bottom: 16, gap: 8, low: 7, high: 16, all: 150 }; // CSS pixels

export function createStrip(view) {
  const { data } = view;
  const node = element("div", { class: "vmx-strip" });
  let strips = [];
  let shown = "";

  function rebuild() {
    const sides = view.sides(true);
    const key = sides.join();
    if (key === shown) return;
    shown = key;
    strips = sides.map((side) => {
      const board = new Board({ role: "img", "data-side": side });
      const caption = element("figcaption");
      return { side, board, caption, figure: element("figure", {}, caption, board.canvas) };
    });
    node.replaceChildren(...strips.map((strip) => strip.figure));
  }

  // Sizes of one strip: rows are layers, each direction has a block of token frames.
  function layout() {
    const { quantity } = view;
    const [layers, blocks, frames] = quantity.shape;
    const width = view.areas.rail;
    const height = Math.min(CELL.high, Math.max(CELL.low, Math.floor(CELL.all / strips.length / layers)));
    const block = (width - CELL.left - CELL.gap * (blocks - 1)) / blocks;
    return { layers, blocks, frames, width, height, block, cell: block / frames };
  }

  function draw({ side, board, caption, figure }) {
    const { quantity } = view;
    const { layers, blocks, frames, width, height, block, cell } = layout();
    const scale = quantity.meanScale(side);
    const words = joined("means", quantity.pending ? "" : rangeInWords(scale));
    const heading = joined(sideName(data, side), words);
    figure.style.width = `${width}px`;
    caption.textContent = heading;
    const label = `${joined(quantity.name, heading)}, layers by token frames; click one to go there`;
    board.canvas.setAttribute("aria-label", label);
    const means = quantity.means(side);
    board.draw(width, CELL.top + layers * height + CELL.bottom, (context) => {
      context.font = FONT;
      context.imageSmoothingEnabled = false;
      for (let i = 0; i < blocks; i++) {
        const values = Float32Array.from({ length: layers * frames }, (_, at) => {
          return means[(Math.floor(at / frames) * blocks + i) * frames + (at % frames)];
        });
        const x = CELL.left + i * (block + CELL.gap);
        context.drawImage(data.picture(values, scale, layers, frames), x, CELL.top, block, layers * height);
        const direction = quantity.directions[i];
        context.fillStyle = data.colors[direction] ?? view.ink();
        if (direction) context.fillRect(x, 3, 9, 9);
        context.fillStyle = view.ink();
        context.textAlign = "left";
        context.fillText(direction ?? "all directions", x + (direction ? 14 : 0), 11);
        const every = Math.max(1, Math.ceil(20 / cell));
        context.textAlign = "center";
        for (let frame = 0; frame < frames; frame += every) {
          context.fillText(frame, x + (frame + 0.5) * cell, CELL.top + layers * height + 12);
        }
      }
      context.textAlign = "right";
      const every = Math.ceil(11 / height);
      for (let layer = 0; layer < layers; layer += every) {
        const words = quantity.ofAll ? "all" : quantity.layers[layer] ?? "";
        context.fillText(words, CELL.left - 5, CELL.top + (layer + 0.5) * height + 4);
      }
    });
  }

  function mark({ board }) {
    const { quantity } = view;
    const { blocks, height, block, cell } = layout();
    const directions = view.shownDirections(true);
    board.mark((context) => {
      for (let i = 0; i < blocks; i++) {
        if (quantity.directions.length > 1 && !directions.includes(quantity.directions[i])) continue;
        const x = CELL.left + i * (block + CELL.gap) + view.tokenFrame * cell;
        outline(context, x, CELL.top + quantity.layerIndex(view.get("layer")) * height, cell, height);
      }
    });
  }

  function go(event) {
    const strip = strips.find(({ board }) => board.canvas === event.target);
    if (!strip || !view.quantity) return;
    const { layers, blocks, frames, height, block, cell } = layout();
    const { x, y } = strip.board.place(event);
    const row = Math.floor((y - CELL.top) / height);
    const i = Math.floor((x - CELL.left) / (block + CELL.gap));
    const frame = Math.floor((x - CELL.left - i * (block + CELL.gap)) / cell);
    if (row < 0 || row >= layers || i < 0 || i >= blocks || frame < 0 || frame >= frames) return;
    if (view.quantity.shape[0] > 1) view.set("layer", data.layers[row]);
    const one = data.directions.includes(view.get("direction")); // a single one is shown
    if (one && view.quantity.directions.length) view.set("direction", view.quantity.directions[i]);
    view.set("frame", data.firstClipFrame(frame));
  }

  view.listen(node, "click", go);

  return {
    nodes: [node],
    update(changed) {
      node.hidden = view.quantity === null;
      if (node.hidden) return;
      rebuild();
      const drawn = view.touched(changed, "quantity", "state map", "size", "theme");
      if (drawn) strips.forEach(draw);
      if (drawn || view.touched(changed, "layer", "direction", "frame")) strips.forEach(mark);
    },
  };
}
