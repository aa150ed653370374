// The model in a page as the explorer's model object, on the page's side: traits from Python or from the
// worker, and questions that the worker answers.

import { standaloneModel } from "../widgets/standalone.js";

const CANNOT = "The model in this page cannot run here, so no question to it can be answered";
const BLOCKED = "the browser, or the site that this page is on, does not let it start a worker";
const NO_START = 20_000; // ms until a worker that says nothing is taken for one that cannot start
const SHOWN = ["sides", "late", "maps", "levels", "late_levels", "heading", "changes", "code"];
const SLOW = "The model in this page has not answered for a while; it is still working, or the browser stopped it.";

// A worker that runs models, for any number of explorers.
export class ModelWorker {
  constructor(worker) {
    Object.assign(this, { worker, hearers: new Map(), models: new Map(), count: 0 });
    worker.onmessage = ({ data: { session, ...message } }) => this.hearers.get(session)?.(message);
    worker.onerror = (event) => {
      event.preventDefault?.();
      const failed = `The model in this page stopped: ${event.message || "its worker failed"}.`;
      for (const hear of [...this.hearers.values()]) hear({ failed });
    };
  }

  post(does, message) {
    this.worker.postMessage({ does, ...message });
  }

  // The number of a model, which the worker is sent once: its weights tell it from others.
  numberOf({ about, weights }) {
    if (!this.models.has(weights)) {
      this.models.set(weights, this.models.size);
      this.post("model", { number: this.models.size - 1, about, weights });
    }
    return this.models.get(weights);
  }

  // Opens a session; `hear` gets its messages. Returns its number.
  open(model, message, hear) {
    this.count += 1;
    this.hearers.set(this.count, hear);
    this.post("open", { session: this.count, model: this.numberOf(model), ...message });
    return this.count;
  }

  closeSession(session) {
    this.hearers.delete(session);
    this.post("close", { session });
  }

  close() {
    this.worker.terminate();
    this.hearers.clear();
  }
}

// Starts a worker. code: worker.js and all that it needs, as one text; wasm: bytes, or null. An error is
// one sentence.
export function startWorker({ code, wasm = null }) {
  return new Promise((resolve, reject) => {
    let [address, worker] = ["", null];
    const fail = (why) => {
      worker?.terminate();
      reject(new Error(`${CANNOT}: ${why}.`));
    };
    if (typeof Worker !== "function") return fail("this browser has no workers");
    if (typeof DecompressionStream !== "function") return fail("this browser is too old to unpack it");
    const timer = setTimeout(() => fail(BLOCKED), NO_START);
    const settled = (act) => {
      clearTimeout(timer);
      URL.revokeObjectURL(address);
      act();
    };
    try {
      address = URL.createObjectURL(new Blob([`"use strict";(() => {\n${code}\n})();`], { type: "text/javascript" }));
      worker = new Worker(address);
    } catch {
      return settled(() => fail(BLOCKED));
    }
    worker.onerror = (event) => {
      event.preventDefault?.();
      settled(() => fail(event.message ? `it failed with "${event.message}"` : BLOCKED));
    };
    worker.onmessage = ({ data }) => settled(() => (data.ready ? resolve(new ModelWorker(worker)) : fail(data.failed)));
    worker.postMessage({ does: "start", wasm });
  });
}

// Connects a model object to a session of a worker. `late` is what the view says of a silent worker.
class Connection {
  constructor(model) {
    Object.assign(this, { model, worker: null, session: null, unheard: [], asked: new Set(), failure: "" });
    this.first = Object.fromEntries(SHOWN.map((name) => [name, model.get(name)]));
    model.late = SLOW;
    model.send = (content) => this.send(content);
    model.close = () => this.close();
  }

  send(content) {
    if (content.request !== undefined) this.asked.add(content.request);
    if (this.failure) return this.refuse();
    if (this.session === null) return this.unheard.push(content);
    this.worker.post("hear", { session: this.session, content, quantity: this.model.get("quantity") });
  }

  connect(worker, session) {
    Object.assign(this, { worker, session });
    for (const content of this.unheard.splice(0)) this.send(content);
  }

  hear({ traits, first, content, buffers, failed }) {
    if (failed) this.fail(failed);
    if (traits || first) this.show(traits ?? this.first);
    if (!content) return;
    const ends = content.progress === undefined;
    if (ends) this.asked.delete(content.reply);
    this.model.emit("msg:custom", content, buffers);
  }

  // Shows other data; the quantity stays where there is such a map.
  show(traits) {
    const { model } = this;
    const names = traits.maps.map(({ name }) => name);
    const quantity = traits.quantity ?? model.get("quantity");
    const known = !quantity || names.includes(quantity) ? quantity : names[0];
    model.put({ ...traits, quantity: known, revision: model.get("revision") + 1 });
  }

  // Without a worker the view is what an exported page is without a model: it says so, and stays.
  fail(sentence) {
    const { model } = this;
    this.failure = sentence;
    model.reason = sentence;
    this.refuse();
    const sides = model.get("sides").map((side) => ({ ...side, live: false, states: false }));
    model.put({ sides, choices: {}, revision: model.get("revision") + 1 });
  }

  refuse() {
    for (const request of [...this.asked]) {
      this.asked.delete(request);
      queueMicrotask(() => this.model.emit("msg:custom", { reply: request, error: this.failure }, []));
    }
  }

  close() {
    if (this.session !== null) this.worker.closeSession(this.session);
    this.session = null;
    this.failure ||= "The explorer was closed.";
  }
}

// Runs a model on a clip and returns { model }, which the explorer's `render` takes. model: { about,
// weights: { header, text }, defaults }, the last one the explorer's traits from Python; `weights` is the
// same object for the same model, so that the worker is sent it once. clip: { frames: Uint8Array
// (num_frames, height, width, 3), size: [height, width], seconds, fps, source, title }, and `repeated`,
// `deciding`, `film` where they are known. report: told how far it is. An error is one sentence.
export function kernelFor(worker, model, clip, report = () => {}) {
  return new Promise((resolve, reject) => {
    const found = standaloneModel(model.defaults);
    const connection = new Connection(found);
    const session = worker.open(model, { terms: found.get("terms"), clip }, (message) => {
      const { opening, opened, failed, traits } = message;
      if (opening) return report(opening.words, opening.progress);
      if (connection.session !== null) return connection.hear(message);
      if (failed) {
        worker.closeSession(session);
        return reject(new Error(failed));
      }
      if (traits) found.put(traits);
      if (!opened) return;
      connection.connect(worker, session);
      resolve({ model: found });
    });
  });
}

// Gives the explorer of an exported page a model to ask. start: returns a promise of { worker, model }.
// The worker opens the model when the first question comes.
export async function enliven(model, start) {
  const connection = new Connection(model);
  try {
    const { worker, model: portable } = await start();
    const [given, late] = [model.get("sides"), model.get("late")];
    const sides = given.map((side) => ({ ...side, frames: bytesOf(side.frames) }));
    const exported = {
      sides, late, changes: model.get("changes"), layers: model.get("layers"),
      names: portable.names, called: portable.called,
    };
    const message = { terms: model.get("terms"), exported };
    connection.connect(worker, worker.open(portable, message, (answer) => connection.hear(answer)));
  } catch (error) {
    connection.fail(error.message);
  }
}

const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
