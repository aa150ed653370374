// What one explorer asks of the model in the page: the sides that are shown, changes of the model, and
// questions about tokens and states. It answers the messages that widget.py's `hear` answers.

import { terms } from "../explorer/terms.js";
import { askedTarget, changeCode, changeWords, checkedChanges, editsAmong } from "./asked.js";
import { controlClip, LiveExploration, partOf } from "./exploration.js";
import { commonMaps, packLate, packMaps, packSides } from "./packed.js";
import { LiveRuns, teller } from "./runs.js";
import { shownValue } from "./words.js";

// A side that is being completed is shown no more.
class ReplacedSide extends Error {}

const sameTarget = (one, other) => one !== null && one.join() === other.join();

export class Session {
  // post: sends { content, buffers } to the view, or { traits, put }, or { first: true }: the traits that
  // it had at first. opening: an async function of a report that returns { model, name, sides, maps, changes,
  // kept }, see worker.js; `kept`: the view has the traits of these sides. answers: by a key of a question, an
  // async function of the session, the question and a report that returns what to reply.
  constructor(post, opening, answers) {
    Object.assign(this, { post, opening, answers, opened: null, sides: [], unchanged: [], maps: [] });
    this.quantity = "";
    this.runs = new LiveRuns((content) => post({ content, buffers: [] }));
  }

  // Opens the model and what is shown first, once.
  open(report = async () => {}) {
    this.opened ??= this.opening(report).then(({ model, name, sides, maps, changes, kept }) => {
      Object.assign(this, { model, name, sides, maps });
      this.unchanged = changes.length ? sides.slice(0, 1) : sides;
      this.kept = kept && !changes.length;
    });
    return this.opened;
  }

  close() {
    this.runs.close();
    this.post = () => {};
  }

  // Takes a message of the view; quantity: the one that it shows.
  hear(content, quantity) {
    this.quantity = quantity;
    if (content.request === undefined) this.runs.cancel(content.cancel);
    else if (content.run !== undefined) this.startRun(content);
    else this.answer(content);
  }

  startRun({ run, request, changes }) {
    const work = {
      [terms.late]: (report) => this.catchUp(report),
      [terms.change]: (report) => this.change(changes, report),
    }[run];
    if (work) {
      const opened = async (report) => {
        await this.open(report);
        await work(report);
      };
      this.runs.start(run, request, opened, run === terms.late);
      return;
    }
    const error = "This page has no file to read; only the clip inside it can be shown.";
    this.post({ content: { reply: request, error }, buffers: [] });
  }

  async answer(content) {
    const reply = (more, buffers = []) => this.post({ content: { reply: content.request, ...more }, buffers });
    const tell = teller(reply);
    try {
      const kind = Object.keys(this.answers).find((key) => content[key] !== undefined);
      if (!kind) throw new Error("There is no such question to the model in this page.");
      const report = async (words, share) => tell(words, share, true);
      await this.open(report);
      const { buffers = [], ...more } = await this.answers[kind](this, content, report);
      reply(more, buffers);
    } catch (error) {
      reply({ error: error.message });
    }
  }

  // A side, and a layer and a token of a question, checked; the token null for the read-out.
  asked({ side, layer, token }) {
    const shown = this.sides[side];
    if (!shown) throw new Error("Explorer: there is no such side to ask.");
    const { frames, rows, cols } = this.model.network.grid;
    const sizes = [frames, rows, cols];
    const inside = Array.isArray(token) && (token.length === 0 ||
      (token.length === 3 && token.every((at, i) => Number.isInteger(at) && 0 <= at && at < sizes[i])));
    if (!inside) {
      throw new Error(
        `Explorer: query is ${shownValue(token)}, expected [frame, row, col] below ${shownValue(sizes)}, or ` +
          "[] for what the logits are read from.",
      );
    }
    return { shown, layer: this.checkedLayer(layer), token: token.length ? token : null };
  }

  checkedLayer(layer) {
    const { layers } = this.sides[0];
    if (layers.includes(layer)) return layer;
    throw new Error(`Explorer: layer is ${shownValue(layer)}, expected one of ${layers.join(", ")}.`);
  }

  // Computes what is missing of the sides that are shown.
  async catchUp(report) {
    let done = 0;
    for (let missing = this.missing(); missing.length; missing = this.missing()) {
      const [side] = missing;
      const [before, count] = [done, done + missing.length];
      done += 1;
      try {
        await side.complete(async (words, share) => {
          if (!this.sides.includes(side)) throw new ReplacedSide();
          await report(words, (before + share) / count);
        });
      } catch (error) {
        if (error instanceof ReplacedSide) continue;
        throw error;
      }
      await this.add();
    }
  }

  missing() {
    return this.sides.filter((side) => side.missing);
  }

  // Sends what the sides have now and had not before.
  async add() {
    const { sides } = this;
    const first = this.maps.filter(({ late }) => !late);
    const names = commonMaps(sides).filter((name) => !first.some((map) => map.name === name));
    const [described, levels] = await packMaps(sides, names);
    if (this.sides !== sides) return; // others are shown meanwhile
    const all = new Map([...first, ...described.map((map) => ({ ...map, late: true }))].map((map) => [map.name, map]));
    this.maps = commonMaps(sides).map((name) => all.get(name));
    this.post({ traits: { maps: this.maps, late_levels: levels, late: sides.map(packLate) } });
  }

  // Shows some sides.
  async put(sides, changes, code) {
    const traits = await packSides(sides, this.name);
    Object.assign(this, { sides, maps: traits.maps });
    this.post({ traits: { ...traits, changes, code } });
  }

  // Shows the model with these changes and no others.
  async change(given, report) {
    const { model, unchanged } = this;
    const changes = checkedChanges(given, model.about);
    if (!changes.length) return this.undo();
    const [{ clip, target: before, names, layers, lens, camera }] = unchanged;
    const target = askedTarget(changes, before, model.about);
    const [edits, shown] = [editsAmong(changes), changes.findLast(({ kind }) => kind === "show")];
    const one = [unchanged[0], this.sides[0]].find((side) => sameTarget(side.target, target)) ??
      new LiveExploration(model, clip, { names, layers, target, lens, camera });
    const words = changes.map((each) => changeWords(each, model.about));
    const sides = [one];
    if (edits.length) {
      const name = edits.map((each) => changeWords(each, model.about)).join(", ");
      sides.push(new LiveExploration(model, clip, { names, layers, target, changes: edits, name }));
    }
    if (shown) {
      sides.push(new LiveExploration(model, controlClip(clip, shown.shown, model.about), { names, layers, target }));
    }
    const fresh = sides.filter((side) => !side.begun);
    for (const [i, side] of fresh.entries()) await side.begin([this.quantity], partOf(report, i, fresh.length));
    await report("drawing", 1); // a run that was cancelled shows nothing
    const code = changeCode(changes, target, model.about, model.network.grid);
    await this.put(sides, changes.map((each, i) => ({ ...each, words: words[i] })), code);
  }

  // Shows the model as it is again.
  async undo() {
    const { unchanged } = this;
    if (this.kept) {
      this.sides = unchanged;
      this.post({ first: true });
      return;
    }
    for (const side of unchanged) if (!side.begun) await side.begin([this.quantity], async () => {});
    await this.put(unchanged, [], "");
  }
}
