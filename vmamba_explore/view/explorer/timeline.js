// The timeline: curves over the clip's frames, with the one time cursor.

import { Board, element, FONT, short } from "../widgets/drawing.js";
import { ends } from "./data.js";
import { sideName, terms } from "./terms.js";

const ROW = { evidence: 58, camera: 58, norm: 40, line: 14, between: 10, axis: 30, left: 74, right: 8 }; // CSS pixels
const ROWS = 2; // more would push what is asked and its answer apart

// more: functions that give further rows, or null; told where the middle of a token frame is.
export function createTimeline(view, more = []) {
  const { data } = view;
  const board = new Board({ role: "img" });
  const node = element("div", { class: "vmx-timeline" }, board.canvas);
  const clipFrames = data.tokenFrames.length;

  const plotWidth = () => view.areas.time - ROW.left - ROW.right;
  const narrow = () => view.areas.time < 600; // the key then has a line of its own
  const headingHeight = () => (narrow() ? 2 : 1) * ROW.line + 4;
  const xOf = (clipFrame) => ROW.left + (clipFrame / clipFrames) * plotWidth();

  // The middle of a token frame's clip frames.
  function middle(frame) {
    const first = data.firstClipFrame(frame);
    return xOf((first + data.tokenFrames.lastIndexOf(frame) + 1) / 2);
  }

  const inFrame = (clipFrame) => xOf(clipFrame + 0.5);

  function evidence() {
    const first = data.sides.find((side) => side.curves.length);
    if (!first) return null;
    const lines = data.sides.flatMap((side, i) =>
      side.curves.map(({ name, values, direction }) => ({
        name: i ? "" : name, values, color: data.colors[direction], dashed: i > 0,
      })),
    );
    return { heading: first.evidence, lines, log: false, height: ROW.evidence, place: middle };
  }

  // What the camera does, measured without learning: a value for each clip frame.
  function camera() {
    const first = data.sides.find((side) => side.camera);
    if (!first) return null;
    const lines = data.sides.flatMap((side, i) =>
      (side.camera?.lines ?? []).map((line) => ({ ...line, name: i ? "" : line.name, dashed: i > 0 })));
    const { heading, reach } = first.camera;
    return { heading, lines, log: false, height: ROW.camera, place: inFrame, reach };
  }

  function norms() {
    const quantity = data.quantities.get(terms.norm) ?? view.quantity;
    if (!quantity) return null;
    const [, directions, frames] = quantity.shape;
    const lines = data.sides.flatMap((_, side) => {
      const means = quantity.means(side);
      return (quantity.directions.length ? quantity.directions : [""]).map((direction, i) => {
        const start = (quantity.layerIndex(view.get("layer")) * directions + i) * frames;
        const values = [...means.subarray(start, start + frames)];
        return { name: side ? "" : direction, values, color: data.colors[direction], dashed: side > 0 };
      });
    });
    const where = quantity.shape[0] === 1 ? "" : `, layer ${view.get("layer")}`;
    const heading = `mean ${quantity.label}${where}`;
    return { heading, lines, log: quantity.log, height: ROW.norm, place: middle };
  }

  function drawRow(context, { heading, lines, log, height, place, reach }, top) {
    const shown = lines.map((line) => line.values);
    const [low, high] = ends(reach ? [...shown, [-reach, reach]] : shown);
    const yOf = (value) => top + height - ((value - low) / (high - low)) * height;
    const ink = view.ink();
    context.fillStyle = context.strokeStyle = ink;
    context.textAlign = "left";
    context.fillText(heading, ROW.left, top - 6 - (narrow() ? ROW.line : 0));
    drawKey(context, lines, top - 6, ROW.left + (narrow() ? 0 : context.measureText(heading).width + 16));
    context.textAlign = "right";
    const marks = low < 0 && high > 0 ? [low, 0, high] : [low, high];
    context.fillStyle = context.strokeStyle = ink; // the key has changed them
    for (const value of marks) {
      const near = value === 0 && Math.min(yOf(0) - top, top + height - yOf(0)) < 12;
      if (!near) context.fillText(short(log ? 10 ** value : value), ROW.left - 6, yOf(value) + 4);
      context.globalAlpha = value === 0 ? 0.5 : 0.15;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(ROW.left, Math.round(yOf(value)) + 0.5);
      context.lineTo(ROW.left + plotWidth(), Math.round(yOf(value)) + 0.5);
      context.stroke();
      context.globalAlpha = 1;
    }
    for (const { values, color, dashed, dotted } of lines) {
      context.strokeStyle = context.fillStyle = color ?? ink;
      context.lineWidth = dotted ? 1.5 : 2;
      context.setLineDash(dotted ? [2, 3] : dashed ? [5, 4] : []);
      context.beginPath();
      let before = false; // whether there is a point to come from
      values.forEach((value, frame) => {
        const present = value !== null && Number.isFinite(value);
        if (present) context[before ? "lineTo" : "moveTo"](place(frame), yOf(value));
        if (present && values.length <= 32 && !dotted) context.fillRect(place(frame) - 2, yOf(value) - 2, 4, 4);
        before = present;
      });
      context.stroke();
    }
    context.setLineDash([]);
  }

  // Samples of the lines with their names, right of the heading.
  function drawKey(context, lines, y, left) {
    const named = lines.filter(({ name }) => name).map((line) => ({ ...line }));
    if (data.sides.length > 1) named.push({ name: "A" }, { name: "B", dashed: true });
    context.textAlign = "left";
    let x = left;
    for (const { name, color, dashed } of named) {
      const width = context.measureText(name).width;
      if (x + width + 20 > view.areas.time) return;
      context.strokeStyle = color ?? view.ink();
      context.lineWidth = 2;
      context.setLineDash(dashed ? [5, 4] : []);
      context.beginPath();
      context.moveTo(x, y - 4);
      context.lineTo(x + 16, y - 4);
      context.stroke();
      context.setLineDash([]);
      context.fillStyle = view.ink();
      context.fillText(name, x + 20, y);
      x += width + 34;
    }
  }

  function shadeDeciding(context, top, height) {
    data.sides.forEach(({ deciding }, i) => {
      if (!deciding.length) return;
      context.fillStyle = context.strokeStyle = view.ink();
      context.globalAlpha = i === 0 ? 0.12 : 0.6;
      context.setLineDash([4, 4]);
      for (const [first, last] of deciding) {
        const box = [xOf(first), top, xOf(last + 1) - xOf(first), height];
        if (i === 0) context.fillRect(...box);
        else context.strokeRect(...box);
      }
      context.setLineDash([]);
      context.globalAlpha = 1;
      context.textAlign = "left";
      const words = `${[sideName(data, i), "deciding frames"].filter(Boolean).join(": ")}`;
      const x = Math.min(xOf(deciding[0][0]) + 4, view.areas.time - ROW.right - context.measureText(words).width);
      context.fillText(words, x, top + 11 + 12 * i);
    });
  }

  // The first and last clip frame of each token frame.
  const spans = () => [...Array(data.frames).keys()].map((frame) =>
    [data.firstClipFrame(frame), data.tokenFrames.lastIndexOf(frame)]);

  // Token frames, and below them the clip frames in each and the time at which it starts.
  function drawAxis(context, y) {
    const room = plotWidth() / data.frames;
    const same = data.frames === clipFrames;
    const second = spans().map(([first, last]) => {
      const frames = first === last ? `${first}` : `${first}–${last}`;
      return [same ? "" : frames, view.seconds(first)].filter(Boolean).join(", ");
    });
    context.fillStyle = context.strokeStyle = view.ink();
    const fits = (words, between) => {
      const every = Math.ceil((Math.max(...words.map((each) => context.measureText(each).width)) + between) / room);
      return [1, 2, 4, 8, 16, 32, 64, 128, 256].find((n) => n >= every) ?? every;
    };
    const numbers = spans().map((_, frame) => `${frame}`);
    [numbers, second].forEach((words, line) => {
      const step = fits(words, 10);
      context.textAlign = "center";
      context.globalAlpha = line ? 0.8 : 1;
      for (let frame = 0; frame < data.frames; frame += step) context.fillText(words[frame], middle(frame), y + 12 + 13 * line);
      context.textAlign = "right";
      context.fillText(["token frame", same ? "time" : "clip frames"][line], ROW.left - 6, y + 12 + 13 * line);
    });
    context.globalAlpha = 0.5;
    for (const [first] of spans()) context.fillRect(Math.round(xOf(first)), y - 2, 1, 4);
    context.globalAlpha = 1;
  }

  function draw() {
    const rows = [...more.map((row) => row(middle)), camera(), evidence(), norms()].filter(Boolean).slice(0, ROWS);
    let height = ROW.axis - ROW.between + 6;
    const tops = rows.map((row) => {
      const top = height - ROW.axis + ROW.between - 6 + headingHeight();
      height += headingHeight() + row.height + ROW.between;
      return top;
    });
    board.draw(view.areas.time, height, (context) => {
      context.font = FONT;
      shadeDeciding(context, headingHeight(), height - headingHeight() - ROW.axis);
      rows.forEach((row, i) => {
        drawRow(context, row, tops[i]);
      });
      drawAxis(context, height - ROW.axis + 2);
    });
    const shown = rows.map(({ heading }) => heading).join("; ");
    board.canvas.setAttribute("aria-label", `timeline: ${shown}. Click or drag to seek.`);
  }

  function mark() {
    const height = board.canvas.clientHeight || board.canvas.height / board.ratio;
    board.mark((context) => {
      const frame = view.get("frame");
      context.fillStyle = view.ink();
      context.globalAlpha = 0.15;
      const [top, tall] = [headingHeight(), height - headingHeight() - ROW.axis];
      context.fillRect(xOf(frame), top, plotWidth() / clipFrames, tall);
      context.globalAlpha = 1;
      context.fillRect(xOf(frame + 0.5) - 0.75, top - 2, 1.5, tall + 4);
    });
  }

  function seek(event) {
    const share = (board.place(event).x - ROW.left) / plotWidth();
    view.set("frame", Math.min(clipFrames - 1, Math.max(0, Math.floor(share * clipFrames))));
  }

  view.listen(board.canvas, "pointerdown", (event) => {
    board.canvas.setPointerCapture(event.pointerId); // a drag may leave the canvas
    seek(event);
  });
  view.listen(board.canvas, "pointermove", (event) => event.buttons & 1 && seek(event));

  return {
    nodes: [node],
    update(changed) {
      const own = ["quantity", "query", "state map"]; // what the rows may be about
      if (view.touched(changed, "layer", "size", "theme", ...own)) draw();
      if (view.touched(changed, "frame", "layer", "size", "theme", ...own)) mark();
    },
  };
}
