// The list of all keys, in a dialog.

import { element } from "../widgets/drawing.js";

// What to press, what it does, the keys that this stands for, as keysOf in moves.js has them, and
// whether they need a scan that is known.
export const KEYS = [
  ["Space", "play or pause", [" "]],
  ["← →", "one clip frame back or forward", ["ArrowLeft", "ArrowRight"]],
  ["Home, End", "first or last clip frame", ["Home", "End"]],
  ["↑ ↓", "one layer up or down", ["ArrowUp", "ArrowDown"], true],
  ["d", "next direction", ["d"], true],
  ["q", "next quantity", ["q"]],
  ["m", "the file's pixels, or those that the model sees", ["m"], true],
  ["p", "draw the scan's path, or do not", ["p"], true],
  ["Shift + arrows", "ask a patch, or move the asked patch",
    ["Shift+ArrowLeft", "Shift+ArrowRight", "Shift+ArrowUp", "Shift+ArrowDown"], true],
  ["b", "brush the asked patch, while brushing", ["b"], true],
  ["Esc", "ask no patch: show what the read-out reads", ["Escape"], true],
  ["?", "this list", ["?", "Shift+?"]],
];

// tour: null where there is none.
export function createHelp(view, tour) {
  const button = element("button", {
    class: "vmx-tool", type: "button", "aria-label": "help", "aria-haspopup": "dialog", title: "All keys, and a short tour (?)",
  }, "?");
  const close = element("button", { type: "button", title: "Close this list (Esc)" }, "close");
  const again = element("button", { type: "button", title: "Three steps through the explorer" }, "show the tour");
  const rows = KEYS.filter(([, , , scans]) => view.scanned || !scans).map(([press, does]) =>
    element("tr", {}, element("th", { scope: "row" }, press), element("td", {}, does)));
  const dialog = element("dialog", { class: "vmx-help", "aria-label": "keys of the explorer" },
    element("div", { class: "vmx-heading" }, "Keys"),
    element("table", {}, element("tbody", {}, ...rows)),
    element("div", { class: "vmx-row" }, ...(tour ? [again] : []), close));
  let before = null; // what had the focus

  function show() {
    before = view.root.contains(document.activeElement) ? document.activeElement : button;
    dialog.showModal();
    close.focus();
  }

  view.listen(button, "click", show);
  view.listen(close, "click", () => dialog.close());
  view.listen(again, "click", () => {
    dialog.close();
    tour.start();
  });
  view.listen(dialog, "close", () => before?.focus());
  view.listen(dialog, "click", (event) => event.target === dialog && dialog.close()); // beside the list
  view.listen(dialog, "keydown", (event) => event.stopPropagation()); // the view's keys rest

  return { nodes: [button, dialog], show, update() {} };
}
