// How a map is laid over the frames: opacity, what its colors span, the scan's path.

import { element, labeled, menu } from "../widgets/drawing.js";

export function createLook(view) {
  const ui = {
    opacity: element("input", {
      type: "range", min: 0, max: 1, step: 0.05, title: "How strongly the map covers the frames",
    }),
    scale: menu([["layer", "this layer's"], ["all", "all layers'"]], {
      title: "Whether the colors span the values of this layer, or of all layers so that layers compare",
    }),
    path: element("input", { type: "checkbox", title: "Draw the order in which the scan reads the patches (p)" }),
  };
  const opacity = labeled("opacity", ui.opacity);
  const ofScans = [labeled("scan path", ui.path), labeled("scale", ui.scale, "colors span")];
  const node = element("div", { class: "vmx-row vmx-menus vmx-tool" }, opacity, ...ofScans);
  view.listen(ui.opacity, "input", () => view.set("opacity", Number(ui.opacity.value)));
  view.listen(ui.scale, "input", () => view.set("scale", ui.scale.value));
  view.listen(ui.path, "change", () => view.set("path", ui.path.checked));

  return {
    nodes: [node],
    update(changed) {
      if (changed.size === 1 && changed.has("frame")) return;
      opacity.hidden = view.data.quantities.size === 0;
      for (const each of ofScans) each.hidden = !view.scanned;
      ui.opacity.value = view.get("opacity");
      ui.scale.value = view.get("scale");
      ui.path.checked = view.get("path");
      ui.opacity.disabled = ui.scale.disabled = view.quantity === null;
    },
  };
}
