// The state of the view as text: in the address of a page, where it follows what is shown, and in
// the line of Python that shows it again. address.py writes and reads the same text.

import { terms } from "./terms.js";

const QUIET = 300; // ms without a change until the address is written: browsers limit how often

export const stateOf = (view) => Object.fromEntries(terms.state.map((name) => [name, view.get(name)]));

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// Values are JSON; text stands as it is, unless it could be taken for JSON.
export function stateText(state) {
  const asText = (value) => (typeof value === "string" && parsed(value) === value ? value : JSON.stringify(value));
  const pairs = new URLSearchParams(Object.entries(state).map(([name, value]) => [name, asText(value)]));
  const readable = { "%5B": "[", "%5D": "]", "%2C": ",", "%3A": ":" };
  return terms.address + pairs.toString().replace(/%(5B|5D|2C|3A)/g, (code) => readable[code]);
}

// The state in a fragment; null where it holds none.
export function stateIn(fragment) {
  const text = fragment.replace(/^#/, "");
  if (!text.startsWith(terms.address)) return null;
  const pairs = [...new URLSearchParams(text.slice(terms.address.length))];
  return Object.fromEntries(pairs.map(([name, value]) => [name, parsed(value)]));
}

export function stateInPython(value) {
  if (Array.isArray(value)) return `[${value.map(stateInPython).join(", ")}]`;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${stateInPython(each)}`).join(", ")}}`;
}

// By trait, what a value becomes in this view; undefined where it cannot be shown. As the validators
// of widget.py.
function validators(view) {
  const { data } = view;
  const oneOf = (...known) => (value) => (known.includes(value) ? value : undefined);
  const within = (low, high) => (value) =>
    typeof value === "number" && low <= value && value <= high ? value : undefined;
  const below = (count = 1) => (value) =>
    Number.isInteger(value) && 0 <= value && value < count ? value : undefined;
  const states = view.get("state_shape") ?? [];
  const several = data.directions.length > 1 ? [terms.both, terms.difference] : [];
  const grid = [data.frames, data.rows, data.cols];
  const last = data.tokenFrames.length - 1;
  return {
    frame: (value) => (Number.isInteger(value) ? Math.min(Math.max(value, 0), last) : undefined),
    quantity: oneOf(...data.quantities.keys(), ""),
    layer: oneOf(...(data.layers.length ? data.layers : [0])),
    direction: oneOf(...(data.directions.length ? [...data.directions, ...several] : [""])),
    query(value) {
      if (!Array.isArray(value)) return undefined;
      const inside = grid.every((size, i) => Number.isInteger(value[i]) && 0 <= value[i] && value[i] < size);
      return value.length === 0 || (value.length === 3 && inside) ? value : undefined;
    },
    opacity: within(0, 1),
    path: oneOf(true, false),
    scale: oneOf("layer", "all"),
    speed: within(0.05, 4),
    pixels: oneOf(...Object.values(terms.pixels)),
    channel: below(states[0]),
    state_number: below(states[1]),
  };
}

// The state as this view can show it; an error with a sentence where it cannot.
export function accepted(view, state) {
  const known = validators(view);
  const found = {};
  for (const [name, value] of Object.entries(state)) {
    found[name] = Object.hasOwn(known, name) ? known[name](value) : undefined;
    if (found[name] === undefined) {
      const words = `${name}=${JSON.stringify(value)}`.slice(0, 80);
      throw new Error(`The address asks for ${words}, which this view does not have, so it is ignored.`);
    }
  }
  return found;
}

export function createAddress(view) {
  if (!view.get("addressed")) return { nodes: [], update() {} };
  let timer = null;

  function follow() {
    view.say("address", "");
    if (["", "#"].includes(location.hash)) return;
    try {
      const state = stateIn(location.hash);
      if (state === null) throw new Error("The address holds no view behind its #, so that part is ignored.");
      for (const [name, value] of Object.entries(accepted(view, state))) view.set(name, value);
    } catch (error) {
      view.say("address", error.message);
    }
  }

  function write() {
    timer = null;
    const text = `#${stateText(stateOf(view))}`;
    if (text === written) return;
    history.replaceState(history.state, "", text);
    view.say("address", ""); // what was wrong with it stands there no more
    written = text;
  }

  follow();
  let written = `#${stateText(stateOf(view))}`;
  view.listen(window, "hashchange", follow);
  return {
    nodes: [],
    update(changed) {
      if (view.playing || !view.touched(changed, "playing", ...terms.state)) return;
      clearTimeout(timer);
      timer = setTimeout(write, QUIET);
    },
    close() {
      clearTimeout(timer);
    },
  };
}
