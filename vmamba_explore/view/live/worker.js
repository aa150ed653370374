// The model in a page, in a worker of its own: kernel.js asks it. A message names what to do, see DOES;
// answers of a session bear its number.

import { learn } from "../explorer/terms.js";
import { choicesAnswer, readingAnswer, stateAnswer } from "./answers.js";
import { tokenRows } from "./attention.js";
import { LiveExploration } from "./exploration.js";
import { firstNumbers, laterNumbers } from "./maps.js";
import { Network } from "./network.js";
import { packModel, packSides } from "./packed.js";
import { pngPixels } from "./png.js";
import { heard, teller } from "./runs.js";
import { Session } from "./session.js";
import { stateChoices, stateMap } from "./single.js";
import { walkReply } from "./walk_numbers.js";
import { loadOps } from "./wasm.js";
import { unpackWeights } from "./weights.js";

// By the key that a question has, what answers it: the first of these keys counts.
const ANSWERS = {
  walk: walkReply,
  state: stateAnswer,
  choices: choicesAnswer,
  token: readingAnswer,
};

const NUMBERS = { firstNumbers, laterNumbers, tokenRows, stateMap, stateChoices };

const sessions = new Map();
const models = new Map(); // by number, functions that load them once
let ops = null;

// Loads a model when it is first needed.
function loading({ about, weights: { header, text } }) {
  let loaded = null;
  return () => {
    loaded ??= unpackWeights(header, text).then((weights) => {
      const network = new Network(about.config, weights, ops);
      return { network, about, numbers: NUMBERS };
    });
    return loaded;
  };
}

// What is there when a clip is opened: its first maps, as traits.
const openingClip = (load, clip, post) => async (report) => {
  const model = await load();
  const { about, network } = model;
  const names = about.quantities.filter(({ live }) => live).map(({ name }) => name);
  const first = about.quantities.filter(({ late }) => !late).map(({ name }) => name);
  const layers = Array.from({ length: about.config.depth }, (_, layer) => layer);
  const side = new LiveExploration(model, clip, { names, layers });
  await side.begin(first, report);
  const traits = { ...(await packSides([side], about.name)), ...(await packModel(network, about.config.num_frames)) };
  const opening = side.headline?.opening ?? {};
  post({ traits: {
    ...traits, layers, layer: layers.at(-1), quantity: names[0],
    ...(opening.quantity in side.maps ? opening : {}),
    choices: { classes: about.class_names }, changes: [], code: "",
  } });
  return { model, name: about.name, sides: [side], maps: traits.maps, changes: [], kept: false };
};

// What an exported page shows already: the sides as Python packed them.
const openingExported = (load, { sides, late, changes, names, layers, called }) => async (report) => {
  await report("unpacking the model", 0);
  const model = await load();
  const clips = [];
  for (const [i, side] of sides.entries()) {
    const whole = side.offsets.length > 1; // or it shows the first side's clip
    clips.push(whole ? await clipOf(side) : { ...clips[0], title: side.title });
    clips[i].deciding = side.deciding;
  }
  const edits = changes.filter(({ kind }) => kind !== "explain" && kind !== "show");
  const found = sides.map((side, i) => new LiveExploration(model, clips[side.offsets.length > 1 ? i : 0], {
    names, layers, target: [side.target, side.minus], explained: side.explained, known: true, missing: false,
    classes: side.classes.map((each) => [each.name, each.probability]), ...late[i],
    ...(i > 0 && edits.length ? { changes: edits, name: side.title } : {}),
  }));
  return { model, name: called, sides: found, maps: [], changes, kept: true };
};

async function clipOf({ frames, offsets, ...side }) {
  const pictures = [];
  for (const [i, end] of offsets.slice(1).entries()) pictures.push(await pngPixels(frames.subarray(offsets[i], end)));
  const pixels = new Uint8Array(pictures.reduce((sum, picture) => sum + picture.length, 0));
  let at = 0;
  for (const picture of pictures) {
    pixels.set(picture, at);
    at += picture.length;
  }
  return { ...side, frames: pixels, encoded: { frames, offsets } };
}

const DOES = {
  async start({ wasm }) {
    ops = await loadOps(wasm);
    postMessage({ ready: true });
  },
  model({ number, ...model }) {
    models.set(number, loading(model));
  },
  async open({ session, terms, model, clip, exported }) {
    learn({ get: () => terms });
    const post = (message) => postMessage({ session, ...message });
    const load = models.get(model);
    const opening = clip ? openingClip(load, clip, post) : openingExported(load, exported);
    const made = new Session(post, opening, ANSWERS);
    sessions.set(session, made);
    if (!clip) return;
    const tell = teller((content) => post({ opening: content }));
    try {
      await made.open(async (words, share) => {
        await heard();
        if (!sessions.has(session)) throw new Error("The explorer was closed.");
        tell(words, share);
      });
      post({ opened: true });
    } catch (error) {
      sessions.delete(session);
      post({ failed: error.message });
    }
  },
  hear({ session, content, quantity }) {
    sessions.get(session)?.hear(content, quantity);
  },
  close({ session }) {
    sessions.get(session)?.close();
    sessions.delete(session);
  },
};

globalThis.onmessage = ({ data }) => DOES[data.does](data);
