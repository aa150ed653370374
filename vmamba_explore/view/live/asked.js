// Changes of the model as a reader asks for them: checked, in words, and as the Python that does the same.
// The texts are those of app/changes.py.

import { inPython, oneLine, quotedText, shownValue } from "./words.js";

const PAST = "past = record_past(model, clip.tensor().flip(1)[None])  # of the clip played backwards";
const MOST = 64; // changes in a list
const TEXTS = ["direction", "shown"]; // fields whose value is text
const QUESTIONS_ONLY = ["explain", "show"]; // kinds that leave the model as it is

// The fields of each kind in their order; undefined: it is needed.
const FIELDS = {
  mute: { direction: null, layer: null },
  freeze: { patches: [], frame: null },
  reset: { frame: undefined, direction: null },
  swap: { frame: undefined, direction: null },
  explain: { target: undefined, minus: null },
  show: { shown: undefined },
};

export const className = (names, number) => (names ? names[number] : `class ${number}`);
export const explainedName = (names, numbers) =>
  numbers.filter((number) => number !== null).map((number) => oneLine(className(names, number))).join(" − ");

// The names of the clips that controls show, after the clip itself.
export const controlKinds = (about) => Object.keys(about.descriptions).slice(1);

export const editsAmong = (changes) => changes.filter(({ kind }) => !QUESTIONS_ONLY.includes(kind));

// A list of changes as a browser sends it, each with all its fields; an error is a sentence.
export function checkedChanges(given, about) {
  if (!Array.isArray(given) || given.length > MOST) {
    throw new Error(`Explorer: changes are ${shownValue(given)}, expected a list of at most ${MOST}.`);
  }
  const changes = given.map((each) => checkedChange(each, about));
  if (editsAmong(changes).length && changes.some(({ kind }) => kind === "show")) {
    throw new Error(
      "Explorer: a changed model is compared with the model as it is, on the same clip. " +
        "Undo the changes of the model to compare clips.",
    );
  }
  return changes;
}

function checkedChange(given, about) {
  const kind = given?.kind;
  if (typeof kind !== "string" || !Object.hasOwn(FIELDS, kind)) {
    const known = Object.keys(FIELDS).join(", ");
    throw new Error(`Explorer: a change is ${shownValue(given)}, expected one whose kind is one of ${known}.`);
  }
  const change = { kind };
  for (const [name, usual] of Object.entries(FIELDS[kind])) {
    const value = Object.hasOwn(given, name) ? given[name] : usual;
    if (name === "patches") {
      change.patches = checkedPatches(value);
      continue;
    }
    if (name === "shown" && value !== undefined && !controlKinds(about).includes(value)) {
      const known = controlKinds(about).join(", ");
      throw new Error(`Explorer: ${shownValue(value)} cannot be shown; expected one of ${known}.`);
    }
    const fits = TEXTS.includes(name) ? typeof value === "string" : Number.isInteger(value);
    if (value !== null && value !== undefined && !fits) {
      throw new Error(`Explorer: ${kind} has ${name} ${shownValue(value)}, which it cannot be.`);
    }
    if (usual === undefined && (value === undefined || value === null)) {
      throw new Error(`Explorer: ${kind} needs its ${name}.`);
    }
    change[name] = value;
  }
  return change;
}

function checkedPatches(value) {
  const places = Array.isArray(value) ? value : [value];
  const isPlace = (place) => Array.isArray(place) && place.length === 3 && place.every(Number.isInteger);
  if (!places.every(isPlace)) {
    throw new Error(`Explorer: patches are ${shownValue(value)}, expected a list of [frame, row, col].`);
  }
  return [...new Map(places.map((place) => [place.join(), [...place]])).values()];
}

// The class that some changes ask about and the one that is subtracted; an error where there is none.
export function askedTarget(changes, before, about) {
  const last = changes.findLast(({ kind }) => kind === "explain");
  if (!last) return before;
  const count = about.config.num_classes;
  for (const name of ["target", "minus"]) {
    const number = last[name];
    if (number !== null && !(0 <= number && number < count)) {
      throw new Error(`explore: ${name} is ${number}; this model's classes are 0 to ${count - 1}.`);
    }
  }
  if (last.target === last.minus) {
    throw new Error(
      `explore: target and minus are the same class (${className(about.class_names, last.target)}) for at ` +
        "least one clip, so there is nothing to explain. Leave minus out, or give another class.",
    );
  }
  return [last.target, last.minus];
}

const statesOf = ({ direction }) => (direction === null ? "states" : `${oneLine(direction)} states`);
const inDirection = ({ direction }) => (direction === null ? "" : `, direction=${inPython(direction)}`);

const WORDS = {
  mute({ direction, layer }) {
    if (direction === null) return `layer ${layer} muted`;
    return `${oneLine(direction)} scans${layer === null ? "" : ` of layer ${layer}`} muted`;
  },
  freeze({ patches, frame }) {
    if (frame !== null) return `token frame ${frame} kept out of the state`;
    if (patches.length !== 1) return `${patches.length} patches kept out of the state`;
    const [[at, row, col]] = patches;
    return `the patch at token frame ${at}, row ${row}, column ${col} kept out of the state`;
  },
  reset: (change) => `${statesOf(change)} reset before token frame ${change.frame}`,
  swap: (change) => `${statesOf(change)} before token frame ${change.frame} those of the clip played backwards`,
  explain: ({ target, minus }, about) => `explained: ${explainedName(about.class_names, [target, minus])}`,
  show: ({ shown }, about) => `shown: ${about.descriptions[shown]}`,
};

// What a change does, in words.
export const changeWords = (change, about) => WORDS[change.kind](change, about);

const CALLS = {
  mute({ direction, layer }) {
    if (direction === null) return `ablate(model, ${quotedText(`layers.${layer}.mixer.hook_out`)})`;
    return `mute(model, ${quotedText(direction)}${layer === null ? "" : `, ${layer}`})`;
  },
  freeze({ patches, frame }, grid) {
    if (frame !== null) return `freeze_state(model, ${frame})`;
    return `freeze_state(model, tokens=${inPython(patches.map((place) => grid.index(...place)))})`;
  },
  reset: (change) => `reset_state(model, ${change.frame}${inDirection(change)})`,
  swap: (change) => `swap_state(model, ${change.frame}, past${inDirection(change)})`,
};

// Python that shows the same, given `clip` and `model`; "" where nothing is changed.
export function changeCode(changes, [target, minus], about, grid) {
  if (!changes.length) return "";
  const named = (number) => inPython(about.own_names?.[number] ?? number);
  let asked = `target=${named(target)}${minus === null ? "" : `, minus=${named(minus)}`}`;
  const edits = editsAmong(changes);
  const calls = edits.map((each) => CALLS[each.kind](each, grid));
  const swaps = edits.some(({ kind }) => kind === "swap");
  const names = new Set([...calls.map((call) => call.split("(")[0]), ...(swaps ? ["record_past"] : [])]);
  const lines = ["from vmamba_explore import explore"];
  if (names.size) lines.push(`from vmamba_explore.interventions import ${[...names].sort().join(", ")}`);
  if (calls.length > 1) lines.unshift("from contextlib import contextmanager");
  if (swaps) lines.push("", PAST);
  if (calls.length > 1) {
    const nested = calls.map((call, i) => `${"    ".repeat(i + 1)}with ${call}:`);
    lines.push("", "@contextmanager", "def changed(model):", ...nested);
    lines.push(`${"    ".repeat(calls.length + 1)}yield`, "");
  }
  if (calls.length) asked += `, compare=${calls.length > 1 ? "changed" : `lambda model: ${calls[0]}`}`;
  const other = changes.findLast(({ kind }) => kind === "show");
  if (other) asked += `, compare=${quotedText(other.shown)}`;
  lines.push(`explore(clip, model, ${asked})`);
  return lines.join("\n");
}
