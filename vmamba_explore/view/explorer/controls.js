// Buttons, menus and keys; playing.

import { element, labeled, menu } from "../widgets/drawing.js";
import { keysOf, step } from "./moves.js";
import { createSaving } from "./saving.js";
import { terms } from "./terms.js";

const SPEEDS = [0.1, 0.25, 0.5, 1];

export function createControls(view) {
  const { data } = view;
  const last = data.tokenFrames.length - 1;
  const several = data.directions.length > 1;
  const directions = [
    ...data.directions.map((name) => [name, name]),
    ...(several ? Object.entries(terms.directions) : []),
  ];
  const quantities = [...[...data.quantities.keys()].map((name) => [name, name]), ["", "none"]];
  const ui = {
    play: element("button", { type: "button", "aria-label": "play" }, "▶"),
    frame: element("input", { type: "range", min: 0, max: last, step: 1, "aria-label": "frame" }),
    speed: menu(SPEEDS.map((speed) => [speed, `${speed} ×`]), { "aria-label": "speed" }),
    quantity: menu(quantities),
    layer: menu(data.layers.map((layer) => [layer, layer])),
    direction: menu(directions),
    opacity: element("input", { type: "range", min: 0, max: 1, step: 0.05 }),
    path: element("input", { type: "checkbox" }),
    scale: menu([["layer", "this layer's"], ["all", "all layers'"]]),
    readout: element("button", { type: "button", "aria-label": "ask the read-out" }, "ask the read-out"),
  };
  const saving = createSaving(view);
  const ofMaps = [labeled("quantity", ui.quantity), labeled("opacity", ui.opacity)];
  const ofScans = [
    labeled("layer", ui.layer), labeled("direction", ui.direction),
    labeled("scale", ui.scale, "colors span"), labeled("scan path", ui.path), ui.readout,
  ];
  for (const each of ofMaps) each.hidden = data.quantities.size === 0;
  for (const each of ofScans) each.hidden = !view.scanned;
  const node = element("div", { class: "vmx-controls" },
    element("div", { class: "vmx-row" }, ui.play, ui.frame, ui.speed),
    element("div", { class: "vmx-row vmx-menus" },
      ...ofMaps, ...ofScans, ...saving.nodes));

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
    quantity: quantities.map(([value]) => value),
  }, toggle);

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return; // the page's
    event.stopPropagation(); // the notebook has its own use for plain keys
    const { tagName } = event.target;
    if (tagName === "SELECT" || event.target === ui.opacity) return; // they use keys themselves
    if (event.key === " " && (tagName === "BUTTON" || event.target === ui.path)) return;
    const act = (event.shiftKey ? keys.shift : keys.alone)[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  view.listen(view.root, "keydown", key);
  view.listen(ui.play, "click", toggle);
  for (const name of ["frame", "speed", "layer", "opacity"]) {
    view.listen(ui[name], "input", () => view.set(name, Number(ui[name].value)));
  }
  for (const name of ["quantity", "direction", "scale"]) {
    view.listen(ui[name], "input", () => view.set(name, ui[name].value));
  }
  view.listen(ui.path, "change", () => view.set("path", ui.path.checked));
  view.listen(ui.readout, "click", () => view.set("query", []));

  function showSpeed() {
    const speed = view.get("speed");
    const known = [...ui.speed.options].some(({ value }) => Number(value) === speed);
    if (!known) ui.speed.append(element("option", { value: speed }, `${speed} ×`));
    ui.speed.value = speed;
    [started, done] = [0, 0];
  }

  return {
    nodes: [node],
    update(changed) {
      if (changed.has("speed")) showSpeed();
      if (view.touched(changed, "frame")) {
        const frame = view.get("frame");
        ui.frame.value = frame;
        ui.frame.setAttribute("aria-valuetext", `frame ${frame}, ${view.seconds(frame)}`);
      }
      if (changed.size === 1 && changed.has("frame")) return;
      const menus = ["quantity", "layer", "direction", "opacity", "scale"];
      for (const name of menus) ui[name].value = view.get(name);
      ui.path.checked = view.get("path");
      ui.opacity.disabled = ui.scale.disabled = view.quantity === null;
      ui.layer.disabled = data.layers.length === 0;
      ui.readout.disabled = view.get("query").length === 0;
      ui.play.textContent = view.playing ? "⏸" : "▶";
      ui.play.setAttribute("aria-label", view.playing ? "pause" : "play");
    },
    close() {
      cancelAnimationFrame(request);
    },
  };
}
