// What comes when the view is shown already: asks the kernel for it, and says how far it is.

import { element } from "../widgets/drawing.js";
import { terms } from "./terms.js";
import { PATIENCE } from "./view.js";

const WHAT = "Evidence and controls";
const NOT_YET = `${WHAT} are missing: no kernel has answered yet. In a saved notebook run the cell again.`;

const missingIn = (model) => model.get("late").some(({ missing }) => missing);

// Asks once, whatever is shown anew meanwhile.
async function pursueLate(model, kept) {
  const late = { words: `${WHAT}: computing …`, show: kept.late?.show ?? null, ended: false };
  kept.late = late;
  const tell = (words) => {
    late.words = words;
    late.show?.();
  };
  try {
    const { cancelled } = await kept.requests.run({ run: terms.late }, PATIENCE, {
      late: () => tell(model.late ?? NOT_YET),
      progress: (words, share) => tell(`${WHAT}: computing … ${words}, ${Math.round(100 * share)} %`),
    });
    if (cancelled) tell(`${WHAT} were not computed: the work was stopped.`);
    else if (missingIn(model)) return pursueLate(model, kept); // of what has been shown since
  } catch (error) {
    tell(`${WHAT} could not be computed: ${error.message}`);
  }
  late.ended = true;
}

export function createLate({ model, data, kept }) {
  const node = element("div", { class: "vmx-late vmx-soft", role: "status" });
  const missing = data.sides.some((side) => side.missing);
  node.hidden = !missing;
  const show = () => {
    node.textContent = kept.late.words;
  };
  if (!missing) kept.late = null;
  else {
    if (kept.late === null || kept.late.ended) pursueLate(model, kept);
    kept.late.show = show;
    show();
  }
  return { nodes: [node], update() {} };
}
