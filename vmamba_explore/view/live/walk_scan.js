// A scan read token by token, as a picture: the frame with the path read so far, the states before and after
// the token, what they keep and what is written, and one state over all tokens read.

import { drawPath } from "../explorer/path.js";
import { Board, element, FONT, labeled, menu, outline } from "../widgets/drawing.js";
import { walkFactor, walkNumber, walkPaint, walkPlace, walkShare, walkTerm } from "./walk_draw.js";
import { WALK_KEYS, WALK_SPEEDS, WalkPlayer } from "./walk_player.js";

const WALK_FRAME = 264; // CSS pixels, at most
const WALK_PLOT = 96; // CSS pixels
const WALK_PAGE = 32; // channels that are shown together
const WALK_KEPT = { low: 0, high: 1, signed: false };
const WALK_PICTURES = [
  ["before", "", "h before"],
  ["kept", "×", "exp(ΔA): the share kept"],
  ["written", "+", "Δ B u: what is written"],
  ["after", "=", "h after"],
];

// walk: { model, listen, choose(channel, state), ask(place), wants(channels) }, see walk.js
export function createWalkScan(walk) {
  const { model, listen } = walk;
  const frame = new Board({ role: "img", class: "vmx-walk-frame" });
  const plot = new Board({ role: "img", class: "vmx-walk-plot" });
  const pictures = WALK_PICTURES.map(([name, sign, title]) => {
    const canvas = element("canvas", { role: "img", "data-picture": name });
    const [mark, range] = [element("span", { class: "vmx-walk-cell", "aria-hidden": "true" }), element("span")];
    const node = element("figure", { class: "vmx-walk-state" },
      element("figcaption", {}, element("b", {}, sign ? `${sign} ${title}` : title), range),
      element("div", { class: "vmx-walk-row" }, canvas, mark));
    listen(canvas, "click", (event) => chooseAt(canvas, event));
    return { name, title, canvas, mark, range, node };
  });
  const button = (name, words, title) => element("button", { type: "button", "aria-label": name, title }, words);
  const ui = {
    play: button("play the scan", "▶", "Play or pause (p)"),
    back: button("one token back", "←", "One token back (←)"),
    next: button("one token more", "→", "Read one token more (Space, →)"),
    at: element("input", { type: "range", min: 1, step: 1, "aria-label": "token of the scan", title: "Jump to a token" }),
    speed: menu(WALK_SPEEDS.map((speed) => [speed, `${speed} a second`]), { title: "How many tokens are read each second" }),
    channels: menu([], { title: "Which channels the pictures show" }),
    here: button("to the selected patch", "to the selected patch", "Jump to the patch that the seven steps are about"),
    take: button("select this patch", "select this patch", "Show the seven steps for this patch, and select it in the explorer"),
  };
  const axes = element("p", { class: "vmx-walk-where" });
  const readout = element("p", { class: "vmx-walk-readout", role: "status", "aria-live": "polite" });
  const keys = WALK_KEYS.map(([press, does]) => `${press}: ${does}`).join("; ");
  const node = element("div", { class: "vmx-walk-scan", tabindex: 0, role: "group", "aria-label": `the scan, token by token. ${keys}` },
    element("div", { class: "vmx-walk-tools" }, ui.play, ui.back, ui.next, ui.at),
    element("div", { class: "vmx-walk-tools" }, labeled("speed of the scan", ui.speed, "speed"),
      labeled("channels shown", ui.channels, "channels"), ui.here, ui.take),
    readout,
    element("div", { class: "vmx-walk-views" },
      element("div", { class: "vmx-walk-left" }, element("div", {}, frame.canvas), element("div", {}, plot.canvas)),
      element("div", { class: "vmx-walk-states" }, axes, ...pictures.map((each) => each.node))),
    element("p", { class: "vmx-walk-where" }, `Keys while the scan has the focus: ${keys}. Click a cell to choose its channel and state.`));
  const player = new WalkPlayer(1);
  const token = { before: null, kept: null, written: null, after: null };
  let [scan, scales, chosen, patch] = [null, null, { channel: 0, state: 0 }, null];
  let [request, last, started, seen, offered, width] = [null, 0, false, false, "", 0];

  // --- the numbers of a step ---

  const placeOf = (step) => {
    const natural = scan.natural[step];
    if (natural === scan.cls) return null;
    const [, rows, cols] = model.get("grid");
    const at = natural - (scan.cls !== null && natural > scan.cls ? 1 : 0);
    return [Math.floor(at / (rows * cols)), Math.floor(at / cols) % rows, at % cols];
  };

  // Fills `token` with the four pictures of a step: (states, channels), so that a channel is a column.
  function compute(step) {
    const { channels, states, order, h, A, B, u, delta, handed } = scan;
    const count = channels.length;
    const [at, from] = [order[step], step > 0 ? order[step - 1] : null];
    const replaced = handed.filter((each) => each.step === step - 1).at(-1);
    for (let c = 0; c < count; c += 1) {
      const [d, own] = [delta[at * count + c], u[at * count + c]];
      for (let n = 0; n < states; n += 1) {
        const [cell, i] = [n * count + c, c * states + n];
        const held = from === null ? 0 : h[(from * count + c) * states + n];
        token.before[cell] = replaced ? (replaced.state?.[i] ?? 0) : held;
        token.kept[cell] = Math.exp(d * A[i]);
        token.written[cell] = d * B[at * states + n] * own;
        token.after[cell] = h[(at * count + c) * states + n];
      }
    }
  }

  // --- what is drawn ---

  function draw() {
    if (!scan || !node.clientWidth) return;
    compute(player.at);
    const { channels, states } = scan;
    const column = channels.indexOf(chosen.channel);
    for (const { name, title, canvas, mark } of pictures) {
      walkPaint(canvas, model, token[name], scales[name], states, channels.length);
      canvas.setAttribute("aria-label", `${title}: ${states} states of ${channels.length} channels`);
      mark.hidden = column < 0;
      Object.assign(mark.style, {
        left: `${(100 * column) / channels.length}%`, width: `${100 / channels.length}%`,
        top: `${(100 * chosen.state) / states}%`, height: `${100 / states}%`,
      });
    }
    drawFrame();
    drawPlot(column);
    tell(column);
    ui.take.disabled = !placeOf(player.at);
    ui.at.value = player.at + 1;
    ui.at.setAttribute("aria-valuetext", `${player.at + 1} of ${player.steps}`);
    ui.play.textContent = player.playing ? "❚❚" : "▶";
    ui.play.setAttribute("aria-label", player.playing ? "pause the scan" : "play the scan");
    Object.assign(node.dataset, { at: player.at, playing: player.playing });
  }

  function drawFrame() {
    const place = placeOf(player.at);
    const [count, side] = scan.clip;
    const [frames, rows, cols] = model.get("grid");
    const shown = place?.[0] ?? lastFrame();
    const size = Math.min(WALK_FRAME, frame.canvas.parentElement.clientWidth);
    const steps = stepsOf(shown);
    frame.draw(size, size, (context) => {
      const picture = pictureOf(shown * (count / frames), side);
      context.imageSmoothingEnabled = side > 128;
      context.drawImage(picture, 0, 0, size, size);
    });
    frame.mark((context) => {
      const unit = window.devicePixelRatio || 1;
      context.save();
      context.scale(1 / unit, 1 / unit); // drawPath counts pixels of the canvas
      const data = { order: () => steps, rows, cols, colors: model.get("colors") };
      drawPath(context, data, scan.direction, shown, { width: size * unit, height: size * unit }, player.at);
      context.restore();
      const cell = { width: size / cols, height: size / rows };
      if (place) outline(context, place[2] * cell.width, place[1] * cell.height, cell.width, cell.height);
    });
    const words = place ? walkPlace(place) : `the class token, after token frame ${shown}`;
    frame.canvas.setAttribute("aria-label", `the clip at token frame ${shown}, the scan is at ${words}`);
  }

  // The token frame of the patch read last; where none has been read yet, of the first one.
  function lastFrame() {
    for (let step = player.at; step >= 0; step -= 1) if (placeOf(step)) return placeOf(step)[0];
    return placeOf(player.at + 1)?.[0] ?? 0;
  }

  // The patches of a token frame by the step at which they are read; of a dropped one there is none.
  function stepsOf(shown) {
    scan.cells ??= new Map();
    if (!scan.cells.has(shown)) {
      const cells = [];
      for (let step = 0; step < player.steps; step += 1) {
        const place = placeOf(step);
        if (place?.[0] === shown) cells.push({ row: place[1], col: place[2], step });
      }
      scan.cells.set(shown, cells);
    }
    return scan.cells.get(shown);
  }

  function pictureOf(clipFrame, side) {
    scan.pictures ??= new Map();
    if (!scan.pictures.has(clipFrame)) {
      const canvas = element("canvas", { width: side, height: side });
      const image = new ImageData(side, side);
      const start = clipFrame * side * side * 3;
      for (let i = 0; i < side * side; i += 1) {
        for (let color = 0; color < 3; color += 1) image.data[4 * i + color] = scan.frames[start + 3 * i + color];
        image.data[4 * i + 3] = 255;
      }
      canvas.getContext("2d").putImageData(image, 0, 0);
      scan.pictures.set(clipFrame, canvas);
    }
    return scan.pictures.get(clipFrame);
  }

  // The chosen state after every token read so far.
  function drawPlot(column) {
    const wide = plot.canvas.parentElement.clientWidth;
    const { color } = getComputedStyle(node);
    const { order, channels, states, h } = scan;
    const value = (step) => h[(order[step] * channels.length + column) * states + chosen.state];
    let reach = 0;
    if (column >= 0) for (let step = 0; step < player.steps; step += 1) reach = Math.max(reach, Math.abs(value(step)));
    const x = (step) => 2 + (step * (wide - 8)) / Math.max(1, player.steps - 1);
    const y = (at) => WALK_PLOT / 2 + 6 - (at / (reach || 1)) * (WALK_PLOT / 2 - 14);
    plot.draw(wide, WALK_PLOT, (context) => {
      Object.assign(context, { font: FONT, fillStyle: color, strokeStyle: color, lineWidth: 1 });
      context.globalAlpha = 0.25;
      for (let step = 1; step < player.steps; step += 1) {
        const [one, other] = [placeOf(step - 1), placeOf(step)];
        if (one && other && one[0] !== other[0]) context.fillRect(x(step - 0.5), 14, 1, WALK_PLOT - 16);
      }
      context.globalAlpha = 0.6;
      context.fillRect(0, y(0), wide, 1);
      context.globalAlpha = 1;
      if (column < 0) return context.fillText(`channel ${chosen.channel} is not among those shown`, 2, 10);
      context.fillText(`channel ${chosen.channel}, state ${chosen.state}: ±${walkNumber(reach)}`, 2, 10);
      context.strokeStyle = model.get("colors")[scan.direction];
      context.lineWidth = 1.75;
      context.beginPath();
      for (let step = 0; step <= player.at; step += 1) context.lineTo(x(step), y(value(step)));
      context.stroke();
    });
    plot.mark((context) => {
      if (column < 0) return;
      context.fillStyle = model.get("colors")[scan.direction];
      context.beginPath();
      context.arc(x(player.at), y(value(player.at)), 3.5, 0, 2 * Math.PI);
      context.fill();
    });
    const words = column < 0 ? "" : `, now ${walkNumber(value(player.at))}`;
    plot.canvas.setAttribute("aria-label",
      `channel ${chosen.channel}, state ${chosen.state} after each token read so far${words}; lines stand between token frames`);
  }

  function tell(column) {
    const cell = chosen.state * scan.channels.length + column;
    const sum = column < 0 ? "" : (
      ` · h = ${walkShare(token.kept[cell])} · ${walkFactor(token.before[cell])} ${walkTerm(token.written[cell])} = ${walkNumber(token.after[cell])}`
    );
    const text = `token ${player.at + 1} of ${player.steps}: ${walkPlace(placeOf(player.at))}${sum}`;
    readout.setAttribute("aria-live", player.playing ? "off" : "polite");
    if (readout.textContent !== text) readout.textContent = text;
    if (column >= 0) Object.assign(node.dataset, { value: token.after[cell] });
  }

  // --- what moves it ---

  function again() {
    request ??= requestAnimationFrame((now) => {
      request = null;
      if (player.playing) player.pass(Math.min(250, now - last));
      last = now;
      draw();
      if (player.playing) again();
    });
  }

  function moved(act) {
    act();
    last = performance.now();
    again();
  }

  function chooseAt(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * scan.channels.length);
    const state = Math.floor(((event.clientY - box.top) / box.height) * scan.states);
    walk.choose(scan.channels[column], state);
  }

  function offer() {
    const pages = Array.from({ length: Math.ceil(scan.of / WALK_PAGE) }, (_, i) => [i * WALK_PAGE, Math.min(scan.of, (i + 1) * WALK_PAGE) - 1]);
    const key = `${scan.of} ${scan.fitting}`;
    if (offered === key) return;
    offered = key;
    const all = scan.fitting < scan.of ? `the first ${scan.fitting} of ${scan.of}` : `all ${scan.of}`;
    const options = [["all", all], ["strongest", "those read most"], ...(pages.length > 1 ? pages.map(([from, to]) => [`${from}-${to}`, `${from} to ${to}`]) : [])];
    const before = ui.channels.value;
    ui.channels.replaceChildren(...options.map(([value, words]) => element("option", { value }, words)));
    ui.channels.value = options.some(([value]) => value === before) ? before : "all";
  }

  // What walk_numbers.js is asked for.
  function channelsWanted() {
    const [from, to] = ui.channels.value.split("-").map(Number);
    if (to === undefined) return ui.channels.value || "all";
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  }

  listen(node, "keydown", (event) => {
    if (event.target !== node || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !scan) return;
    if (!player.press(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    moved(() => {});
  });
  listen(ui.play, "click", () => moved(() => player.toggle()));
  listen(ui.back, "click", () => moved(() => player.press("ArrowLeft")));
  listen(ui.next, "click", () => moved(() => player.press("ArrowRight")));
  listen(ui.at, "input", () => moved(() => {
    player.playing = false;
    player.go(Number(ui.at.value) - 1);
  }));
  listen(ui.speed, "change", () => {
    player.speed = Number(ui.speed.value);
  });
  listen(ui.channels, "change", () => walk.wants());
  listen(ui.here, "click", () => moved(() => toPatch()));
  listen(ui.take, "click", () => placeOf(player.at) && walk.ask(placeOf(player.at)));
  ui.speed.value = player.speed;

  function toPatch() {
    player.playing = false;
    if (patch !== null) player.go(patch);
  }

  const sizes = new ResizeObserver(() => {
    if (node.clientWidth === width) return;
    width = node.clientWidth;
    again();
  });
  sizes.observe(node);
  const sight = new IntersectionObserver(([entry]) => {
    seen = entry.isIntersecting;
    if (!seen) player.playing = false;
    begin();
    again();
  });
  sight.observe(node);

  // Plays from the first token, once, when it is first seen; not where the reader wants no motion.
  function begin() {
    if (started || !seen || !scan) return;
    started = true;
    if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    moved(() => {
      player.go(0);
      player.toggle();
    });
  }

  return {
    node, draw: again, channelsWanted,
    // Shows another scan; the step stays where both have as many.
    show(found) {
      scan = found;
      if (player.steps !== found.order.length) Object.assign(player, new WalkPlayer(found.order.length), { speed: player.speed });
      ui.at.max = player.steps;
      for (const name of Object.keys(token)) token[name] = new Float32Array(found.channels.length * found.states);
      const [held, written] = [found.reach.h, found.reach.written].map((reach) => ({ low: -reach, high: reach, signed: true }));
      scales = { before: held, after: held, kept: WALK_KEPT, written };
      axes.textContent = `Each column is a channel, each row one of its ${found.states} states.`;
      for (const { name, range } of pictures) {
        const { low, high } = scales[name];
        range.textContent = `colors end at ${walkNumber(low)} and ${walkNumber(high)}`;
      }
      offer();
      again();
    },
    // The patch, by its step, and the state that the seven steps are about. moves: jump there.
    follow(step, channel, state, moves) {
      patch = step;
      chosen = { channel, state };
      if (moves) toPatch();
      begin();
      again();
    },
    get playing() {
      return player.playing;
    },
    close() {
      sizes.disconnect();
      sight.disconnect();
      cancelAnimationFrame(request);
    },
  };
}
