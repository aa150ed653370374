// Three steps through the explorer for those who see it for the first time. It stands between the
// controls and the panes, so that it covers nothing and nothing waits for it.

import { element } from "../widgets/drawing.js";

const STORED = "vmx-tour"; // in the browser's storage
const STEPS = [
  [".vmx-panes", "Each picture is the clip with a map over it, one for each scan direction. Point at a patch for " +
    "its values; click it for what it reads and what reads it."],
  [".vmx-rail .vmx-panels, .vmx-timeline", "The small maps are all layers and directions at this token frame: click " +
    "one to go there. Click or drag in the timeline to move in time."],
  [".vmx-side .vmx-tabs", "These tabs hold the model's answer, what it rests on, and the answer to a click. " +
    "Press ? for all keys."],
];

// What the browser remembers; where it may keep nothing, the tour does not show itself.
function remembered() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return "off";
  }
}

function remember() {
  try {
    localStorage.setItem(STORED, "off");
  } catch {
    // there is no storage here, so the tour does not start by itself either
  }
}

export function createTour(view) {
  const words = element("span", { "aria-live": "polite" });
  const next = element("button", { type: "button", title: "To the next step" });
  const later = element("button", { type: "button", title: "Hide the tour until the explorer is opened again" }, "not now");
  const never = element("button", { type: "button", title: "Switch the tour off in this browser" }, "don't show again");
  const node = element("div", { class: "vmx-tour vmx-tool", role: "region", "aria-label": "tour" }, words, next, later, never);
  let step = null;

  function mark() {
    for (const each of view.root.querySelectorAll(".vmx-toured")) each.classList.remove("vmx-toured");
    if (step === null) return;
    for (const each of view.root.querySelectorAll(STEPS[step][0])) each.classList.add("vmx-toured");
  }

  function show(number) {
    step = number < STEPS.length ? number : null;
    node.hidden = step === null;
    if (step === null) remember();
    else {
      words.textContent = `${step + 1} of ${STEPS.length}: ${STEPS[step][1]}`;
      next.textContent = step + 1 < STEPS.length ? "next" : "done";
    }
    mark();
  }

  function end(forGood) {
    step = null;
    node.hidden = true;
    mark();
    if (forGood) remember();
    view.root.focus();
  }

  view.listen(next, "click", () => {
    show(step + 1);
    if (step === null) view.root.focus();
  });
  view.listen(later, "click", () => end(false));
  view.listen(never, "click", () => end(true));
  node.hidden = true;
  // A page alone is a document; and a view that is made anew for other data does not begin again.
  const wanted = view.get("tour") && !view.model.alone && remembered() !== "off" && !view.root.dataset.tour;
  let first = wanted;
  view.root.dataset.tour = "seen";

  return {
    nodes: [node],
    start() {
      show(0);
      next.focus();
    },
    update() {
      if (first) show(0);
      first = false;
    },
  };
}
