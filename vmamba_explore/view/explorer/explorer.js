// One linked view of a clip and all that was recorded of it: see widget.py for the traits, packing.py
// for the data and drawing.js for what this is built from. All parts show the model's traits; what
// changes one of them sets the trait, and every part draws what that touches in the next frame.

const TRAITS = ["frame", "quantity", "layer", "direction", "query", "opacity", "path", "scale", "speed"];
const FONT = "11px system-ui, sans-serif";

// What the parts share: the traits, the data, what is pointed at, and how to tell of a change.
class View {
  constructor(model, data, root, status) {
    Object.assign(this, { model, data, root, status, hover: null, playing: false, width: 0 });
    this.messages = new Map();
    this.changed = new Set();
    this.ended = new AbortController();
    this.hearers = [];
    this.request = null;
  }

  get(name) {
    return this.model.get(name);
  }

  // While playing, Python hears only of the end.
  set(name, value) {
    if (this.model.get(name) === value) return;
    this.model.set(name, value);
    if (!(this.playing && name === "frame")) this.model.save_changes();
  }

  get quantity() {
    return this.data.quantities.get(this.get("quantity")) ?? null;
  }

  get tokenFrame() {
    return this.data.tokenFrames[this.get("frame")];
  }

  seconds(frame) {
    return `${this.data.sides[0].seconds[frame].toFixed(2)} s`;
  }

  sides(withDifference) {
    if (this.data.sides.length === 1) return [0];
    return withDifference ? [0, 1, DIFFERENCE] : [0, 1];
  }

  // apart: both directions where their difference is shown.
  shownDirections(apart = false) {
    const direction = this.get("direction");
    return direction === BOTH || (apart && direction === DIFFERENCE) ? this.data.directions : [direction];
  }

  // The layer whose values the colors span; null for all.
  scaleLayer() {
    return this.get("scale") === "all" ? null : this.get("layer");
  }

  // The asked patch, where it is in the frame shown.
  queryHere() {
    const [frame, row, col] = this.get("query");
    return frame === this.tokenFrame ? { row, col } : null;
  }

  ink() {
    return getComputedStyle(this.root).color;
  }

  paper() {
    return getComputedStyle(this.root).backgroundColor;
  }

  // Says something in the status line; every topic has one message.
  say(topic, words) {
    this.messages.set(topic, words);
    const text = [...this.messages.values()].filter(Boolean).join(" · ");
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  touch(name) {
    this.changed.add(name);
    this.again();
  }

  again() {
    this.request ??= requestAnimationFrame(() => this.flush());
  }

  touched(changed, ...names) {
    return names.some((name) => changed.has(name));
  }

  flush() {
    this.request = null;
    if (!this.width) return; // hidden: its size will be told when it is not
    if (!this.root.clientWidth) return this.again(); // just hidden, not told yet
    const changed = this.changed;
    this.changed = new Set();
    for (const part of this.parts) part.update(changed);
    const { dataset } = this.root;
    for (const name of ["frame", "quantity", "layer", "direction"]) dataset[name] = this.get(name);
    dataset.query = this.get("query").join();
    dataset.ready = "1";
  }

  listen(target, type, handler) {
    target.addEventListener(type, handler, { signal: this.ended.signal });
  }

  // Listens to messages of the kernel.
  hear(handler) {
    this.hearers.push(handler);
    this.model.on("msg:custom", handler);
  }

  // Follows the traits, the size and the theme of the page; returns how to end that and all else.
  live() {
    const follow = TRAITS.map((name) => [`change:${name}`, () => this.touch(name)]);
    for (const [event, handler] of follow) this.model.on(event, handler);
    const sizes = new ResizeObserver(() => {
      const width = contentWidth(this.root);
      if (width === this.width) return;
      this.width = width;
      this.touch("size");
    });
    sizes.observe(this.root);
    const theme = () => this.touch("theme");
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", theme);
    const themes = new MutationObserver(theme);
    themes.observe(document.body, { attributes: true, attributeFilter: ["class", "data-jp-theme-name"] });
    return () => {
      for (const [event, handler] of follow) this.model.off(event, handler);
      for (const handler of this.hearers) this.model.off("msg:custom", handler);
      this.ended.abort();
      sizes.disconnect();
      themes.disconnect();
      dark.removeEventListener("change", theme);
      cancelAnimationFrame(this.request);
      for (const part of this.parts) part.close?.();
      this.data.close();
      this.root.remove();
    };
  }
}

function contentWidth(node) {
  const style = getComputedStyle(node);
  const padding = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  return Math.max(0, Math.floor(node.clientWidth - padding));
}

function heading(model) {
  const sides = model.get("sides");
  const names = sides.map(({ title }, i) => (sides.length > 1 ? `${"AB"[i]}: ${title}` : title));
  return element("div", { class: "vmx-source" }, `${names.join(" — ")} · model: ${model.get("model_name")}`);
}

async function render({ model, el }) {
  const said = { class: "vmx-status", role: "status", "aria-live": "polite" };
  const status = element("div", said, "unpacking the clip …");
  const titles = model.get("sides").map(({ title }) => title).join(" and ");
  const root = element("div", {
    class: "vmx-explorer", tabindex: 0, role: "group",
    "aria-label": `explorer: ${titles}`, "data-asking": "none",
  }, status);
  el.append(root);
  let data;
  try {
    data = await loadData(model);
  } catch (error) {
    status.textContent = `The explorer could not unpack its data (${error.message}). Run the cell again.`;
    return () => root.remove();
  }
  const view = new View(model, data, root, status);
  const [controls, stage, legend] = [createControls(view), createStage(view), createLegend(view)];
  const [classes, timeline] = [createClasses(view), createTimeline(view)];
  const [strip, query] = [createStrip(view), createQuery(view)];
  view.parts = [controls, stage, legend, classes, timeline, strip, query];
  root.replaceChildren(
    heading(model),
    ...controls.nodes,
    element("div", { class: "vmx-main" },
      element("div", { class: "vmx-stage" }, ...stage.nodes, status),
      element("div", { class: "vmx-aside" }, ...legend.nodes, ...classes.nodes)),
    ...timeline.nodes,
    ...strip.nodes,
    ...query.nodes,
  );
  view.say("loading", "");
  for (const name of TRAITS) view.touch(name);
  return view.live();
}

export default { render };
