// What the colors mean, and the classes the model finds most probable.

import { colored, element } from "../widgets/drawing.js";
import { inWords } from "./data.js";
import { joined, sideName, terms } from "./terms.js";

export function createLegend(view) {
  const { data } = view;
  const node = element("div", { class: "vmx-legend" });
  const ramp = Uint8Array.from({ length: terms.levels }, (_, i) => i);

  function bar(scale, words) {
    const canvas = colored(ramp, data.table(scale.signed), 1, terms.levels);
    canvas.setAttribute("aria-hidden", "true");
    const values = scale.signed ? [scale.low, 0, scale.high] : [scale.low, scale.high];
    const marks = values.map((value) => element("span", {}, inWords(value, { ...scale, unit: "" })));
    return element("div", { class: "vmx-bar" },
      element("div", { class: "vmx-name" }, words), canvas, element("div", { class: "vmx-ends" }, ...marks));
  }

  function update(changed) {
    if (!view.touched(changed, "quantity", "layer", "direction", "scale", "state map")) return;
    const { quantity } = view;
    node.hidden = quantity === null || quantity.pending === true;
    if (node.hidden) return;
    const several = quantity.directions.length > 1;
    const difference = quantity.differs(view.get("direction"));
    const kind = quantity.log ? ", logarithmic" : "";
    const bars = [];
    for (const side of data.sides.length > 1 ? [0, terms.difference] : [0]) {
      const scale = quantity.scale(side, view.get("direction"), view.scaleLayer());
      const parts = [
        side === terms.difference ? sideName(data, side) : data.sides.length > 1 ? "A and B" : "",
        difference ? terms.directions[terms.difference] : "",
        scale.ratio ? "as a ratio" : "",
      ].filter(Boolean).join(", ");
      bars.push(bar(scale, `${parts && `${parts}: `}${quantity.label}${kind}`));
    }
    const layers = view.scaleLayer() === null ? "all layers" : `layer ${view.get("layer")}`;
    const span = [
      quantity.ofAll ? "" : layers,
      "all frames",
      several ? "both directions" : "",
      data.sides.length > 1 ? "both clips" : "",
    ].filter(Boolean).join(", ");
    node.replaceChildren(
      ...bars,
      element("div", { class: "vmx-soft" }, `Colors span ${span}.`),
      element("div", { class: "vmx-about" }, quantity.about),
    );
  }

  return { nodes: [node], update };
}

export function createClasses(view) {
  const { data } = view;
  const edited = view.get("changes").length > 0;
  // How far a class of the changed model is from the model as it is, percentage points.
  const difference = (name, probability) => {
    const before = data.sides[0].classes.find((each) => each.name === name);
    if (!before) return " (new)"; // not among the first ones of the model as it is
    const points = 100 * (probability - before.probability);
    return ` (${points < 0 ? "−" : "+"}${Math.abs(points).toFixed(1)})`;
  };
  const lists = data.sides.map((side, i) => {
    const rows = side.classes.map(({ name, probability }) => {
      const percent = `${(100 * probability).toFixed(1)} %${i && edited ? difference(name, probability) : ""}`;
      const fill = element("div", { class: "vmx-fill" });
      fill.style.width = `${100 * probability}%`;
      const texts = [name, percent].map((text) => element("span", {}, text));
      const words = element("div", { class: "vmx-class" }, ...texts);
      return element("li", {}, words, element("div", { class: "vmx-track", "aria-hidden": "true" }, fill));
    });
    const named = rows.length > 0; // an encoder has no classes
    return element("div", {},
      element("div", { class: "vmx-heading" }, joined(sideName(data, i), named ? "top classes" : "an encoder")),
      ...(named ? [element("ol", {}, ...rows)] : []),
      element("div", { class: "vmx-soft" }, `explained: ${side.explained}`));
  });
  return { nodes: [element("div", { class: "vmx-classes" }, ...lists)], update() {} };
}
