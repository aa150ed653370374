// "How it works": seven steps from the pixels of a patch to the logits, each with the live numbers of that
// patch, and the scan read token by token. It follows the explorer's model object and asks the worker,
// which answers with walk_numbers.js.

import { element, labeled, menu } from "../widgets/drawing.js";
import { terms } from "../explorer/terms.js";
import { createWalkScan } from "./walk_scan.js";
import { WALK_STEPS, walkStepNodes } from "./walk_steps.js";

const WALK_SETTLE = 120; // ms that a question must stay before it is asked
const WALK_SCAN = 4; // the step that shows the scan
const WALK_FOLLOWED = ["query", "frame", "layer", "direction", "channel", "state_number", "revision"];

// ask: sends a question to the worker and returns a promise of its answer; model: the explorer's model
// object; el: gets the walk. Returns { close }.
export function createWalk({ ask, model, el }) {
  const ended = new AbortController();
  const listen = (target, type, handler) => target.addEventListener(type, handler, { signal: ended.signal });
  const what = element("p", { class: "vmx-walk-what" });
  const status = element("p", { class: "vmx-walk-status", role: "status", "aria-live": "polite" });
  const number = (name) => element("input", { type: "number", min: 0, step: 1, title: `Which ${name}` });
  const ui = {
    side: menu([], { title: "Which of the two clips or models of the explorer" }),
    layer: menu([], { title: "Which layer; the explorer follows" }),
    direction: menu([], { title: "Which scan; the explorer follows" }),
    channel: number("channel"),
    state: number("state of the channel"),
  };
  const sideMenu = labeled("side of the walk", ui.side, "side");
  const tools = element("div", { class: "vmx-walk-tools" }, sideMenu, labeled("layer of the walk", ui.layer, "layer"),
    labeled("direction of the walk", ui.direction, "direction"), labeled("channel of the walk", ui.channel, "channel"),
    labeled("state of the walk", ui.state, "state"));
  const scan = createWalkScan({
    model, listen, choose,
    ask: (place) => set({ query: place }),
    wants: () => again(),
  });
  const steps = WALK_STEPS.map((step, i) => {
    const [gist, body] = [element("span", { class: "vmx-walk-gist" }), element("div", { class: "vmx-walk-body" })];
    const summary = element("summary", {}, element("b", {}, `${i + 1} `), element("span", {}, step.title), gist);
    const inside = i === WALK_SCAN ? [body, scan.node] : [body];
    const node = element("details", { class: "vmx-walk-step", "data-step": i + 1 }, summary, ...inside);
    node.open = i === WALK_SCAN;
    listen(node, "toggle", () => {
      drawStep(i);
      if (i === WALK_SCAN && node.open) again();
    });
    return { step, node, gist, body };
  });
  const root = element("section", { class: "vmx-walk", "aria-label": "how it works" },
    element("h2", {}, "How it works: seven steps from pixels to logits"), what, tools, status, ...steps.map(({ node }) => node));
  el.append(root);

  let own = null; // the channel and the state that the reader chose, or null
  let [numbers, scanned, newest, timer, visible, place] = ["", "", 0, null, false, ""];
  let found = null; // the numbers that are shown
  let [side, shownSides] = [0, 0];
  const before = { channel: model.get("channel"), state: model.get("state_number") };

  // Sets traits of the explorer.
  function set(traits) {
    for (const [name, value] of Object.entries(traits)) model.set(name, value);
    model.save_changes();
  }

  function choose(channel, state) {
    own = { channel, state };
    Object.assign(before, own);
    set({ channel, state_number: state });
    again();
  }

  // What the walk is about: the asked patch, or the middle one of the frame shown.
  function subject() {
    const directions = model.get("directions");
    const query = model.get("query");
    const [, rows, cols] = model.get("grid");
    const frame = model.get("token_frames")[model.get("frame")];
    const token = query.length ? [...query] : [frame, Math.floor(rows / 2), Math.floor(cols / 2)];
    const direction = directions.includes(model.get("direction")) ? model.get("direction") : directions[0];
    const sides = model.get("sides").length;
    if (sides !== shownSides) [shownSides, side] = [sides, sides - 1]; // the changed model, where there is one
    return { side, layer: model.get("layer"), direction, token, asked: query.length > 0 };
  }

  function again() {
    clearTimeout(timer);
    timer = setTimeout(() => refresh(), WALK_SETTLE);
  }

  // Asks for what is not here yet; of answers that were overtaken none is shown.
  async function refresh() {
    if (!visible || ended.signal.aborted) return;
    fill();
    newest += 1;
    const mine = newest;
    const { asked, ...about } = subject();
    const [channel, state] = own ? [own.channel, own.state] : [null, null];
    const revision = model.get("revision");
    const question = { walk: "numbers", ...about, channel, state };
    const whole = { walk: "scan", side: about.side, layer: about.layer, direction: about.direction, channels: scan.channelsWanted() };
    const [key, wholeKey] = [question, whole].map((each) => JSON.stringify([revision, each]));
    try {
      if (key !== numbers) {
        const answer = await ask(question);
        if (mine !== newest) return;
        [numbers, found] = [key, answer];
      }
      show(asked);
      if (steps[WALK_SCAN].node.open && wholeKey !== scanned) {
        const answer = await ask(whole);
        if (mine !== newest) return;
        scanned = wholeKey;
        scan.show(answer);
      }
      const at = found.place;
      const where = `${at.direction} ${at.token}`;
      scan.follow(at.step, at.channel, at.state, where !== place && (asked || !scan.playing));
      place = where;
      status.textContent = "";
      root.dataset.ready = [...at.token, at.layer, at.direction, at.channel, at.state].join();
    } catch (error) {
      if (mine === newest) status.textContent = error.message;
    }
  }

  function show(asked) {
    const { token, layer, direction, step, steps: count } = found.place;
    const [frame, row, col] = token;
    const which = asked ? "The selected patch" : "The patch in the middle of the frame shown (click one in the explorer to select another)";
    what.textContent = `${which}: token frame ${frame}, row ${row}, col ${col}, which the ${terms.directions[direction] ?? direction} ` +
      `scan of layer ${layer} reads as token ${step + 1} of ${count}.`;
    ui.channel.value = found.place.channel;
    ui.state.value = found.place.state;
    steps.forEach(({ step: each, gist }, i) => {
      gist.textContent = each.gist(found);
      drawStep(i);
    });
  }

  function drawStep(i) {
    const { step, node, body } = steps[i];
    if (found && node.open) body.replaceChildren(...walkStepNodes(step, found, model));
  }

  // The menus, as the explorer's data and traits are now.
  function fill() {
    const { side: shown, layer, direction } = subject();
    const titles = model.get("sides").map((each, i) => `${terms.sides[i]}: ${each.title}`);
    sideMenu.hidden = titles.length < 2;
    const lists = [
      [ui.side, titles.map((title, i) => [i, title]), shown],
      [ui.layer, model.get("layers").map((each) => [each, each]), layer],
      [ui.direction, model.get("directions").map((each) => [each, terms.directions[each] ?? each]), direction],
    ];
    for (const [list, options, value] of lists) {
      if (list.dataset.options !== JSON.stringify(options)) {
        list.replaceChildren(...options.map(([each, words]) => element("option", { value: each }, words)));
        list.dataset.options = JSON.stringify(options);
      }
      list.value = value;
    }
    const [channels, states] = model.get("state_shape");
    [ui.channel.max, ui.state.max] = [channels - 1, states - 1];
  }

  const inside = (input) => Math.max(0, Math.min(Number(input.max), Math.round(Number(input.value))));
  listen(ui.side, "change", () => {
    side = Number(ui.side.value);
    again();
  });
  listen(ui.layer, "change", () => set({ layer: Number(ui.layer.value) }));
  listen(ui.direction, "change", () => set({ direction: ui.direction.value }));
  for (const input of [ui.channel, ui.state]) listen(input, "change", () => choose(inside(ui.channel), inside(ui.state)));

  function follow() {
    const now = { channel: model.get("channel"), state: model.get("state_number") };
    if (now.channel !== before.channel || now.state !== before.state) {
      own = now;
      Object.assign(before, now);
    }
    again();
  }
  for (const name of WALK_FOLLOWED) model.on(`change:${name}`, follow);
  const seen = new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
    if (visible) again();
  });
  seen.observe(root);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  listen(dark, "change", () => scan.draw());

  return {
    close() {
      clearTimeout(timer);
      for (const name of WALK_FOLLOWED) model.off(`change:${name}`, follow);
      ended.abort();
      seen.disconnect();
      scan.close();
      root.remove();
    },
  };
}
