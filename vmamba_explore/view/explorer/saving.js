// Saving: a picture of the view is made here, everything else by the kernel; and links to the view.

import { copyText } from "../widgets/copy.js";
import { asBytes, element } from "../widgets/drawing.js";
import { stateInPython, stateOf, stateText } from "./address.js";
import { terms } from "./terms.js";
import { PATIENCE } from "./view.js";

// Draws what is seen of the explorer, but for its controls, into one picture.
function paintedPicture(view) {
  const { root } = view;
  root.classList.add("vmx-painted"); // without its controls, until it is drawn
  try {
    return painted(view);
  } finally {
    root.classList.remove("vmx-painted");
  }
}

function painted(view) {
  const { root } = view;
  const box = root.getBoundingClientRect();
  const ratio = Math.max(2, window.devicePixelRatio || 1);
  const [width, height] = [box.width, box.height].map((size) => Math.round(size * ratio));
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.translate(-box.left, -box.top);
  context.fillStyle = view.paper();
  context.fillRect(box.left, box.top, box.width, box.height);
  for (const node of root.querySelectorAll(".vmx-swatch, .vmx-track, .vmx-fill, canvas")) {
    const rect = node.getBoundingClientRect();
    if (rect.width) paintWithin(context, node, () => paintNode(context, node, rect));
  }
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    paintWithin(context, text.parentElement, () => paintText(context, text));
  }
  return canvas;
}

// Nothing is seen of what a panel has scrolled out.
function paintWithin(context, node, paint) {
  const panel = node.closest(".vmx-panel")?.getBoundingClientRect();
  if (!panel) return paint();
  context.save();
  context.beginPath();
  context.rect(panel.left, panel.top, panel.width, panel.height);
  context.clip();
  paint();
  context.restore();
}

function paintNode(context, node, { left, top, width, height }) {
  if (node.tagName === "CANVAS") return context.drawImage(node, left, top, width, height);
  context.fillStyle = getComputedStyle(node).backgroundColor;
  context.fillRect(left, top, width, height);
}

// Word by word, so that lines break where they do on the page.
function paintText(context, text) {
  const style = getComputedStyle(text.parentElement);
  context.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  context.fillStyle = style.color;
  context.textBaseline = "middle";
  const range = document.createRange();
  for (const word of text.data.matchAll(/\S+/g)) {
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    const rect = range.getBoundingClientRect();
    if (rect.width) context.fillText(word[0], rect.left, (rect.top + rect.bottom) / 2);
  }
}

const FORMATS = {
  PNG: "Save this view as a picture",
  HTML: "Save the explorer as one page that works offline",
  GIF: "Save the frames with their maps as an animated GIF",
  MP4: "Save the frames with their maps as a film",
  CSV: "Save the numbers of all maps as a table",
};

function download(name, blob) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export function createSaving(view) {
  const kinds = view.model.alone ? ["PNG"] : terms.files.map((kind) => kind.toUpperCase()); // a page alone has no kernel
  const buttons = kinds.map((kind) =>
    element("button", { type: "button", "aria-label": `save as ${kind}`, title: FORMATS[kind] }, kind),
  );
  const addressed = view.get("addressed");
  const words = addressed ? "copy link" : "copy as Python";
  const title = `copy the ${addressed ? "address of" : "line of Python that shows"} this view`;
  const link = element("button", { type: "button", "aria-label": words, title }, words);
  const group = { class: "vmx-saving vmx-tool", role: "group", "aria-label": "save" };
  const node = element("div", group, "save", ...buttons, link);

  function savePicture() {
    const base = view.data.sides[0].source.replace(/[^\w.-]+/g, "_") || "clip";
    paintedPicture(view).toBlob((blob) => {
      download(`${base}-explorer-frame${view.get("frame")}.png`, blob);
      view.say("saving", "saved the picture");
    });
  }

  async function save(kind) {
    if (kind === "PNG") return savePicture();
    view.say("saving", `writing ${kind} …`);
    const late = () =>
      view.say("saving", `No kernel has answered yet, so there is no ${kind}: in a saved notebook ` +
        "run the cell again; a busy kernel may still answer.");
    // What is shown goes with the question: a change of it may still wait for the kernel, a question does not.
    const question = { kind: kind.toLowerCase(), theme: view.theme, shown: stateOf(view) };
    try {
      const { name, mime, buffers } = await view.requests.ask(question, PATIENCE, late);
      download(name, new Blob([asBytes(buffers[0])], { type: mime }));
      view.say("saving", `saved ${name}`);
    } catch (error) {
      view.say("saving", error.message);
    }
  }

  async function copyLink() {
    const state = stateOf(view);
    const call = view.get("compact") ? "player.restore(STATE)" : "explore(..., state=STATE)";
    const text = addressed
      ? `${location.href.split("#")[0]}#${stateText(state)}`
      : call.replace("STATE", () => stateInPython(state));
    const copied = await copyText(text);
    view.say("saving", copied ? `copied ${addressed ? "the link" : text}` : `to be copied from here: ${text}`);
    link.focus();
  }

  view.listen(link, "click", copyLink);
  for (const [i, button] of buttons.entries()) view.listen(button, "click", () => save(kinds[i]));

  return { nodes: [node] };
}
