// Whether the answer rests on motion: what the model says of the clip frozen, reversed and shuffled.

import { element } from "../widgets/drawing.js";
import { runChanges, withChange, wordless } from "./changes.js";
import { joined, sideName } from "./terms.js";

// Shows the model's run on a control beside the clip's, or no longer.
function comparing(view, { kind, shown }) {
  const given = view.get("changes");
  const now = given.some((change) => change.kind === "show" && change.shown === kind);
  const button = element("button", {
    type: "button", "aria-pressed": now, "aria-label": `compare with the clip, ${shown}`,
    title: now ? "Show the clip alone" : "Show the clip beside it, with the difference",
  }, now ? "shown" : "compare");
  view.listen(button, "click", () => {
    const without = wordless(given).filter((change) => change.kind !== "show");
    runChanges(view, now ? without : withChange(given, { kind: "show", shown: kind }));
  });
  return button;
}

function answers(view, rows, canCompare) {
  const cells = rows.map((row) =>
    element("tr", {},
      element("th", { scope: "row" }, row.shown),
      element("td", row.survives ? { class: "vmx-survives" } : {}, row.says),
      element("td", {}, row.probability),
      ...(canCompare ? [element("td", {}, ...(row.kind ? [comparing(view, row)] : []))] : [])));
  return element("table", {}, element("tbody", {}, ...cells));
}

export function createTrust(view) {
  const { data } = view;
  const asked = (view.get("choices").classes ?? null) !== null;
  const blocks = data.sides.flatMap(({ controls, camera }, i) => {
    if (!controls) return [];
    const { title, note, sentence, rows } = controls;
    const words = element("div", { class: "vmx-words" },
      element("div", { class: "vmx-heading" }, joined(sideName(data, i), title)),
      ...(note ? [element("div", { class: "vmx-note", role: "note" }, note)] : []),
      element("div", {}, sentence),
      ...(camera ? [element("div", { class: "vmx-measured" }, camera.sentence)] : []));
    return [element("div", { class: "vmx-controls-of" }, words, answers(view, rows, asked && i === 0))];
  });
  return { nodes: blocks.length ? [element("div", { class: "vmx-trust" }, ...blocks)] : [], update() {} };
}
