// Where the logit is decided, in one sentence, and the way there.

import { element } from "../widgets/drawing.js";
import { joined, sideName } from "./terms.js";

export function createHeadline(view) {
  const { data } = view;
  const go = [];
  const lines = data.sides.flatMap(({ headline }, i) => {
    if (!headline) return [];
    const { sentence, hedge, opening } = headline;
    const words = element("span", { title: hedge, "aria-description": hedge }, joined(sideName(data, i), sentence));
    const button = element("button", { type: "button", "aria-label": "show where it is decided" }, "show");
    button.hidden = !data.quantities.has(opening.quantity); // a changed model may have no such map
    button.title = "Go to the quantity, layer, direction and frame of this sentence";
    view.listen(button, "click", () => {
      for (const [name, value] of Object.entries(opening)) view.set(name, value);
    });
    go.push({ button, opening });
    return [element("div", {}, words, " ", button)];
  });
  const node = element("div", { class: "vmx-headline" }, ...lines);
  node.hidden = lines.length === 0;

  return {
    nodes: [node],
    update() {
      for (const { button, opening } of go) {
        button.disabled = Object.entries(opening).every(([name, value]) => view.get(name) === value);
      }
    },
  };
}
