// Which clip, with what beside it, through which model; run, watch, cancel (see chooser.py).

import { element, labeled, menu } from "./drawing.js";
import { Sender } from "./upload.js";
import { SECONDS, Webcam } from "./webcam.js";

const ANSWER_SECONDS = 10;
const PATH = ":path"; // of a menu; no bundled clip or model is called so
const UPLOAD = ":upload";
const RECORD = `record ${SECONDS} s with the webcam`;

const size = (bytes) =>
  bytes < 1e5 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

// A clip's menu, and the field that its choice needs.
function clipField(model, slot, words) {
  const pairs = model.get("samples").map((name) => [name, name]);
  if (model.get("allow_paths")) pairs.push([PATH, "a file, by its path …"]);
  pairs.push([UPLOAD, "a file from this computer, or the webcam …"]);
  const field = {
    slot,
    menu: menu(pairs),
    path: element("input", { type: "text", placeholder: "/home/me/film.mp4", spellcheck: "false" }),
    file: element("input", { type: "file", accept: "video/*,.mkv", "aria-label": `upload ${words}` }),
    state: element("span", { class: "vmx-upload-state", "aria-live": "polite" }),
    preview: element("video", { class: "vmx-preview", "aria-label": `camera for ${words}` }),
    record: element("button", { type: "button", "aria-label": `record ${words}` }, RECORD),
    sender: new Sender(model),
    webcam: new Webcam(),
    sending: null, // the upload that is on its way
  };
  field.pathLabel = labeled(`path of ${words}`, field.path);
  const button = element("label", { class: "vmx-file" }, "choose a file", field.file);
  field.preview.muted = field.preview.playsInline = true;
  field.preview.hidden = true;
  field.drop = element("div", { class: "vmx-drop" }, button, field.record, field.preview, field.state);
  field.root = element("div", { class: "vmx-field", "data-slot": slot },
    labeled(words, field.menu), field.pathLabel, field.drop);
  return field;
}

function build(model) {
  const ui = {
    clip: clipField(model, "clip", "clip"),
    second: clipField(model, "second", "second clip"),
    compare: menu(Object.entries(model.get("comparisons"))),
    model: menu([
      ...model.get("models").map(([name, question]) => [name, `${name}: ${question}`]),
      ...(model.get("allow_paths") ? [[PATH, "a folder or file …"]] : []),
    ]),
    folder: element("input", { type: "text", placeholder: "/home/me/my-model", spellcheck: "false" }),
    spread: menu([["every", "some, close together"], ["whole", "spread over the whole film"]]),
    stride: element("input", { type: "number", min: 1, step: 1 }),
    start: element("input", { type: "number", min: 0, step: 1, placeholder: "middle" }),
    run: element("button", { type: "button", class: "vmx-run" }, "Run"),
    cancel: element("button", { type: "button" }, "Cancel"),
    bar: element("progress", { max: 1, "aria-label": "progress" }),
    words: element("span", { class: "vmx-words", "aria-live": "polite" }),
    message: element("div", { class: "vmx-message", role: "status" }),
  };
  ui.folderLabel = labeled("model's folder or file", ui.folder);
  ui.strideLabel = labeled("every … frames", ui.stride);
  ui.choices = element("fieldset", {},
    element("legend", {}, "Your clip"),
    element("div", { class: "vmx-line" }, ui.clip.root,
      labeled("model", ui.model), ui.folderLabel),
    element("div", { class: "vmx-line" }, labeled("compare with", ui.compare), ui.second.root),
    element("div", { class: "vmx-line" }, labeled("frames", ui.spread), ui.strideLabel,
      labeled("first frame", ui.start)));
  ui.work = element("span", { class: "vmx-work" }, ui.bar, ui.words);
  ui.root = element("div", { class: "vmx-chooser", role: "group", "aria-label": "choose a clip" },
    ui.choices,
    element("div", { class: "vmx-line" }, ui.run, ui.cancel, ui.work),
    ui.message);
  return ui;
}

const number = (input) => (input.value.trim() === "" ? null : Number(input.value));

function chosenClip(field) {
  const value = field.menu.value;
  const kind = value === PATH ? "path" : value === UPLOAD ? "upload" : "sample";
  return { kind, name: kind === "sample" ? value : "", path: field.path.value };
}

function chosen(ui) {
  return {
    clip: chosenClip(ui.clip),
    second: chosenClip(ui.second),
    compare: ui.compare.value,
    model: ui.model.value === PATH ? ui.folder.value : ui.model.value,
    stride: ui.spread.value === "whole" ? null : number(ui.stride) ?? 2,
    start: number(ui.start),
  };
}

function showClip(field, { kind, name, path }) {
  field.menu.value = kind === "path" ? PATH : kind === "upload" ? UPLOAD : name;
  if (document.activeElement !== field.path) field.path.value = path ?? "";
}

function showChoice(ui, model) {
  const choice = model.get("choice");
  showClip(ui.clip, choice.clip);
  showClip(ui.second, choice.second);
  ui.compare.value = choice.compare;
  const bundled = model.get("models").some(([name]) => name === choice.model);
  ui.model.value = bundled ? choice.model : PATH;
  if (!bundled && document.activeElement !== ui.folder) ui.folder.value = choice.model;
  ui.spread.value = choice.stride === null ? "whole" : "every";
  if (choice.stride !== null) ui.stride.value = choice.stride;
  ui.start.value = choice.start ?? "";
  showFields(ui, model);
}

// Only what the choice needs is there.
function showFields(ui, model) {
  for (const field of [ui.clip, ui.second]) {
    field.pathLabel.hidden = field.menu.value !== PATH;
    field.drop.hidden = field.menu.value !== UPLOAD;
    if (field.sending || field.record.disabled) continue;
    const here = model.get("uploads")[field.slot];
    field.state.textContent = here ? `${here} is here` : "or drop it here";
  }
  ui.second.root.hidden = ui.compare.value !== "second";
  ui.folderLabel.hidden = ui.model.value !== PATH;
  ui.strideLabel.hidden = ui.spread.value === "whole";
}

function showState(ui, model) {
  const busy = model.get("busy");
  ui.choices.disabled = ui.run.disabled = busy;
  ui.cancel.disabled = ui.work.hidden = !busy;
  ui.bar.value = model.get("progress");
  ui.words.textContent = model.get("words");
  say(ui, model.get("message"), model.get("failed"));
  ui.root.dataset.state = busy ? "running" : model.get("failed") ? "failed" : "idle";
}

function say(ui, words, failed) {
  ui.message.textContent = words;
  ui.message.classList.toggle("vmx-failed", failed);
  ui.message.setAttribute("role", failed ? "alert" : "status");
}

function render({ model, el }) {
  const ui = build(model);
  let patience = null; // until a kernel has answered

  function remember() {
    showFields(ui, model);
    model.set("choice", chosen(ui));
    model.save_changes();
  }

  async function upload(field, file) {
    field.menu.value = UPLOAD;
    const mine = (field.sending = {}); // until another file is chosen
    remember();
    const tell = (bytes) => {
      if (field.sending === mine) field.state.textContent = `${file.name}: ${size(bytes)} of ${size(file.size)}`;
    };
    tell(0);
    try {
      await field.sender.send(field.slot, file, tell);
      if (field.sending === mine) ended("here", "");
    } catch (error) {
      if (field.sending === mine) ended("failed", error.message);
    }

    function ended(state, words) {
      field.root.dataset.upload = state;
      field.sending = null;
      field.file.value = ""; // the same file can be chosen again
      say(ui, words, state === "failed");
      showFields(ui, model);
    }
  }

  async function record(field) {
    field.record.disabled = true;
    field.state.textContent = "waiting for the camera …";
    say(ui, "", false);
    const watch = (left, stream) => {
      field.state.textContent = `recording: ${left} s left`;
      if (!field.preview.hidden) return;
      field.preview.srcObject = stream;
      field.preview.hidden = false;
      field.preview.play();
    };
    let film = null;
    try {
      film = await field.webcam.record(watch);
    } catch (error) {
      if (!field.webcam.closed) say(ui, error.message, true);
    }
    field.preview.srcObject = null;
    field.preview.hidden = true;
    field.record.disabled = false;
    if (film) await upload(field, film);
    else showFields(ui, model);
  }

  function run() {
    const choice = chosen(ui);
    remember();
    const coming = [ui.clip, ui.second].some((field) => field.sending || field.record.disabled);
    if (coming) return say(ui, "Wait until the file is here.", true);
    say(ui, "", false);
    patience = setTimeout(
      () => say(ui, "No kernel answers: run the cell again.", true), 1000 * ANSWER_SECONDS);
    model.send({ run: choice });
  }

  function state() {
    clearTimeout(patience);
    showState(ui, model);
  }

  for (const field of [ui.clip, ui.second]) {
    field.file.addEventListener("change", () => field.file.files.length && upload(field, field.file.files[0]));
    field.record.addEventListener("click", () => record(field));
  }
  ui.run.addEventListener("click", run);
  ui.cancel.addEventListener("click", () => model.send({ cancel: true }));
  ui.choices.addEventListener("change", (event) => event.target.type !== "file" && remember());
  ui.root.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the notebook has its own use for keys
    if (event.key === "Enter" && event.target.type === "text") run();
  });
  ui.root.addEventListener("dragover", (event) => {
    event.preventDefault();
    ui.root.classList.add("vmx-over");
  });
  ui.root.addEventListener("dragleave", () => ui.root.classList.remove("vmx-over"));
  ui.root.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation(); // or the browser opens the film
    ui.root.classList.remove("vmx-over");
    const field = ui.second.root.contains(event.target) ? ui.second : ui.clip;
    if (!model.get("busy") && event.dataTransfer.files.length) upload(field, event.dataTransfer.files[0]);
  });

  const changes = {
    choice: () => showChoice(ui, model),
    uploads: () => showFields(ui, model),
  };
  for (const name of ["busy", "progress", "words", "message", "failed"]) changes[name] = state;
  for (const [name, show] of Object.entries(changes)) model.on(`change:${name}`, show);
  showChoice(ui, model);
  showState(ui, model);
  el.append(ui.root);
  ui.root.dataset.ready = 1;

  return () => {
    clearTimeout(patience);
    for (const field of [ui.clip, ui.second]) {
      field.sender.close();
      field.webcam.close();
    }
    for (const [name, show] of Object.entries(changes)) model.off(`change:${name}`, show);
    ui.root.remove();
  };
}

export default { render };
