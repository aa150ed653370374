// Buttons, menus and keys; playing.

function labelled(words, control) {
  return element("label", {}, element("span", {}, words), control);
}

function menu(name, options) {
  const node = element("select", { "aria-label": name });
  for (const [value, words] of options) node.append(element("option", { value }, words));
  return node;
}

function createControls(view) {
  const { data } = view;
  const last = data.tokenFrames.length - 1;
  const several = data.directions.length > 1;
  const directions = [
    ...data.directions.map((name) => [name, name]),
    ...(several ? [[BOTH, "both"], [DIFFERENCE, "forward − backward"]] : []),
  ];
  const quantities = [...[...data.quantities.keys()].map((name) => [name, name]), ["", "none"]];
  const ui = {
    play: element("button", { type: "button", "aria-label": "play" }, "▶"),
    frame: element("input", { type: "range", min: 0, max: last, step: 1, "aria-label": "frame" }),
    speed: menu("speed", SPEEDS.map((speed) => [speed, `${speed} ×`])),
    quantity: menu("quantity", quantities),
    layer: menu("layer", data.layers.map((layer) => [layer, layer])),
    direction: menu("direction", directions),
    opacity: element("input", { type: "range", min: 0, max: 1, step: 0.05, "aria-label": "opacity" }),
    path: element("input", { type: "checkbox", "aria-label": "scan path" }),
    scale: menu("scale", [["layer", "this layer's"], ["all", "all layers'"]]),
    readout: element("button", { type: "button", "aria-label": "ask the read-out" }, "ask the read-out"),
  };
  const saving = createSaving(view);
  const node = element("div", { class: "vmx-controls" },
    element("div", { class: "vmx-row" }, ui.play, ui.frame, ui.speed),
    element("div", { class: "vmx-row vmx-menus" },
      labelled("quantity", ui.quantity), labelled("layer", ui.layer), labelled("direction", ui.direction),
      labelled("colors span", ui.scale), labelled("opacity", ui.opacity), labelled("scan path", ui.path),
      ui.readout, ...saving.nodes));

  let request = null; // the next tick while playing
  let [started, done] = [0, 0];

  const rate = () => ((data.sides[0].fps || 8) * view.get("speed")) / 1000; // frames per ms

  function tick(now) {
    started ||= now;
    const due = Math.floor((now - started) * rate());
    if (due > done) step(due - done); // a slow page leaves frames out and keeps the time
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

  function step(by) {
    view.set("frame", (((view.get("frame") + by) % (last + 1)) + last + 1) % (last + 1));
  }

  function next(name, values, by = 1, around = true) {
    const at = values.indexOf(view.get(name)) + by;
    if (!around && (at < 0 || at >= values.length)) return;
    if (values.length) view.set(name, values.at(at % values.length));
  }

  const toggle = () => (view.playing ? stop() : play());
  const keys = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    Home: () => view.set("frame", 0),
    End: () => view.set("frame", last),
    ArrowUp: () => next("layer", data.layers, 1, false),
    ArrowDown: () => next("layer", data.layers, -1, false),
    " ": toggle,
    d: () => next("direction", directions.map(([value]) => value)),
    q: () => next("quantity", quantities.map(([value]) => value)),
    p: () => view.set("path", !view.get("path")),
    Escape: () => view.set("query", []),
  };

  // The asked patch, moved by a row or a column; the first one is in the middle of this frame.
  function ask(rows, cols) {
    const within = (place, size) => Math.min(Math.max(place, 0), size - 1);
    const [, row = data.rows >> 1, col = data.cols >> 1] = view.get("query");
    const first = view.get("query").length === 0;
    const place = first ? [row, col] : [within(row + rows, data.rows), within(col + cols, data.cols)];
    view.set("query", [view.tokenFrame, ...place]);
  }

  const asking = {
    ArrowLeft: () => ask(0, -1),
    ArrowRight: () => ask(0, 1),
    ArrowUp: () => ask(-1, 0),
    ArrowDown: () => ask(1, 0),
  };

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return; // the page's
    event.stopPropagation(); // the notebook has its own use for plain keys
    const { tagName } = event.target;
    if (tagName === "SELECT" || event.target === ui.opacity) return; // they use keys themselves
    if (event.key === " " && (tagName === "BUTTON" || event.target === ui.path)) return;
    const act = (event.shiftKey ? asking : keys)[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  view.listen(view.root, "keydown", key);
  view.listen(ui.play, "click", toggle);
  view.listen(ui.frame, "input", () => view.set("frame", Number(ui.frame.value)));
  view.listen(ui.speed, "change", () => view.set("speed", Number(ui.speed.value)));
  for (const name of ["quantity", "direction", "scale"]) {
    view.listen(ui[name], "change", () => view.set(name, ui[name].value));
  }
  view.listen(ui.layer, "change", () => view.set("layer", Number(ui.layer.value)));
  view.listen(ui.opacity, "input", () => view.set("opacity", Number(ui.opacity.value)));
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
      saving.close();
    },
  };
}
