// Whether the answer rests on motion: what the model says of the clip frozen, reversed and shuffled.

import { element } from "../widgets/drawing.js";
import { joined, sideName } from "./terms.js";

function answers(rows) {
  const cells = rows.map(({ shown, says, probability, survives }) =>
    element("tr", {},
      element("th", { scope: "row" }, shown),
      element("td", survives ? { class: "vmx-survives" } : {}, says),
      element("td", {}, probability)));
  return element("table", {}, element("tbody", {}, ...cells));
}

export function createTrust({ data }) {
  const blocks = data.sides.flatMap(({ controls, camera }, i) => {
    if (!controls) return [];
    const { title, note, sentence, rows } = controls;
    const words = element("div", { class: "vmx-words" },
      element("div", { class: "vmx-heading" }, joined(sideName(data, i), title)),
      ...(note ? [element("div", { class: "vmx-note", role: "note" }, note)] : []),
      element("div", {}, sentence),
      ...(camera ? [element("div", { class: "vmx-measured" }, camera.sentence)] : []));
    return [element("div", { class: "vmx-controls-of" }, words, answers(rows))];
  });
  return { nodes: blocks.length ? [element("div", { class: "vmx-trust" }, ...blocks)] : [], update() {} };
}
