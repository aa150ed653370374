// The state lens: what probes read from the state after each token frame, a row for each direction.

import { asBytes, Board, element, FONT } from "../widgets/drawing.js";
import { joined, sideName, terms } from "./terms.js";

const LENS = { left: 74, right: 8, title: 16, row: 18, between: 8, axis: 16, pad: 3 }; // CSS pixels
const STRONGEST = 0.6; // of a cell's color, so that words stay readable on it

// The numbers of one target, from bytes: percent, null where there is none.
class Decoded {
  constructor(target, layers, directions) {
    Object.assign(this, target, { layers, directions });
    for (const part of ["probabilities", "scores", "after"]) this[part] = asBytes(target[part]);
    this.frames = this.probabilities.length / (layers.length * directions.length * this.answers.length);
  }

  place(layer, direction) {
    return this.layers.indexOf(layer) * this.directions.length + this.directions.indexOf(direction);
  }

  // The most probable answer, and its probability in percent.
  best(layer, direction, frame) {
    const count = this.answers.length;
    const start = (this.place(layer, direction) * this.frames + frame) * count;
    const shares = [...this.probabilities.subarray(start, start + count)];
    const percent = Math.max(...shares);
    return { name: this.answers[shares.indexOf(percent)], percent };
  }

  // Right answers of held-out clips in percent: at a token frame, or where what decides was read.
  score(layer, direction, frame = null) {
    const values = frame === null ? this.after : this.scores;
    const at = frame === null ? this.place(layer, direction) : this.place(layer, direction) * this.frames + frame;
    const step = values.length / 4;
    const four = [0, 1, 2, 3].map((i) => values[i * step + at]);
    const [accuracy, low, high, shuffled] = four.map((value) => (value === terms.missing ? null : value));
    return { accuracy, low, high, shuffled };
  }
}

export function decodedLens(lens) {
  return lens.targets.map((target) => new Decoded(target, lens.layers, lens.directions));
}

export function createLens(view) {
  const { data } = view;
  const blocks = data.sides.flatMap(({ lens }, side) => {
    if (!lens) return [];
    const board = new Board({ role: "img" });
    const chances = [...new Set(lens.targets.map(({ chance }) => `${chance} %`))].join(", ");
    const heading = joined(sideName(data, side), "What the state holds after each token frame, read by linear probes");
    const about = `Color: how probable the answer is; chance is ${chances}. "Right here": at the outlined ` +
      `token frame, in ${lens.clips} clips over photographs that neither ${lens.model} nor a probe has ` +
      `seen, with its 95 % interval; shuffled: of probes fitted to the answers of other clips. ${lens.note}`;
    const last = side === data.sides.length - 1; // both sides have one model, and one note
    const node = element("div", { class: "vmx-lens" },
      element("div", { class: "vmx-heading" }, heading), board.canvas,
      ...(last ? [element("div", { class: "vmx-soft" }, about)] : []));
    return [{ board, node, lens, targets: decodedLens(lens) }];
  });

  const layer = () => view.get("layer");
  const tall = ({ lens }) => LENS.title + LENS.row * lens.directions.length + LENS.between;
  const cellWidth = () => (view.areas.time - LENS.left - LENS.right) / data.tokenFrames.length;
  // Left end and width of a token frame's clip frames, as in the timeline.
  function span(frame) {
    const [first, last] = [data.firstClipFrame(frame), data.tokenFrames.lastIndexOf(frame)];
    return [LENS.left + first * cellWidth(), (last + 1 - first) * cellWidth()];
  }

  function fitted(context, words, width, end = "") {
    if (context.measureText(words).width <= width) return words;
    let cut = words;
    while (cut && context.measureText(cut + end).width > width) cut = cut.slice(0, -1);
    return cut + end;
  }

  function drawBlock(block) {
    const { board, lens, targets } = block;
    const height = tall(block) * targets.length + LENS.axis;
    board.draw(view.areas.time, height, (context) => {
      context.font = FONT;
      targets.forEach((target, i) => {
        const room = span(0)[1] - 2 * LENS.pad;
        const roomy = target.answers.every((name) => context.measureText(`${name} 100 %`).width <= room);
        lens.directions.forEach((direction, j) => {
          const top = i * tall(block) + LENS.title + j * LENS.row;
          context.fillStyle = view.ink();
          context.textAlign = "right";
          context.fillText(direction, LENS.left - 6, top + 12);
          context.textAlign = "left";
          for (let frame = 0; frame < target.frames; frame++) {
            const [x, width] = span(frame);
            const { name, percent } = target.best(layer(), direction, frame);
            context.fillStyle = data.colors[direction] ?? view.ink();
            const certain = Math.max(0, (percent - target.chance) / (100 - target.chance));
            context.globalAlpha = 0.04 + (STRONGEST - 0.04) * certain;
            context.fillRect(x + 0.5, top, width - 1, LENS.row - 2);
            context.globalAlpha = 1;
            context.fillStyle = view.ink();
            const words = roomy ? `${name} ${percent} %` : fitted(context, name, room);
            context.fillText(words, x + LENS.pad, top + 12);
          }
        });
      });
      context.fillStyle = view.ink();
      context.textAlign = "center";
      const every = Math.ceil(24 / (cellWidth() * (data.tokenFrames.length / data.frames)));
      for (let frame = 0; frame < data.frames; frame += every) {
        const [x, width] = span(frame);
        context.fillText(frame, x + width / 2, height - 4);
      }
      context.textAlign = "right";
      context.fillText("token", LENS.left - 6, height - 4);
    });
  }

  const inPercent = ({ accuracy, low, high, shuffled }) =>
    accuracy === null ? "–" : `${accuracy} % [${low}–${high}], shuffled ${shuffled} %`;

  // The measured scores over each target, and where the view is in time.
  function mark(block) {
    const { board, lens, targets } = block;
    const frame = view.tokenFrame;
    board.mark((context) => {
      context.font = FONT;
      context.fillStyle = view.ink();
      context.textAlign = "left";
      targets.forEach((target, i) => {
        const words = lens.directions.map((direction) =>
          `${direction} ${inPercent(target.score(layer(), direction, frame))}`).join("; ");
        const line = `${target.name} · right here: ${words}`;
        context.fillText(fitted(context, line, view.areas.time - LENS.right, "…"), 0, i * tall(block) + 11);
      });
      const [x, width] = span(frame);
      context.strokeStyle = view.ink();
      context.lineWidth = 1.5;
      for (let i = 0; i < targets.length; i++) {
        const top = i * tall(block) + LENS.title - 1;
        context.strokeRect(x, top, width, LENS.row * lens.directions.length);
      }
    });
    const words = targets.flatMap((target) =>
      lens.directions.map((direction) => sentence(block, target, direction, frame)));
    board.canvas.setAttribute("aria-label", `state lens, layer ${layer()}. ${words.join(" ")}`);
  }

  function sentence({ lens }, target, direction, frame) {
    const { name, percent } = target.best(layer(), direction, frame);
    const here = target.score(layer(), direction, frame);
    const after = target.score(layer(), direction);
    return `${target.name}, ${direction}, token frame ${frame}: ${name}, ${percent} %. ` +
      `Right in ${inPercent(here)} of ${lens.clips} unseen clips at this token frame; once the ` +
      `scan has read what decides, in ${inPercent(after)}.`;
  }

  // The cell of a block where the pointer is; null outside.
  function cellAt(event) {
    const block = blocks.find(({ board }) => board.canvas === event.target);
    if (!block) return null;
    const { x, y } = block.board.place(event);
    const target = Math.floor(y / tall(block));
    const direction = Math.floor((y - target * tall(block) - LENS.title) / LENS.row);
    const clipFrame = Math.floor((x - LENS.left) / cellWidth());
    const frame = data.tokenFrames[clipFrame];
    if (frame === undefined || !block.targets[target] || !block.lens.directions[direction]) return null;
    return { block, frame, target: block.targets[target], direction: block.lens.directions[direction] };
  }

  for (const { board } of blocks) {
    view.listen(board.canvas, "pointermove", (event) => {
      const cell = cellAt(event);
      board.canvas.title = cell ? sentence(cell.block, cell.target, cell.direction, cell.frame) : "";
    });
    view.listen(board.canvas, "click", (event) => {
      const cell = cellAt(event);
      if (cell) view.set("frame", data.firstClipFrame(cell.frame));
    });
  }

  return {
    nodes: blocks.map(({ node }) => node),
    update(changed) {
      const drawn = view.touched(changed, "layer", "size", "theme");
      if (drawn) blocks.forEach(drawBlock);
      if (drawn || changed.has("frame")) blocks.forEach(mark);
    },
  };
}
