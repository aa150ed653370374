// The page that runs models in the browser: which model, which clip, and the explorer of what it said. The
// clips and models stand in the page as text (page.py), and nothing is sent anywhere.

import { render } from "../explorer/explorer.js";
import { element, inflate, labeled } from "../widgets/drawing.js";
import { Requests } from "../widgets/requests.js";
import { base128Bytes } from "./base128.js";
import { CLIP_SECONDS, FrameCamera, MIRRORED } from "./camera.js";
import { clipPixels } from "./clip_pixels.js";
import { Film, PixelWorker } from "./frames.js";
import { kernelFor, startWorker } from "./kernel.js";
import { createWalk } from "./walk.js";

const NOISY = "This browser changes pixels that a page reads, to protect you from being tracked; the model got the " +
  "changed ones. Allow this page to read canvas data to avoid it.";
const UNEVEN = "Its frames come at uneven times; those nearest to even times were taken.";

const PATIENCE_SECONDS = 60; // for an answer to the walk

const node = (name) => document.getElementById(`live-${name}`);

// The bytes that stand in the page as text.
function stored(name) {
  const text = node(name);
  return base128Bytes(text.textContent, Number(text.dataset.bytes));
}

const unpackedText = async (name) => new TextDecoder().decode(await inflate(stored(name)));

// Where a clip comes from. Each has `name`, and `clip(shape, look, tell)`, which gives its frames.
class BundledSource {
  constructor(packed) {
    Object.assign(this, { packed, name: packed.source, pixels: null });
  }

  async clip() {
    const { packed } = this;
    const { shape, seconds, fps, repeated, source, deciding } = packed;
    this.pixels ??= await clipPixels(stored(packed.id), shape);
    return { frames: this.pixels, size: shape.slice(1), seconds, fps, repeated, source, deciding };
  }
}

class FileSource {
  constructor(file, choice) {
    Object.assign(this, { file, choice, name: file.name, film: null });
  }

  async clip({ frames, size }, look, tell) {
    tell("opening the video");
    this.film ??= await Film.open(this.file, tell);
    return this.film.clip({ frames, size, ...this.choice }, look, tell);
  }

  close() {
    this.film?.close();
  }
}

// Frames that were taken once, for models of one shape.
class RecordedSource {
  constructor(clip) {
    Object.assign(this, { recorded: clip, name: clip.source });
  }

  async clip({ size }) {
    if (this.recorded.size[0] === size) return this.recorded;
    throw new Error("This model reads frames of another size than those recorded; record again.");
  }
}

const number = (input) => (input.value.trim() === "" ? null : Number(input.value));

class LivePage {
  constructor(data) {
    Object.assign(this, { data, model: 0, source: null, newest: 0, shown: null, worker: null, camera: null });
    this.bundled = data.clips.map((clip) => new BundledSource(clip));
    this.build();
  }

  build() {
    const { data } = this;
    this.models = data.models.map((model, i) => {
      const button = element("button", { type: "button", title: `Run ${model.name}` },
        element("b", {}, model.name), element("span", {}, model.question));
      button.addEventListener("click", () => this.choose({ model: i }));
      return button;
    });
    node("models").append(...this.models);
    this.clips = data.clips.map((clip, i) => {
      const button = element("button", { type: "button", title: clip.about },
        element("img", { src: clip.picture, alt: "", width: 48, height: 48 }), element("span", {}, clip.label));
      button.addEventListener("click", () => this.choose({ source: this.bundled[i] }));
      return button;
    });
    this.file = element("input", { type: "file", accept: "video/*,.mkv", "aria-label": "choose a video file" });
    this.record = element("button", { type: "button", class: "live-own", title: "Nothing is sent: the frames stay in this page" },
      element("b", {}, "use the webcam"), element("span", {}, `${CLIP_SECONDS} s, counted in`));
    const choose = element("label", { class: "live-own", title: "Nothing is sent: the video stays in this page" },
      element("b", {}, "choose a video"), element("span", {}, "or drop one here"), this.file);
    this.every = element("input", { type: "number", min: 1, step: 1, value: 2 });
    this.start = element("input", { type: "number", min: 0, step: 1, placeholder: "middle" });
    const frames = element("details", { class: "live-frames" }, element("summary", {}, "which frames of a video"),
      labeled("every … frames", this.every), labeled("first frame", this.start),
      element("span", { class: "live-soft" }, "An empty field: spread over the whole video, or its middle."));
    node("own").append(choose, this.record, frames);
    this.file.addEventListener("change", () => this.file.files.length && this.take(this.file.files[0]));
    this.record.addEventListener("click", () => this.film());
    for (const field of [this.every, this.start]) {
      field.addEventListener("change", () => this.source instanceof FileSource && this.take(this.source.file));
    }
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("live-over");
    });
    document.addEventListener("dragleave", () => document.body.classList.remove("live-over"));
    document.addEventListener("drop", (event) => {
      event.preventDefault(); // or the browser opens the video
      document.body.classList.remove("live-over");
      if (event.dataTransfer.files.length) this.take(event.dataTransfer.files[0]);
    });
  }

  say(words, failed = false) {
    const place = node("words");
    place.textContent = words;
    place.setAttribute("role", failed ? "alert" : "status");
    place.classList.toggle("live-failed", failed);
  }

  // Shows what is being done, and its share of the whole; nothing ends it.
  tell(words, share) {
    node("work").hidden = words === undefined;
    node("doing").textContent = words ?? "";
    if (share === undefined) node("bar").removeAttribute("value");
    else node("bar").value = share;
  }

  get config() {
    return this.data.models[this.model].about.config;
  }

  // A clip of this model's own, one of which more is known first, or any that it can read.
  ownClip(model) {
    const { name, about } = this.data.models[model];
    const fits = this.bundled.filter(({ packed }) => this.reads(packed, about.config));
    const own = fits.filter(({ packed }) => packed.model === name);
    return own.find(({ packed }) => packed.deciding.length) ?? own[0] ?? fits[0] ?? null;
  }

  reads = ({ shape }, { num_frames, img_size }) => shape[0] === num_frames && shape[1] === img_size;

  choose({ model = this.model, source = this.source }) {
    const changed = model !== this.model;
    this.model = model;
    const mine = source instanceof BundledSource && changed && source.packed.model !== this.data.models[model].name;
    const next = !source || mine ? this.ownClip(model) : source; // a bundled clip is about a model's question
    if (next !== this.source) this.source?.close?.();
    this.source = next;
    this.mark();
    return next ? this.run() : this.say("Choose a video: no clip in this page fits this model.");
  }

  take(file) {
    this.file.value = ""; // the same file can be chosen again
    return this.choose({ source: new FileSource(file, { stride: number(this.every), start: number(this.start) }) });
  }

  // Which model and clip are chosen; the model's own clips come first.
  mark() {
    const { name, about, trueOn } = this.data.models[this.model];
    this.models.forEach((button, i) => {
      button.setAttribute("aria-pressed", i === this.model);
    });
    const own = (i) => this.data.clips[i].model === name;
    const fits = [...this.clips.keys()].filter((i) => this.reads(this.data.clips[i], about.config));
    const order = [...fits.filter(own), ...fits.filter((i) => !own(i))];
    for (const [i, button] of this.clips.entries()) {
      button.setAttribute("aria-pressed", this.bundled[i] === this.source);
      button.classList.toggle("live-other", !own(i));
    }
    node("clips").replaceChildren(...order.map((i) => this.clips[i]));
    node("true").textContent = trueOn ? `Its answers count on ${trueOn}.` : "";
  }

  // Runs the chosen model on the chosen clip, and shows it in place of what was there.
  async run() {
    this.newest += 1;
    const mine = this.newest;
    const { source } = this;
    const model = this.data.models[this.model];
    const current = () => mine === this.newest;
    const tell = (words, share) => current() && this.tell(words, share);
    this.say("");
    document.body.dataset.state = "running";
    try {
      tell("starting");
      this.worker = await this.runner();
      const look = await this.looker();
      const { num_frames, img_size } = model.about.config;
      const clip = await source.clip({ frames: num_frames, size: img_size }, look, tell);
      if (!current()) return;
      await this.show(model, clip, current, tell);
    } catch (error) {
      if (!current()) return;
      this.tell();
      this.say(error.message, true);
      document.body.dataset.state = "failed";
    }
  }

  // The worker that runs models, started once.
  runner() {
    const wasm = () => (node("wasm") ? stored("wasm") : null);
    this.starting ??= unpackedText("worker").then((code) => startWorker({ code, wasm: wasm() }));
    return this.starting;
  }

  // What makes pixels of a picture, in a worker that is started once.
  looker() {
    this.looking ??= unpackedText("pixels").then((code) => {
      const pixels = new PixelWorker(code);
      return (picture, size) => pixels.look(picture, size);
    });
    return this.looking;
  }

  async show(model, clip, current, tell) {
    const film = clip.large ? `film ${this.newest}` : "";
    const given = { ...clip, title: "", film };
    delete given.large;
    const kernel = await kernelFor(this.worker, this.portable(model), given, tell);
    if (!current()) return kernel.model.close();
    if (clip.large) kernel.model.put({ films: [{ film, ...joinedPictures(clip.large) }] });
    this.shown?.();
    node("explorer").replaceChildren();
    node("walk").replaceChildren();
    const end = render({ model: kernel.model, el: node("explorer") });
    const requests = new Requests(kernel.model);
    const ask = (question) => requests.ask(question, PATIENCE_SECONDS, () => {});
    const walk = createWalk({ ask, model: kernel.model, el: node("walk") });
    this.shown = () => { // closes it
      walk.close();
      requests.close();
      end();
      kernel.model.close();
    };
    this.tell();
    this.say([clip.uneven && UNEVEN, clip.noisy && NOISY].filter(Boolean).join(" "));
    document.body.dataset.state = "shown";
  }

  // The same object for the same model: the worker gets its weights once.
  portable(model) {
    model.portable ??= {
      about: model.about,
      weights: { header: model.header, text: node(model.id).textContent },
      defaults: { ...this.data.defaults, tour: false },
    };
    return model.portable;
  }

  async film() {
    if (this.camera) return this.camera.close(); // the button cancels
    const camera = (this.camera = new FrameCamera());
    const panel = node("camera");
    const words = element("strong", { "aria-live": "assertive" });
    panel.replaceChildren(camera.video, element("div", {}, words, element("p", {}, MIRRORED)));
    panel.hidden = false;
    this.record.querySelector("b").textContent = "cancel";
    this.say("");
    const { num_frames, img_size } = this.config;
    let taken = null;
    try {
      const look = await this.looker();
      const tell = (text) => {
        words.textContent = text;
      };
      taken = await camera.record({ frames: num_frames, size: img_size }, look, tell);
    } catch (error) {
      this.say(error.message, true);
    }
    camera.close();
    this.camera = null;
    panel.hidden = true;
    this.record.querySelector("b").textContent = "use the webcam";
    if (taken) await this.choose({ source: new RecordedSource(taken) });
  }
}

// Encoded pictures in one buffer, and where each starts.
function joinedPictures(pictures) {
  const offsets = [0];
  for (const picture of pictures) offsets.push(offsets.at(-1) + picture.length);
  const frames = new Uint8Array(offsets.at(-1));
  for (const [i, picture] of pictures.entries()) frames.set(picture, offsets[i]);
  return { frames, offsets };
}

const livePage = new LivePage(JSON.parse(node("data").textContent));
livePage.choose({ model: 0 });
