// What the explorer's parts share: the traits, the data, what is pointed at, how to tell of a change.

import { grayed } from "../widgets/drawing.js";
import { Requests } from "../widgets/requests.js";
import { areasOf } from "./areas.js";
import { Films } from "./films.js";
import { terms } from "./terms.js";

export const PATIENCE = 10; // seconds until we say that nobody answers

// What stays when the view is made anew because its data were replaced.
export const keptBy = (model) => ({
  requests: new Requests(model),
  answers: new Map(), // of hidden attention, by question
  playing: false,
  late: null, // see late.js
  films: new Films(),
  strip: null, // of the whole file, see filmstrip.js
  moving: { words: "", id: null, at: null }, // where its window is put, and the run that goes there
  changing: { words: "", id: null }, // the run of changes.js: what to say of it, and how to cancel it
  brushing: false,
  brush: new Map(), // patches, [frame, row, col] by their words
});

export class View {
  constructor(model, data, root, status, kept = keptBy(model)) {
    Object.assign(this, { model, data, root, status, kept, hover: null, width: 0 });
    this.messages = new Map();
    this.changed = new Set();
    this.ended = new AbortController();
    this.requests = kept.requests;
    this.request = null;
  }

  get playing() {
    return this.kept.playing;
  }

  set playing(value) {
    this.kept.playing = value;
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

  // What is asked and read in order needs the steps of a scan.
  get scanned() {
    return this.data.directions.length > 0;
  }

  get path() {
    return this.scanned && this.get("path");
  }

  get tokenFrame() {
    return this.data.tokenFrames[this.get("frame")];
  }

  seconds(frame) {
    return `${this.data.sides[0].seconds[frame].toFixed(2)} s`;
  }

  // A clip frame on the one axis of time, token frames; where both are counted, in both.
  when(frame) {
    const clip = this.data.frames === this.data.tokenFrames.length ? "" : ` · clip frame ${frame}`;
    return `token frame ${this.data.tokenFrames[frame]}${clip}, ${this.seconds(frame)}`;
  }

  // What is where, and how wide; see areas.js.
  get areas() {
    return areasOf(this.width);
  }

  sides(withDifference) {
    if (this.data.sides.length === 1) return [0];
    return withDifference ? [0, 1, terms.difference] : [0, 1];
  }

  // apart: both directions where their difference is shown.
  shownDirections(apart = false) {
    const direction = this.get("direction");
    const every = direction === terms.both || (apart && direction === terms.difference);
    return every ? this.data.directions : [direction];
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

  // A frame of a side's clip: with all the pixels of its file, where they came, or as the model sees it.
  picture(side, frame, inGray) {
    const own = this.data.sides[side];
    const shown = (this.get("pixels") !== terms.pixels.model && this.kept.films.get(own.film)) || own;
    return inGray ? (shown.gray[frame] ??= grayed(shown.pictures[frame])) : shown.pictures[frame];
  }

  // Adds a patch to the brushed ones, or takes it out.
  brush(place, on = true) {
    const before = this.kept.brush.size;
    this.kept.brush[on ? "set" : "delete"](place.join(), place);
    if (this.kept.brush.size !== before) this.touch("brush");
  }

  // The brushed patches of the frame shown.
  brushedHere() {
    const here = [...this.kept.brush.values()].filter(([frame]) => frame === this.tokenFrame);
    return here.map(([, row, col]) => ({ row, col }));
  }

  ink() {
    return getComputedStyle(this.root).color;
  }

  paper() {
    return getComputedStyle(this.root).backgroundColor;
  }

  // "dark" where the page's ground is nearer to black than to white.
  get theme() {
    const [red, green, blue] = this.paper().match(/[\d.]+/g).map(Number);
    return red + green + blue < 1.5 * 255 ? "dark" : "light";
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
    if (this.ended.signal.aborted) return; // what was asked may end later than the view
    this.request ??= requestAnimationFrame(() => this.flush());
  }

  touched(changed, ...names) {
    return names.some((name) => changed.has(name));
  }

  flush() {
    this.request = null;
    if (!this.width) return; // hidden: its size will be told when it is not
    if (!this.root.clientWidth) return this.again(); // just hidden, not told yet
    this.arrange();
    const changed = this.changed;
    this.changed = new Set();
    for (const part of this.parts) part.update(changed);
    const { dataset } = this.root;
    for (const name of ["frame", "quantity", "layer", "direction"]) dataset[name] = this.get(name);
    dataset.query = this.get("query").join();
    dataset.revision = this.get("revision");
    dataset.ready = "1";
  }

  // Tells the style sheet what is where.
  arrange() {
    if (this.arranged === this.width) return;
    this.arranged = this.width;
    const { areas, root } = this;
    root.dataset.areas = areas.kind;
    for (const name of ["rail", "stage", "side"]) root.style.setProperty(`--${name}`, `${areas[name]}px`);
  }

  listen(target, type, handler) {
    target.addEventListener(type, handler, { signal: this.ended.signal });
  }

  // Follows the traits, the size and the theme of the page; returns how to end that and all else.
  live() {
    this.width = contentWidth(this.root);
    const follow = terms.state.map((name) => [`change:${name}`, () => this.touch(name)]);
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
      this.ended.abort();
      sizes.disconnect();
      themes.disconnect();
      dark.removeEventListener("change", theme);
      cancelAnimationFrame(this.request);
      for (const part of this.parts) part.close?.();
    };
  }
}

function contentWidth(node) {
  const style = getComputedStyle(node);
  const padding = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  return Math.max(0, Math.floor(node.clientWidth - padding));
}
