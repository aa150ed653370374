// One linked view of a clip and all that was recorded of it: see widget.py for the traits, packing.py
// for the data and drawing.js for what this is built from. All parts show the model's traits; what
// changes one of them sets the trait, and every part draws what that touches in the next frame.

import { element } from "../widgets/drawing.js";
import { createControls } from "./controls.js";
import { loadData } from "./data.js";
import { createClasses, createLegend } from "./legend.js";
import { createQuery } from "./query.js";
import { createStage } from "./stage.js";
import { createStrip } from "./strip.js";
import { learn, terms } from "./terms.js";
import { createTimeline } from "./timeline.js";
import { createTrust } from "./trust.js";
import { View } from "./view.js";

async function render({ model, el }) {
  learn(model);
  const said = { class: "vmx-status", role: "status", "aria-live": "polite" };
  const status = element("div", said, "unpacking the clip …");
  const compact = model.get("compact"); // the clip and its maps, and nothing else
  const root = element("div", {
    class: compact ? "vmx-explorer vmx-compact" : "vmx-explorer", tabindex: 0, role: "group",
    "aria-label": `explorer: ${model.get("heading")}`, "data-asking": "none",
  }, status);
  el.append(root);
  let data;
  try {
    data = await loadData(model);
  } catch (error) {
    status.textContent = `The explorer could not unpack its data (${error.message}). Run the cell again.`;
    return () => root.remove();
  }
  const view = new View(model, data, root, status);
  const [controls, stage, legend] = [createControls(view), createStage(view), createLegend(view)];
  const aside = compact ? [] : [createClasses(view)];
  const below = compact ? [] : [createTrust(view), createTimeline(view), createStrip(view), createQuery(view)];
  view.parts = [controls, stage, legend, ...aside, ...below];
  const nodes = (parts) => parts.flatMap((part) => part.nodes);
  root.replaceChildren(
    element("div", { class: "vmx-source" }, model.get("heading")),
    ...controls.nodes,
    element("div", { class: "vmx-main" },
      element("div", { class: "vmx-stage" }, ...stage.nodes, status),
      element("div", { class: "vmx-aside" }, ...nodes([legend, ...aside]))),
    ...nodes(below),
  );
  view.say("loading", "");
  for (const name of terms.state) view.touch(name);
  return view.live();
}

export default { render };
