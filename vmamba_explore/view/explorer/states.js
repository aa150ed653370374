// One hidden state as a map over the frames: which one, those that stand out, its course in time.

import { asBytes, element, labeled, menu, short } from "../widgets/drawing.js";
import { Quantity } from "./data.js";
import { terms } from "./terms.js";
import { PATIENCE } from "./view.js";

const SETTLED = 120; // ms a question must stay before it is asked
const STATES_KEPT = 64; // answers
const STATE_ROW = 84; // CSS pixels
const BUSY =
  "No kernel answers: this is a saved notebook, or its kernel is busy or gone. " +
  "Run the cell again to look at single states.";
const NO_STATES =
  "There is no model to ask here, so single states cannot be shown. " +
  "Run explore(...) in a notebook to look at them.";

// Asks one question at a time; of those that wait only the newest is asked.
export class Newest {
  constructor(requests, late) {
    Object.assign(this, { requests, late, answers: new Map(), waiting: null, busy: false });
  }

  // The answer that is here already.
  known(question) {
    return this.answers.get(JSON.stringify(question));
  }

  // Calls `done` with the answer or the error; never for a question that a newer one replaced.
  async ask(question, done) {
    this.waiting = { question, done };
    if (this.busy) return;
    this.busy = true;
    while (this.waiting) {
      const next = this.waiting;
      this.waiting = null;
      const late = () => this.waiting ?? next.done(null, this.late); // it may still answer
      try {
        const answer = await this.requests.ask(next.question, PATIENCE, late);
        if (this.answers.size >= STATES_KEPT) this.answers.delete(this.answers.keys().next().value);
        this.answers.set(JSON.stringify(next.question), answer);
        if (!this.waiting) next.done(answer, "");
      } catch (error) {
        if (!this.waiting) next.done(null, error.message);
      }
    }
    this.busy = false;
  }
}

export function createStates(view) {
  const { data, model } = view;
  const shape = view.get("state_shape") ?? [];
  if (!shape.length) return { nodes: [], row: () => null, update() {} };
  const number = (max, name) =>
    element("input", { type: "number", min: 0, max, step: 1, "aria-label": name, title: `Which ${name}` });
  const ui = {
    channel: number(shape[0] - 1, "channel of the state"),
    state: number(shape[1] - 1, "number of the state"),
    choices: menu([["", "…"]], { title: "States that stand out in this layer" }),
  };
  const node = element("div", { class: "vmx-row vmx-menus vmx-states" },
    labeled("channel of the state", ui.channel, `channel (0–${shape[0] - 1})`),
    labeled("number of the state", ui.state, `state (0–${shape[1] - 1})`),
    labeled("states that stand out", ui.choices, "stands out"));
  const [maps, choices] = [1, 2].map(() => new Newest(view.requests, model.late ?? BUSY));
  let timer = null;
  let untouched = view.get("channel") === 0 && view.get("state_number") === 0; // then we choose

  const shown = () => view.get("quantity") === terms.one_state;
  const alive = () => data.sides.every((side) => side.states);
  const place = () => [view.get("channel"), view.get("state_number")];
  const question = () => ({ state: place(), layer: view.get("layer") });
  const standing = () =>
    ({ choices: true, side: 0, layer: view.get("layer"), token: [...view.get("query")] });

  // A map of the right shape without values, while the kernel works.
  function blank() {
    const size = [1, data.directions.length, data.frames, data.rows, data.cols];
    const levels = new Uint8Array(size.reduce((a, b) => a * b)).fill(terms.missing);
    const description = {
      name: terms.one_state, label: terms.one_state, unit: "", about: "", log: false, signed: true,
      shape: size, ranges: [[-1, 1]], differenceRanges: [[-1, 1]], pending: true,
    };
    const sides = [...data.sides.keys(), terms.difference];
    return quantityOf(description, Object.fromEntries(sides.map((side) => [side, levels])));
  }

  const quantityOf = (description, levels) =>
    new Quantity(description, levels, data.directions, [view.get("layer")]);

  function unpacked({ map, buffers }) {
    const levels = asBytes(buffers[0]);
    const size = map.shape.reduce((a, b) => a * b);
    const sides = [...data.sides.keys(), ...(data.sides.length > 1 ? [terms.difference] : [])];
    return quantityOf(map, Object.fromEntries(
      sides.map((side, i) => [side, levels.subarray(i * size, (i + 1) * size)])));
  }

  function put(quantity, words) {
    data.quantities.set(terms.one_state, quantity);
    view.say("state", words);
    view.touch("state map");
  }

  function pursue() {
    const asked = question();
    const same = () => shown() && JSON.stringify(asked) === JSON.stringify(question());
    const show = (answer, error) => same() && put(answer ? unpacked(answer) : blank(), error);
    if (!untouched) maps.ask(asked, show);
    choices.ask(standing(), (answer, error) => (answer ? offer(answer.choices) : view.say("state", error)));
  }

  function offer(found) {
    if (JSON.stringify(standing()) === JSON.stringify(ui.offered)) return;
    ui.offered = standing();
    const first = element("option", { value: "" }, "choose one of these …");
    ui.choices.replaceChildren(first, ...found.map((each, i) => {
      const value = `${short(each.value)}${each.unit && ` ${each.unit}`}`;
      const words = `${each.direction}: ${each.words}, ${value} (channel ${each.channel}, state ${each.state})`;
      return element("option", { value: i }, words);
    }));
    ui.found = found;
    if (untouched && shown()) {
      const most = Math.max(...found.map(({ unit, value }) => (unit === "logits" ? Math.abs(value) : -1)));
      choose(found.find(({ unit, value }) => unit === "logits" && Math.abs(value) === most) ?? found[0]);
    }
  }

  function choose({ channel, state }) {
    untouched = false;
    model.set("channel", channel);
    model.set("state_number", state);
    model.save_changes();
  }

  function ask() {
    clearTimeout(timer);
    const known = maps.known(question());
    if (known) put(unpacked(known), "");
    else put(blank(), alive() ? "asking the model for this state …" : NO_STATES);
    if (!alive()) return;
    if (known && choices.known(standing())) offer(choices.known(standing()).choices);
    else timer = setTimeout(pursue, SETTLED);
  }

  // Its course in time, for the timeline: the mean over patches, and dotted at the asked patch.
  function row(middle) {
    if (!shown() || !view.quantity || view.quantity.pending) return null;
    const { quantity } = view;
    const [, row, col] = view.get("query");
    const lines = data.sides.flatMap((_, side) => data.directions.flatMap((direction, i) => {
      const look = { color: data.colors[direction], dashed: side > 0 };
      const values = [...quantity.means(side).subarray(i * data.frames, (i + 1) * data.frames)];
      const mean = { ...look, values, name: side ? "" : direction };
      if (row === undefined) return [mean];
      const there = values.map((_, frame) =>
        quantity.plane(side, direction, view.get("layer"), frame)[row * data.cols + col]);
      return [mean, { ...look, values: there, name: "", dotted: true }];
    }));
    const asked = row === undefined ? "" : `; dotted: at row ${row}, col ${col}`;
    const heading = `${quantity.label}: mean over patches${asked}`;
    return { heading, lines, log: false, height: STATE_ROW, place: middle };
  }

  data.quantities.set(terms.one_state, blank());
  for (const [name, input] of [["channel", ui.channel], ["state_number", ui.state]]) {
    view.listen(input, "change", () => {
      untouched = false;
      const value = Math.min(Number(input.max), Math.max(0, Math.round(Number(input.value))));
      view.set(name, value);
      input.value = view.get(name);
    });
  }
  view.listen(ui.choices, "input", () => {
    if (ui.choices.value !== "") choose(ui.found[Number(ui.choices.value)]);
  });

  return {
    nodes: [node],
    row,
    update(changed) {
      if (view.touched(changed, "quantity")) node.hidden = !shown();
      if (!shown()) {
        if (changed.has("quantity")) view.say("state", "");
        return;
      }
      for (const input of [ui.channel, ui.state, ui.choices]) input.disabled = !alive();
      [ui.channel.value, ui.state.value] = place();
      const chosen = ui.found?.findIndex(({ channel, state }) => `${[channel, state]}` === `${place()}`);
      ui.choices.value = chosen >= 0 ? chosen : "";
      if (view.touched(changed, "quantity", "layer", "channel", "state_number", "query")) ask();
    },
    close() {
      clearTimeout(timer);
    },
  };
}
