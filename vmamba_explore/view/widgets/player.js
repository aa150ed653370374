// Draws the frames of a clip with one of several maps over them. All data arrives once, in the
// model's traits (see player.py); nothing here asks Python for more.

// Cuts the one stream of levels into maps and gives each its color table.
async function decodeMaps(model) {
  const [levels, tables] = [await inflate(asBytes(model.get("levels"))), asBytes(model.get("tables"))];
  let start = 0;
  return new Map(
    model.get("maps").map((map) => {
      const length = map.shape[0] * map.shape[1] * map.shape[2];
      const table = tables.subarray(map.signed ? 3 * LEVELS : 0).subarray(0, 3 * LEVELS);
      const entry = { ...map, table, levels: levels.subarray(start, start + length) };
      start += length;
      return [map.name, entry];
    }),
  );
}

function build(model) {
  const [height, width] = model.get("size");
  const last = model.get("offsets").length - 2;
  const ui = {
    canvas: element("canvas", { width, height, role: "img" }),
    play: element("button", { type: "button", "aria-label": "play" }, "▶"),
    scrub: element("input", { type: "range", min: 0, max: last, step: 1, "aria-label": "frame" }),
    speed: element("select", { class: "vmx-speed", "aria-label": "speed" }),
    time: element("div", { class: "vmx-time" }),
    overlay: element("select", { "aria-label": "overlay" }, element("option", { value: "" }, "none")),
    opacity: element("input", {
      type: "range", min: 0, max: 1, step: 0.05, class: "vmx-opacity", "aria-label": "overlay opacity",
    }),
    bar: element("canvas", { width: LEVELS, height: 1, "aria-hidden": "true" }),
    ends: element("div", { class: "vmx-ends" }),
    name: element("div", { class: "vmx-name" }),
  };
  if (Math.max(width, height) <= 128) ui.canvas.classList.add("vmx-exact");
  for (const speed of SPEEDS) ui.speed.append(element("option", { value: speed }, `${speed} ×`));
  ui.speed.value = "0.5";
  for (const { name } of model.get("maps")) ui.overlay.append(element("option", { value: name }, name));
  ui.legend = element("div", { class: "vmx-legend" }, ui.bar, ui.ends, ui.name);
  const controls = [
    element("div", { class: "vmx-row" }, ui.play, ui.scrub, ui.speed),
    ui.time,
  ];
  if (model.get("maps").length) {
    controls.push(
      element("div", { class: "vmx-row" },
        element("label", {}, "overlay", ui.overlay),
        element("label", {}, "opacity", ui.opacity)),
      ui.legend,
    );
  }
  ui.root = element(
    "div",
    { class: "vmx-player", tabindex: 0, role: "group", "aria-label": `clip player: ${model.get("source")}` },
    element("div", { class: "vmx-source" }, model.get("source")),
    ui.canvas,
    ...controls,
  );
  return ui;
}

async function render({ model, el }) {
  const ui = build(model);
  el.append(ui.root);
  const [pictures, maps] = await Promise.all([
    decodePictures(asBytes(model.get("frames")), model.get("offsets")),
    decodeMaps(model),
  ]);
  const [height, width] = model.get("size");
  const seconds = model.get("seconds");
  const context = ui.canvas.getContext("2d");
  let timer = null; // while playing
  let pointer = null; // where on the picture the mouse is, 0 to 1

  function draw() {
    const frame = model.get("frame");
    const map = maps.get(model.get("overlay"));
    context.globalAlpha = 1;
    context.drawImage(pictures[frame], 0, 0, width, height);
    let words = `frame ${frame} of 0–${pictures.length - 1} · ${seconds[frame].toFixed(2)} s`;
    if (map) {
      const [, rows, cols] = map.shape;
      const tokenFrame = map.tokenFrame[frame];
      const levels = map.levels.subarray(tokenFrame * rows * cols, (tokenFrame + 1) * rows * cols);
      context.globalCompositeOperation = "saturation"; // gray, so that all hue is the map's
      context.fillStyle = "gray";
      context.fillRect(0, 0, width, height);
      context.globalCompositeOperation = "source-over";
      context.globalAlpha = model.get("opacity");
      context.imageSmoothingEnabled = false;
      context.drawImage(colored(levels, map.table, rows, cols), 0, 0, width, height);
      words += ` · token frame ${tokenFrame}`;
      if (pointer) {
        const [row, col] = [Math.floor(pointer.y * rows), Math.floor(pointer.x * cols)];
        const level = levels[row * cols + col];
        const value = map.low + (level / (LEVELS - 1)) * (map.high - map.low);
        words += ` · row ${row}, col ${col}: ${level === MISSING ? "no value" : short(value)}`;
      }
    }
    ui.scrub.value = frame;
    ui.scrub.setAttribute("aria-valuetext", `frame ${frame}, ${seconds[frame].toFixed(2)} seconds`);
    ui.time.textContent = words;
    ui.canvas.setAttribute("aria-label", words + (map ? ` · overlay ${map.name}` : ""));
    ui.root.dataset.frame = frame;
  }

  function drawLegend() {
    const map = maps.get(model.get("overlay"));
    ui.overlay.value = map ? map.name : "";
    ui.opacity.value = model.get("opacity");
    ui.opacity.disabled = ui.legend.hidden = !map;
    ui.root.dataset.overlay = map ? map.name : "none";
    if (map) {
      const levels = Uint8Array.from({ length: LEVELS }, (_, i) => i);
      ui.bar.getContext("2d").drawImage(colored(levels, map.table, 1, LEVELS), 0, 0);
      const ends = map.signed ? [map.low, 0, map.high] : [map.low, map.high];
      ui.ends.replaceChildren(...ends.map((end) => element("span", {}, short(end))));
      ui.name.textContent = map.label;
    }
    draw();
  }

  function set(name, value) {
    model.set(name, value);
    if (timer === null) model.save_changes(); // while playing, Python hears only of the end
  }

  function step(by) {
    set("frame", (model.get("frame") + by + pictures.length) % pictures.length);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    ui.play.textContent = "▶";
    ui.play.setAttribute("aria-label", "play");
    model.save_changes();
  }

  function play() {
    clearInterval(timer);
    timer = setInterval(step, 1000 / ((model.get("fps") || 8) * ui.speed.value), 1);
    ui.play.textContent = "⏸";
    ui.play.setAttribute("aria-label", "pause");
  }

  function key(event) {
    const control = event.target.tagName;
    const keys = { ArrowLeft: -1, ArrowRight: 1 };
    event.stopPropagation(); // the notebook has its own use for keys
    if (control === "SELECT" || event.target === ui.opacity) return; // theirs
    if (event.key in keys) step(keys[event.key]);
    else if (event.key === " " && control !== "BUTTON") ui.play.click();
    else return;
    event.preventDefault();
  }

  function point(event) {
    const box = ui.canvas.getBoundingClientRect();
    const place = { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
    pointer = event.type === "pointermove" && Math.max(place.x, place.y) < 1 ? place : null;
    draw();
  }

  ui.root.addEventListener("keydown", key);
  ui.canvas.addEventListener("pointermove", point);
  ui.canvas.addEventListener("pointerleave", point);
  ui.play.addEventListener("click", () => (timer === null ? play() : stop()));
  ui.speed.addEventListener("change", () => timer !== null && play());
  ui.scrub.addEventListener("input", () => set("frame", Number(ui.scrub.value)));
  ui.overlay.addEventListener("change", () => set("overlay", ui.overlay.value));
  ui.opacity.addEventListener("input", () => set("opacity", Number(ui.opacity.value)));
  const changes = { frame: draw, overlay: drawLegend, opacity: drawLegend };
  for (const [name, redraw] of Object.entries(changes)) model.on(`change:${name}`, redraw);
  drawLegend();
  ui.root.dataset.ready = pictures.length;

  return () => {
    clearInterval(timer);
    for (const [name, redraw] of Object.entries(changes)) model.off(`change:${name}`, redraw);
    for (const picture of pictures) picture.close();
    ui.root.remove();
  };
}

export default { render };
