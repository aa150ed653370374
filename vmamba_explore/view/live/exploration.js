// One clip through the model in the worker, as the model is or changed: the run, and all numbers that the
// explorer shows. In Python app/gather.py does this.

import { className, explainedName } from "./asked.js";
import { editsOf, NO_EDITS, recordPast } from "./edits.js";
import { softmax } from "./ops.js";

const MOST_CLASSES = 5;

// Frames (num_frames, height, width, 3) in another order.
export function reordered(frames, order) {
  const size = frames.length / order.length;
  const found = new Uint8Array(frames.length);
  order.forEach((from, to) => {
    found.set(frames.subarray(from * size, (from + 1) * size), to * size);
  });
  return found;
}

// The order in which a control shows the frames: frozen, reversed or shuffled.
const controlOrder = (about, kind) => about.orders[Object.keys(about.descriptions).indexOf(kind)];

// A clip as a control shows it to the model. What decides is then not known.
export function controlClip(clip, kind, about) {
  const words = kind === "reversed" ? "backwards" : about.descriptions[kind];
  return {
    ...clip, frames: reordered(clip.frames, controlOrder(about, kind)), source: `${clip.source}, ${words}`,
    title: "", repeated: 0, deciding: [], film: "", encoded: null,
  };
}

// The report of one part of several that are told as one.
export const partOf = (report, index, count) => (words, share) => report(words, (index + share) / count);

export class LiveExploration {
  // model: { network, about, numbers }, see worker.js; given: `names` of the maps, `layers`, and what is
  // known or wanted: `target` [class, the class subtracted or null], `changes` of the model, `name`;
  // of a clip that Python explored, `known` and what it found.
  constructor(model, clip, given) {
    Object.assign(this, model, {
      clip, changes: [], name: "", target: null, run: null, begun: false, missing: true, known: false,
      maps: {}, classes: [], explained: "", curves: [], controls: null, headline: null, camera: null, lens: null,
    }, given);
  }

  // What the analyses are asked, for some of the maps.
  question(names) {
    const [target, minus] = this.target;
    const { about, layers } = this;
    return { target, minus, layers, names, classNames: about.class_names, model: about, edited: this.changes.length > 0 };
  }

  // The run, made once.
  async ran(report) {
    if (this.run) return this.run;
    const { network, clip, changes } = this;
    const tokens = network.embed(clip.frames);
    let edits = NO_EDITS;
    if (changes.length) {
      const swaps = changes.some(({ kind }) => kind === "swap");
      const backwards = () => network.embed(reordered(clip.frames, controlOrder(this.about, "reversed")));
      edits = editsOf(network, changes, swaps ? await recordPast(network, backwards(), report) : null);
    }
    const run = await network.begin(tokens, edits, report);
    if (!run.logits.every(Number.isFinite)) {
      throw new Error("The model's logits are not finite, so there is nothing to show of this run.");
    }
    Object.assign(this, { tokens, run });
    return run;
  }

  // The run, and the maps that are shown first; the others come with `complete`.
  async begin(first, report) {
    const run = await this.ran(partOf(report, 0, 2));
    const shares = softmax(run.logits);
    const ranked = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
    this.target ??= [ranked[0], null];
    const some = this.names.filter((name) => first.includes(name));
    const names = some.length ? some : this.names.slice(0, 1);
    const { network, numbers } = this;
    let found = await numbers.firstNumbers(network, run, this.question(names), partOf(report, 1, 2));
    if (!Object.keys(found.maps).length) { // a change leaves nothing of what was asked for first
      const left = this.names.filter((name) => !names.includes(name)).slice(0, 1);
      found = await numbers.firstNumbers(network, run, this.question(left), partOf(report, 1, 2));
    }
    if (!Object.keys(found.maps).length) {
      throw new Error("explore: contributions are all that is left of what quantities asks for, and with this edit " +
        "they do not sum to the logit; add another quantity, such as 'delta'.");
    }
    const classNames = this.about.class_names;
    Object.assign(this, {
      maps: found.maps,
      headline: this.headline ?? found.headline ?? null,
      classes: ranked.slice(0, MOST_CLASSES).map((number) => [className(classNames, number), shares[number]]),
      explained: explainedName(classNames, this.target),
      begun: true,
      missing: true,
    });
    return this;
  }

  // The other maps, and evidence and controls where Python has not found them.
  async complete(report) {
    const { network, numbers, tokens, clip, run } = this;
    const question = this.question(this.names.filter((name) => !(name in this.maps)));
    const found = this.known
      ? await numbers.firstNumbers(network, run, question, report)
      : await numbers.laterNumbers(network, tokens, clip.frames, run, question, report);
    const all = { ...this.maps, ...found.maps };
    const { curves, controls } = this.known ? this : found;
    Object.assign(this, {
      maps: Object.fromEntries(this.names.filter((name) => name in all).map((name) => [name, all[name]])),
      curves,
      controls,
      headline: this.headline ?? found.headline ?? null,
      missing: false,
    });
  }
}
