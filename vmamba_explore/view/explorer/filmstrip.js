// The whole file as a strip, with the window that the clip is: dragged, moved by keys or typed.

import { copyText } from "../widgets/copy.js";
import { asBytes, Board, element, FONT, outline } from "../widgets/drawing.js";
import { terms } from "./terms.js";
import { PATIENCE } from "./view.js";

const FRAMED = { widest: 64, least: 22, axis: 19, outside: 0.55 }; // CSS pixels; darkness of what is cropped away
const HOW =
  "Drag the window, or move it with the arrow keys and press Enter. Darkened: what the model does not see.";
const NO_FILE = "No kernel answers: run the cell again to look at another part of the file.";

// When a frame of the file is shown, and which frame is shown at a time, between those that are known.
export const secondsAt = ({ numbers, seconds }, number) => between(numbers, seconds, number);
export const numberAt = ({ numbers, seconds }, time) => Math.round(between(seconds, numbers, time));

function between(from, to, value) {
  if (from.length < 2) return to[0];
  const after = from.findIndex((each) => each >= value);
  const at = after < 0 ? from.length - 1 : Math.max(1, after);
  const share = (value - from[at - 1]) / (from[at] - from[at - 1] || 1);
  return to[at - 1] + share * (to[at] - to[at - 1]);
}

// The first frame of a window that lies within the file.
export const within = (first, length, count) => Math.max(0, Math.min(Math.round(first), count - length));

// Pictures for tiles side by side: of each tile the one nearest to its middle that is there.
export function tiled({ numbers, pictures, count }, tiles) {
  const there = numbers.map((number, i) => [number, pictures[i]]).filter(([, picture]) => picture);
  return Array.from({ length: tiles }, (_, tile) => {
    const middle = ((tile + 0.5) * count) / tiles;
    const near = there.toSorted(([one], [other]) => Math.abs(one - middle) - Math.abs(other - middle))[0];
    return near && Math.abs(near[0] - middle) <= (1.5 * count) / Math.min(tiles, numbers.length) ? near[1] : null;
  });
}

// Of one strip for all views: it stays when the window is moved.
async function pursueStrip(view) {
  const { kept, requests } = view;
  const strip = { words: "reading the file …", pictures: null };
  kept.strip = strip;
  const tell = (words) => {
    strip.words = words;
    kept.showStrip?.();
  };
  try {
    const { offsets, buffers, numbers, seconds, count, box } = await requests.run({ run: terms.strip }, PATIENCE, {
      late: () => tell(NO_FILE),
      progress: (_, share) => tell(`reading the file … ${Math.round(100 * share)} %`),
    });
    const ends = offsets.slice(1);
    const bytes = asBytes(buffers[0]);
    const pictures = await Promise.all(ends.map((end, i) =>
      end > offsets[i] ? createImageBitmap(new Blob([bytes.slice(offsets[i], end)])) : null));
    Object.assign(strip, { numbers, seconds, count, box, pictures });
    if (kept.strip === strip) tell("");
    else closeStrip(strip);
  } catch (error) {
    tell(error.message);
  }
}

export function closeStrip(strip) {
  for (const picture of strip?.pictures ?? []) picture?.close();
}

// Runs the model where the window was put; what is shown stays until that is there.
export async function moveWindow(view, start) {
  const { kept, requests } = view;
  const mine = { words: "reading the clip …", id: null, at: start };
  const tell = (changes) => {
    Object.assign(mine, changes);
    if (kept.moving === mine) kept.showStrip?.();
  };
  kept.moving = mine;
  tell({});
  view.model.save_changes(); // the quantity that is shown is computed first
  try {
    const { cancelled } = await requests.run({ run: terms.window, start }, PATIENCE, {
      started: (id) => tell({ id }),
      late: () => tell({ words: NO_FILE, id: null }),
      progress: (words, share) => tell({ words: `${words}, ${Math.round(100 * share)} %` }),
    });
    tell({ words: cancelled ? "Cancelled: the view stays as it was." : "", id: null, at: null });
  } catch (error) {
    tell({ words: error.message, id: null, at: null });
  }
}

export function createFilmstrip(view) {
  const { kept } = view;
  const { name, first, last, spread, least, code } = view.get("window");
  const node = element("div", { class: "vmx-filmstrip vmx-tool" });
  if (code === undefined) {
    node.hidden = true;
    return { nodes: [node], update() {} };
  }
  const board = new Board({ role: "slider", tabindex: 0, "aria-label": "window of the file", "aria-valuemin": 0 });
  const seconds = element("input", { type: "number", min: 0, step: 0.01, "aria-label": "start of the window, seconds", title: "Where in the file the clip starts" });
  const go = element("button", { type: "button", title: "Run the model on this window of the file" }, "analyze here");
  const cancel = element("button", { type: "button", title: "Stop the run; the view stays" }, "cancel");
  const copy = element("button", { type: "button", title: "Copy the code that shows this window" }, "copy the Python");
  const where = element("span", { class: "vmx-soft" });
  const status = element("span", { class: "vmx-soft", role: "status" });
  const row = element("div", { class: "vmx-row vmx-menus" },
    element("label", {}, element("span", {}, "start"), seconds, "s"), go, cancel, where, status);
  node.append(
    element("div", { class: "vmx-heading" }, `the whole file: ${name}`),
    element("div", { class: "vmx-soft" }, HOW), board.canvas, row,
    element("details", {}, element("summary", {}, "Python for this clip"),
      element("pre", { tabindex: 0, "aria-label": "Python for this clip" }, code), copy));
  let grabbed = null; // frames from the start of the window to where it was grabbed

  const strip = () => (kept.strip?.pictures ? kept.strip : null);
  const lengthAt = (from) => (spread ? (strip()?.count ?? last + 1) - from : last - first + 1);
  const start = () => kept.moving.at ?? first;
  const running = () => kept.moving.id !== null;
  const put = (number) => {
    if (!strip() || running()) return;
    const at = within(number, least, strip().count);
    kept.moving = { words: "", id: null, at: at === first ? null : at };
    show();
  };
  const run = () => {
    if (strip() && !running() && start() !== first) moveWindow(view, start());
  };

  function draw() {
    const { pictures, count, box } = strip();
    const some = pictures.find(Boolean);
    const tiles = Math.max(1, Math.min(pictures.length, Math.floor(view.areas.time / FRAMED.widest)));
    const wide = view.areas.time / tiles;
    const tall = Math.max(FRAMED.least, Math.round((wide * some.height) / some.width));
    board.draw(view.areas.time, tall + FRAMED.axis, (context) => {
      for (const [tile, picture] of tiled(strip(), tiles).entries()) {
        if (picture) context.drawImage(picture, tile * wide, 0, wide - 1, tall);
        context.fillStyle = "#000"; // over what the model does not see
        context.globalAlpha = FRAMED.outside;
        const [left, top, right, bottom] = box.map((share, i) => share * (i % 2 ? tall : wide - 1));
        context.fillRect(tile * wide, 0, left, tall);
        context.fillRect(tile * wide + right, 0, wide - 1 - right, tall);
        context.fillRect(tile * wide + left, 0, right - left, top);
        context.fillRect(tile * wide + left, bottom, right - left, tall - bottom);
        context.globalAlpha = 1;
      }
      context.font = FONT;
      context.fillStyle = view.ink();
      const marks = Math.max(2, Math.floor(view.areas.time / 120));
      for (let mark = 0; mark < marks; mark++) {
        const share = mark / (marks - 1);
        context.textAlign = mark === 0 ? "left" : mark === marks - 1 ? "right" : "center";
        const time = secondsAt(strip(), share * (count - 1));
        context.fillText(`${time.toFixed(1)} s`, share * view.areas.time, tall + FRAMED.axis - 4);
      }
    });
    board.tall = tall;
  }

  function mark() {
    const { count } = strip();
    const place = (number) => {
      const width = Math.max(6, (lengthAt(number) / count) * view.areas.time);
      return [Math.min((number / count) * view.areas.time, view.areas.time - width), width];
    };
    board.mark((context) => {
      if (start() !== first) { // where the clip is that is shown
        const [x, width] = place(first);
        context.fillStyle = view.ink();
        context.fillRect(x, board.tall + 1, width, 3);
      }
      const [x, width] = place(start());
      context.fillStyle = "#4d8fcc";
      context.globalAlpha = 0.3;
      context.fillRect(x, 0, width, board.tall);
      context.globalAlpha = 1;
      outline(context, x + 1.5, 1.5, width - 3, board.tall - 3);
    });
  }

  function show() {
    const known = strip();
    board.canvas.hidden = !known;
    for (const each of [seconds, go]) each.disabled = !known || running();
    go.disabled ||= start() === first;
    cancel.hidden = !running();
    status.textContent = kept.moving.words || kept.strip?.words || "";
    if (!known) return;
    if (view.width) mark();
    const [from, to] = [start(), Math.min(start() + lengthAt(start()), known.count) - 1];
    const [begin, end] = [from, to].map((number) => secondsAt(known, number).toFixed(2));
    where.textContent = `frames ${from} to ${to} of ${known.count}, ${begin} to ${end} s`;
    if (document.activeElement !== seconds) seconds.value = begin;
    board.canvas.setAttribute("aria-valuemax", Math.max(0, known.count - least));
    board.canvas.setAttribute("aria-valuenow", from);
    board.canvas.setAttribute("aria-valuetext", where.textContent);
  }

  const number = (event) => (board.place(event).x / view.areas.time) * strip().count;
  view.listen(board.canvas, "pointerdown", (event) => {
    if (running()) return;
    board.canvas.setPointerCapture(event.pointerId); // a drag may leave the canvas
    const at = number(event);
    const length = lengthAt(start());
    grabbed = at >= start() && at < start() + length ? at - start() : least / 2;
    put(at - grabbed);
  });
  view.listen(board.canvas, "pointermove", (event) => grabbed !== null && put(number(event) - grabbed));
  view.listen(board.canvas, "pointerup", () => {
    if (grabbed !== null) run();
    grabbed = null;
  });
  view.listen(board.canvas, "pointercancel", () => {
    grabbed = null;
    put(first);
  });
  const keys = {
    ArrowLeft: () => put(start() - Math.ceil(least / 8)),
    ArrowRight: () => put(start() + Math.ceil(least / 8)),
    PageUp: () => put(start() - least),
    PageDown: () => put(start() + least),
    Home: () => put(0),
    End: () => put(strip()?.count ?? 0),
    Enter: run,
    Escape: () => put(first),
  };
  view.listen(board.canvas, "keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // the explorer has its own use for these
    keys[event.key]();
  });
  view.listen(seconds, "keydown", (event) => {
    if (event.key !== "Tab") event.stopPropagation();
    if (event.key === "Enter") run();
  });
  view.listen(seconds, "input", () => {
    const time = seconds.value === "" ? Number.NaN : Number(seconds.value);
    if (strip() && Number.isFinite(time)) put(numberAt(strip(), time));
  });
  view.listen(go, "click", run);
  view.listen(cancel, "click", () => running() && view.requests.cancel(kept.moving.id));
  view.listen(copy, "click", async () => {
    const copied = await copyText(code);
    view.say("copy", copied ? "copied" : "The browser does not let this page copy: select the text instead.");
  });

  if (kept.strip === null) pursueStrip(view);
  kept.showStrip = () => {
    if (strip() && view.width && !board.tall) draw();
    show();
  };

  return {
    nodes: [node],
    update(changed) {
      if (!view.touched(changed, "size", "theme") && changed.size < terms.state.length) return; // all: it is new
      if (strip()) draw();
      show();
    },
  };
}
