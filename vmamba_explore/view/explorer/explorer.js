// One linked view of a clip and all that was recorded of it: see widget.py for the traits, packing.py
// for the data and drawing.js for what this is built from. All parts show the model's traits; what
// changes one of them sets the trait, and every part draws what that touches in the next frame.

import { element } from "../widgets/drawing.js";
import { createAddress } from "./address.js";
import { createChanges } from "./changes.js";
import { createControls } from "./controls.js";
import { loadData } from "./data.js";
import { closeStrip, createFilmstrip } from "./filmstrip.js";
import { createHeadline } from "./headline.js";
import { createHelp } from "./help.js";
import { createLate } from "./late.js";
import { createClasses, createLegend } from "./legend.js";
import { createLens } from "./lens.js";
import { createLook } from "./look.js";
import { createNavigator } from "./navigator.js";
import { createPanels } from "./panels.js";
import { createPixels } from "./pixels.js";
import { createQuery } from "./query.js";
import { createSaving } from "./saving.js";
import { createStage } from "./stage.js";
import { createStates } from "./states.js";
import { createStrip } from "./strip.js";
import { learn, terms } from "./terms.js";
import { createTimeline } from "./timeline.js";
import { createTour } from "./tour.js";
import { createTrust } from "./trust.js";
import { keptBy, View } from "./view.js";

// Makes the parts of a view and puts them into the explorer's element.
function buildView(view) {
  const focused = view.root.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
  const compact = view.get("compact"); // the clip and its maps, and nothing else
  const tour = compact ? null : createTour(view);
  const help = createHelp(view, tour);
  const states = createStates(view); // before the controls: it adds a quantity
  const [saving, controls] = [createSaving(view), createControls(view, help.show)];
  const [stage, legend, look] = [createStage(view), createLegend(view), createLook(view)];
  view.parts = [states, controls, stage, legend, look];
  const nodes = (...parts) => parts.flatMap((part) => part.nodes);
  const area = (name, ...inside) => element("div", { class: `vmx-${name}` }, ...inside);
  const heading = (...tools) => area("top", area("source", view.get("heading")), ...tools);
  const pixels = compact ? null : createPixels(view);
  const middle = area("stage", ...stage.nodes, ...(pixels?.nodes ?? []), view.status);
  if (compact) {
    view.root.replaceChildren(heading(...nodes(saving, help)), ...nodes(controls, states), middle, ...nodes(legend, look));
  } else {
    const [classes, trust, query] = [createClasses(view), createTrust(view), createQuery(view)];
    const [headline, changes, late] = [createHeadline(view), createChanges(view), createLate(view)];
    const [timeline, lens, film] = [createTimeline(view, [states.row]), createLens(view), createFilmstrip(view)];
    const [strip, navigator] = [createStrip(view), createNavigator(view)];
    const where = createPanels(view, "where", "where to look", [
      { name: "maps", title: "all maps", about: "Every layer and direction at this token frame", parts: [navigator] },
      { name: "means", title: "over time", about: "Every layer's mean in every token frame", parts: [strip] },
    ]);
    const asked = () => view.get("query").length > 0 && view.get("query").join() !== view.root.dataset.query; // just now
    // One tab for each kind of question; a part that answers one joins its tab, or brings its own.
    const side = createPanels(view, "side", "answers", [
      { name: "answer", title: "the answer", about: "The model's classes and what they rest on", parts: [classes, trust] },
      { name: "reading", title: "what it reads", about: "What a patch reads, and what reads it",
        parts: [query], opens: asked },
      { name: "changes", title: "change the model", about: "Mute, freeze, reset or swap parts of the model, or ask about another class",
        parts: [changes] },
    ]);
    view.parts.push(headline, classes, trust, changes, late, timeline, lens, where, navigator, strip, side, query);
    view.parts.push(pixels, film, help, tour, createAddress(view));
    view.root.replaceChildren(
      heading(...nodes(saving, help)),
      ...nodes(headline, controls, states, tour),
      area("areas",
        area("rail", ...nodes(where, legend, look)),
        middle,
        area("side", ...side.nodes),
        area("time", ...nodes(late, timeline, film, lens))),
    );
  }
  const again = focused && [...view.root.querySelectorAll("[aria-label]")].find(
    (node) => node.getAttribute("aria-label") === focused);
  if (again) again.focus();
  view.say("loading", view.model.reason ?? "");
  for (const name of terms.state) view.touch(name);
}

// Tells when no pointer is pressed in the explorer, its click included.
function pointerOf(root) {
  const listening = new AbortController();
  let pressed = false;
  const listen = (target, type, handler) =>
    target.addEventListener(type, handler, { capture: true, signal: listening.signal });
  listen(root, "pointerdown", () => {
    pressed = true;
  });
  for (const type of ["pointerup", "pointercancel"]) {
    listen(window, type, () => setTimeout(() => {
      pressed = false;
    }));
  }
  const released = async () => {
    while (pressed && !listening.signal.aborted) await new Promise((go) => setTimeout(go, 20));
  };
  return { released, ended: () => listening.abort() };
}

export function render({ model, el }) {
  learn(model);
  const said = { class: "vmx-status", role: "status", "aria-live": "polite" };
  const status = element("div", said, "unpacking the clip …");
  const compact = model.get("compact"); // the clip and its maps, and nothing else
  const root = element("div", {
    class: compact ? "vmx-explorer vmx-compact" : "vmx-explorer", tabindex: 0, role: "group",
    "aria-label": `explorer: ${model.get("heading")}`, "data-asking": "none",
    "data-key": model.get("key"),
  }, status);
  el.append(root);
  const kept = keptBy(model);
  const { released, ended } = pointerOf(root);
  let [data, endView, newest] = [null, null, 0];

  // Shows what the kernel has sent; once more when it replaces that.
  async function show() {
    newest += 1;
    const mine = newest;
    let found;
    try {
      found = await loadData(model, data);
    } catch (error) {
      if (mine === newest) {
        status.textContent = `The explorer could not unpack its data (${error.message}). Run the cell again.`;
      }
      return;
    }
    await released(); // what is pressed must be there when it is let go
    if (mine !== newest) return found.close(data); // replaced meanwhile, or closed
    endView?.();
    data?.close(found);
    if (data && data.packed.sides !== found.packed.sides) kept.answers.clear();
    data = found;
    const view = new View(model, data, root, status, kept);
    buildView(view);
    endView = view.live();
  }

  model.on("change:revision", show);
  show();
  return () => {
    newest += 1;
    model.off("change:revision", show);
    ended();
    endView?.();
    kept.requests.close();
    kept.films.keep([]);
    closeStrip(kept.strip);
    kept.strip = null;
    data?.close();
    root.remove();
  };
}

export default { render };
