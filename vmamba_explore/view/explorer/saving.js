// Saving: a picture of the view is made here, everything else by the kernel.

import { asBytes, element } from "../widgets/drawing.js";
import { terms } from "./terms.js";
import { PATIENCE } from "./view.js";

// Draws what is seen of the explorer, but for its controls, into one picture.
function paintedPicture(view) {
  const { root } = view;
  const box = root.getBoundingClientRect();
  const ratio = Math.max(2, window.devicePixelRatio || 1);
  const [width, height] = [box.width, box.height].map((size) => Math.round(size * ratio));
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = view.paper();
  context.fillRect(0, 0, box.width, box.height);
  const skipped = root.querySelector(".vmx-controls");
  const raised = skipped.getBoundingClientRect().height; // what stands below moves up by this
  const lift = (rect) => (rect.top >= skipped.getBoundingClientRect().bottom - 1 ? raised : 0);
  for (const node of root.querySelectorAll(".vmx-swatch, .vmx-track, .vmx-fill, canvas")) {
    const rect = node.getBoundingClientRect();
    if (!rect.width || skipped.contains(node)) continue;
    const place = [rect.left - box.left, rect.top - box.top - lift(rect), rect.width, rect.height];
    if (node.tagName === "CANVAS") {
      context.drawImage(node, ...place);
    } else {
      context.fillStyle = getComputedStyle(node).backgroundColor;
      context.fillRect(...place);
    }
  }
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    if (!skipped.contains(text)) paintText(context, text, box, lift);
  }
  const cut = element("canvas", { width, height: height - Math.round(raised * ratio) });
  cut.getContext("2d").drawImage(canvas, 0, 0);
  return cut;
}

// Word by word, so that lines break where they do on the page.
function paintText(context, text, box, lift) {
  const style = getComputedStyle(text.parentElement);
  context.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  context.fillStyle = style.color;
  context.textBaseline = "middle";
  const range = document.createRange();
  for (const word of text.data.matchAll(/\S+/g)) {
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    const rect = range.getBoundingClientRect();
    const middle = (rect.top + rect.bottom) / 2 - box.top - lift(rect);
    if (rect.width) context.fillText(word[0], rect.left - box.left, middle);
  }
}

function download(name, blob) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export function createSaving(view) {
  const kinds = view.model.alone ? ["PNG"] : terms.files.map((kind) => kind.toUpperCase()); // a page alone has no kernel
  const buttons = kinds.map((kind) =>
    element("button", { type: "button", "aria-label": `save as ${kind}` }, kind),
  );
  const group = { class: "vmx-saving", role: "group", "aria-label": "save" };
  const node = element("div", group, "save", ...buttons);

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
    view.model.save_changes(); // what is saved is the present state
    const late = () =>
      view.say("saving", `No kernel has answered yet, so there is no ${kind}: in a saved notebook ` +
        "run the cell again; a busy kernel may still answer.");
    const question = { kind: kind.toLowerCase(), theme: view.theme };
    try {
      const { name, mime, buffers } = await view.requests.ask(question, PATIENCE, late);
      download(name, new Blob([asBytes(buffers[0])], { type: mime }));
      view.say("saving", `saved ${name}`);
    } catch (error) {
      view.say("saving", error.message);
    }
  }

  for (const [i, button] of buttons.entries()) view.listen(button, "click", () => save(kinds[i]));

  return { nodes: [node] };
}
