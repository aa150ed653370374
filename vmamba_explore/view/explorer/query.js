// What the asked patch, or what the logits are read from, reads and is read by: film strips.

import { asBytes, Board, element, FONT, outline } from "../widgets/drawing.js";
import { Quantity, rangeInWords } from "./data.js";
import { figureOf, paneName } from "./stage.js";
import { terms } from "./terms.js";
import { PATIENCE } from "./view.js";

const DRAWN_ANEW = ["query", "layer", "direction", "opacity", "answer", "size", "theme"];
const TILE = { high: 96, low: 28, gap: 3, number: 13, name: 76, beside: 134 }; // CSS pixels
const SETTLE = 120; // ms a layer must stay before it is asked
const KEPT = 64; // answers
const NOBODY =
  "No kernel answers: this is a saved notebook, or its kernel is busy or gone. " +
  "Run the cell again to ask patches.";
const PAGE_ONLY =
  "There is no model to ask here: only what the read-out reads is inside this page. " +
  "Run explore(...) in a notebook to ask patches.";

// Asks the kernel, one question at a time; of those waiting only the newest counts.
export function createAsker(view) {
  const { answers } = view.kept; // by question
  let [inFlight, failed] = [null, null];

  function questions() {
    const token = [...view.get("query")];
    if (!token.length) return [];
    return [...view.data.sides.keys()].map((side) => ({ side, layer: view.get("layer"), token }));
  }

  const key = (question) => JSON.stringify(question);

  // Sends the next question that has no answer yet.
  async function pursue() {
    const next = questions().find((question) => !answers.has(key(question)));
    if (!next || inFlight || failed?.key === key(next)) return view.touch("answer");
    if (!view.data.sides[next.side].live) return fail(next, PAGE_ONLY);
    inFlight = next;
    view.touch("answer");
    try {
      keep(next, await view.requests.ask(next, PATIENCE, () => fail(next, view.model.late ?? NOBODY)));
    } catch (error) {
      fail(next, error.message);
    }
    if (inFlight === next) inFlight = null;
    pursue();
  }

  function fail(question, words) {
    if (inFlight === question) inFlight = null;
    failed = { key: key(question), words };
    view.touch("answer");
  }

  function keep(question, { maps, buffers }) {
    if (view.ended.signal.aborted) return; // it may be an answer about what is shown no more
    const found = maps.map((map, i) => {
      const levels = { 0: asBytes(buffers[i]) };
      return [map.name, new Quantity(map, levels, view.data.directions, [question.layer])];
    });
    if (answers.size >= KEPT) answers.delete(answers.keys().next().value);
    answers.set(key(question), Object.fromEntries(found));
    if (failed?.key === key(question)) failed = null; // late, but here
  }

  return {
    ask() {
      failed = null;
      pursue();
    },
    state() {
      const all = questions();
      if (!all.length) return { asking: "none", words: "", found: null };
      const found = all.map((question) => answers.get(key(question)));
      if (found.every(Boolean)) return { asking: "answered", words: "", found };
      if (all.some((question) => failed?.key === key(question))) {
        return { asking: "failed", words: failed.words, found: null };
      }
      return { asking: "pending", words: "asking the model …", found: null };
    },
  };
}

export function createQuery(view) {
  const { data } = view;
  const asker = createAsker(view);
  const [reads, readBy] = Object.keys(terms.reading);
  const button = element("button", {
    type: "button", "aria-label": "ask the read-out", title: "Ask no patch: show what the logits are read from (Esc)",
  }, "ask the read-out");
  const hint = element("span", { class: "vmx-soft" });
  const bar = element("div", { class: "vmx-row vmx-tool" }, button, hint);
  const answers = element("div", { class: "vmx-query" });
  const films = new Map(); // gray frames side by side, by side and size
  let strips = [];
  let timer = null;

  // What can be drawn: for each kind the quantity of every side.
  function kinds(state) {
    if (state.asking === "none") {
      const quantity = data.quantities.get(terms.readout);
      return quantity ? [[reads, data.sides.map(() => quantity)]] : [];
    }
    if (!state.found) return [];
    return [reads, readBy].map((kind) => [kind, state.found.map((answer) => answer[kind])]);
  }

  function heading(kind, quantity) {
    const [frame, row, col] = view.get("query");
    const who = view.get("query").length ? `token frame ${frame}, row ${row}, col ${col}` : "the read-out";
    const scale = quantity.scale(0, "", view.get("layer"));
    const range = `${rangeInWords(scale)}${scale.log ? ", logarithmic" : ""}`;
    const about = "Mean size of the weights with which the frozen scan reads, by token frame. " +
      "Gray: a scan cannot read what comes later in its order.";
    const words = kind === reads ? `What ${who} reads` : `What reads ${who}`;
    return element("div", { title: about },
      element("div", { class: "vmx-heading" }, `${words}, layer ${view.get("layer")}`),
      element("div", { class: "vmx-soft" }, `weights ${range}; gray: out of the scan's reach`));
  }

  function draw() {
    const state = asker.state();
    view.root.dataset.asking = state.asking;
    view.say("asking", state.words);
    const found = kinds(state);
    const { side: room } = view.areas;
    const beside = found.length > 1 && room >= 820;
    const width = beside ? Math.floor((room - 16) / 2) : room;
    button.disabled = view.get("query").length === 0;
    const live = data.sides.some((side) => side.live);
    hint.textContent = live ? "Click a patch for what it reads and what reads it." : PAGE_ONLY;
    hint.hidden = state.asking === "answered";
    strips = [];
    const sections = found.map(([kind, quantities]) => {
      const name = kind === reads ? "vmx-reads" : "vmx-read-by";
      const column = element("div", { class: name }, heading(kind, quantities[0]));
      column.style.width = `${width}px`;
      const directions = view.shownDirections(true);
      const films = found.length * directions.length * quantities.length;
      let numbered = true; // the first of the films below each other
      for (const direction of directions) {
        quantities.forEach((quantity, side) => {
          const name = paneName(view, side, direction);
          const board = new Board({
            role: "img", "data-side": side, "data-direction": direction,
            "aria-label": `${terms.reading[kind]}: ${name}, all token frames; click to go to one`,
          });
          const from = view.get("query").length ? 0 : side; // an answer is of one side
          const strip = { board, quantity, side, direction, from, numbered, ...tiles(width, films) };
          const within = reachable(strip);
          const none = () => element("div", { class: "vmx-soft" }, "nothing is within the scan's reach");
          column.append(figureOf(view, direction, name, within ? board.canvas : none()));
          if (!within) return;
          numbered = false;
          drawFilm(strip);
          strips.push(strip);
        });
      }
      return column;
    });
    answers.replaceChildren(...sections);
    answers.hidden = sections.length === 0;
  }

  function reachable({ quantity, from, direction }) {
    const planes = [...Array(data.frames).keys()].map((frame) =>
      quantity.plane(from, direction, view.get("layer"), frame));
    return planes.some((plane) => !plane.every(Number.isNaN));
  }

  // films: how many there are to fit into the panel, where it stands beside the panes.
  function tiles(room, films) {
    const width = room - TILE.name; // names stand beside the strips
    const most = view.areas.kind === "narrow" ? TILE.high : Math.floor(TILE.beside / films);
    const fitting = Math.floor((width + TILE.gap) / data.frames) - TILE.gap;
    const size = Math.max(TILE.low, Math.min(TILE.high, most, fitting));
    const inLine = Math.floor((width + TILE.gap) / (size + TILE.gap));
    const columns = Math.max(1, Math.min(data.frames, inLine));
    const [high, wide] = data.sides[0].size;
    return { columns, tileWidth: size, tileHeight: Math.round((size * high) / wide) };
  }

  const corner = (strip, frame) => ({
    x: (frame % strip.columns) * (strip.tileWidth + TILE.gap),
    y: above(strip) + Math.floor(frame / strip.columns) * lineHeight(strip),
  });

  // Token frames are numbered above their tiles, once for all films that have one line.
  const above = (strip) => (strip.numbered || strip.columns < data.frames ? TILE.number : 0);
  const lineHeight = (strip) => strip.tileHeight + (above(strip) || TILE.gap);

  // The clip's frames in gray, one for each token frame, drawn once for a size.
  function film(strip, width, height) {
    const ratio = window.devicePixelRatio || 1;
    const name = `${strip.side} ${strip.columns} ${strip.tileWidth} ${above(strip)} ${ratio}`;
    if (!films.has(name)) {
      const board = new Board();
      board.draw(width, height, (context) => {
        for (let frame = 0; frame < data.frames; frame++) {
          const { x, y } = corner(strip, frame);
          const picture = data.gray(strip.side, data.firstClipFrame(frame));
          context.drawImage(picture, x, y, strip.tileWidth, strip.tileHeight);
        }
      });
      films.set(name, board.kept);
    }
    return films.get(name);
  }

  function drawFilm(strip) {
    const { board, quantity, direction, columns, tileWidth, tileHeight, from } = strip;
    const lines = Math.ceil(data.frames / columns);
    const width = columns * (tileWidth + TILE.gap) - TILE.gap;
    const height = lines * lineHeight(strip);
    const layer = view.get("layer");
    const scale = quantity.scale(from, direction, layer);
    board.draw(width, height, (context) => {
      context.drawImage(film(strip, width, height), 0, 0, width, height);
      context.imageSmoothingEnabled = false;
      context.globalAlpha = Math.max(0.5, view.get("opacity"));
      for (let frame = 0; frame < data.frames; frame++) {
        const { x, y } = corner(strip, frame);
        const plane = quantity.plane(from, direction, layer, frame);
        context.drawImage(data.picture(plane, scale, data.rows, data.cols), x, y, tileWidth, tileHeight);
      }
      context.globalAlpha = 1;
      context.fillStyle = view.ink();
      context.font = FONT;
      context.textAlign = "center";
      for (let frame = 0; frame < data.frames && above(strip); frame++) {
        const { x, y } = corner(strip, frame);
        context.fillText(frame, x + tileWidth / 2, y - 3);
      }
    });
  }

  function mark(strip) {
    const { board, tileWidth, tileHeight } = strip;
    const [frame, row, col] = view.get("query");
    board.mark((context) => {
      const now = corner(strip, view.tokenFrame);
      context.strokeStyle = view.ink();
      context.lineWidth = 3;
      context.strokeRect(now.x + 1.5, now.y + 1.5, tileWidth - 3, tileHeight - 3);
      if (frame === undefined) return;
      const { x, y } = corner(strip, frame);
      const [width, height] = [tileWidth / data.cols, tileHeight / data.rows];
      outline(context, x + col * width, y + row * height, width, height);
    });
  }

  view.listen(button, "click", () => view.set("query", []));
  view.listen(answers, "click", (event) => {
    const strip = strips.find(({ board }) => board.canvas === event.target);
    if (!strip) return;
    const { x, y } = strip.board.place(event);
    const column = Math.min(strip.columns - 1, Math.floor(x / (strip.tileWidth + TILE.gap)));
    const frame = Math.floor(y / lineHeight(strip)) * strip.columns + column;
    if (frame < data.frames) view.set("frame", data.firstClipFrame(frame));
  });

  return {
    nodes: [bar, answers],
    update(changed) {
      clearTimeout(changed.has("query") || changed.has("layer") ? timer : undefined);
      if (changed.has("query")) asker.ask();
      else if (changed.has("layer") && view.get("query").length) timer = setTimeout(asker.ask, SETTLE);
      const drawn = view.touched(changed, ...DRAWN_ANEW);
      if (drawn) draw();
      if (drawn || changed.has("frame")) strips.forEach(mark);
    },
    close() {
      clearTimeout(timer);
    },
  };
}
