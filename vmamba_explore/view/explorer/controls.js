// Buttons, menus and keys; playing.

import { element, labeled, menu } from "../widgets/drawing.js";
import { keysOf, step } from "./moves.js";
import { terms } from "./terms.js";

const SPEEDS = [0.1, 0.25, 0.5, 1];

// help: shows the list of all keys.
export function createControls(view, help) {
  const { data } = view;
  const last = data.tokenFrames.length - 1;
  const several = data.directions.length > 1;
  const directions = [
    ...data.directions.map((name) => [name, name]),
    ...(several ? Object.entries(terms.directions) : []),
  ];
  const needsModel = (name) => name === terms.one_state && !data.sides.every(({ states }) => states);
  const quantities = [...[...data.quantities.keys()].map((name) => [name, name]), ["", "none"]];
  const ui = {
    play: element("button", { type: "button", "aria-label": "play", title: "Play or pause (Space)" }, "▶"),
    frame: element("input", {
      type: "range", min: 0, max: last, step: 1, "aria-label": "frame", title: "The clip frame shown (← →)",
    }),
    speed: menu(SPEEDS.map((speed) => [speed, `${speed} ×`]), { "aria-label": "speed", title: "How fast it plays" }),
    quantity: menu(
      quantities.map(([name, words]) => [name, needsModel(name) ? `${words} (needs a kernel)` : words]),
      { title: "The recorded quantity that the maps show (q)" }),
    layer: menu(data.layers.map((layer) => [layer, layer]), { title: "The block of the model (↑ ↓)" }),
    direction: menu(directions, { title: "The scan direction, both beside each other, or their difference (d)" }),
  };
  const quantity = labeled("quantity", ui.quantity);
  const ofScans = [labeled("layer", ui.layer), labeled("direction", ui.direction)];
  for (const option of ui.quantity.options) option.disabled = needsModel(option.value);
  quantity.hidden = data.quantities.size === 0;
  for (const each of ofScans) each.hidden = !view.scanned;
  const node = element("div", { class: "vmx-controls vmx-row vmx-menus vmx-tool" },
    ui.play, ui.frame, ui.speed, quantity, ...ofScans);

  let request = null; // the next tick while playing
  let [started, done] = [0, 0];

  const rate = () => ((data.sides[0].fps || 8) * view.get("speed")) / 1000; // frames per ms

  function tick(now) {
    started ||= now;
    const due = Math.floor((now - started) * rate());
    if (due > done) step(view, due - done); // a slow page leaves frames out and keeps the time
    done = due;
    request = requestAnimationFrame(tick);
  }

  function play() {
    [started, done, view.playing] = [0, 0, true];
    request = requestAnimationFrame(tick);
    view.touch("playing");
  }

  function stop() {
    cancelAnimationFrame(request);
    view.playing = false;
    view.model.save_changes(); // only now Python hears of it
    view.touch("playing");
  }

  const toggle = () => (view.playing ? stop() : play());
  const keys = keysOf(view, {
    direction: directions.map(([value]) => value),
    quantity: quantities.map(([value]) => value).filter((name) => !needsModel(name)),
  }, toggle, help);

  // Whether a control uses a key itself, so that the view must not.
  function takes({ tagName, type }, key) {
    if (tagName === "SELECT" || tagName === "TEXTAREA") return true;
    if (tagName === "INPUT" && type !== "checkbox") return true;
    return key === " " && (tagName === "BUTTON" || tagName === "INPUT" || tagName === "SUMMARY");
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return; // the page's
    event.stopPropagation(); // the notebook has its own use for plain keys
    const { target } = event;
    if (target !== ui.frame && takes(target, event.key)) return;
    const ofTab = !event.shiftKey && /^(Arrow|Home|End)/.test(event.key);
    if (ofTab && target.getAttribute("role") === "tab") return; // see panels.js
    const act = (event.shiftKey ? keys.shift : keys.alone)[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  view.listen(view.root, "keydown", key);
  view.listen(ui.play, "click", toggle);
  for (const name of ["frame", "speed", "layer"]) {
    view.listen(ui[name], "input", () => view.set(name, Number(ui[name].value)));
  }
  for (const name of ["quantity", "direction"]) {
    view.listen(ui[name], "input", () => view.set(name, ui[name].value));
  }

  function showSpeed() {
    const speed = view.get("speed");
    const known = [...ui.speed.options].some(({ value }) => Number(value) === speed);
    if (!known) ui.speed.append(element("option", { value: speed }, `${speed} ×`));
    ui.speed.value = speed;
    [started, done] = [0, 0];
  }

  if (view.playing) play(); // it did when the data were replaced

  return {
    nodes: [node],
    update(changed) {
      if (changed.has("speed")) showSpeed();
      if (view.touched(changed, "frame")) {
        const frame = view.get("frame");
        ui.frame.value = frame;
        ui.frame.setAttribute("aria-valuetext", view.when(frame));
      }
      if (changed.size === 1 && changed.has("frame")) return;
      const menus = ["quantity", "layer", "direction"];
      for (const name of menus) ui[name].value = view.get(name);
      ui.layer.disabled = data.layers.length === 0;
      ui.play.textContent = view.playing ? "⏸" : "▶";
      ui.play.setAttribute("aria-label", view.playing ? "pause" : "play");
    },
    close() {
      cancelAnimationFrame(request);
    },
  };
}
