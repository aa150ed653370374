// Questions by click: the model changed, shown beside the model as it is, and the Python that does it.

import { copyText } from "../widgets/copy.js";
import { element, labeled, menu } from "../widgets/drawing.js";
import { terms } from "./terms.js";
import { PATIENCE } from "./view.js";

const NO_MODEL = "There is no model here to change: run explore(...) in a notebook.";
const NO_ANSWER =
  "No kernel answers: this is a saved notebook, or its kernel is busy or gone. Run the cell again to change the model.";
const BRUSH = "brush over patches";
const ABOUT = {
  mute: "Take the output of this part away",
  freeze: "These tokens neither write to the states nor let them decay",
  reset: "Hand over zeros, in place of the states, at this boundary",
  swap: "Hand over the states that the clip played backwards has at this boundary",
  explain: "The class that contributions, relevance and evidence explain",
  minus: "A class whose logit is subtracted",
};
const QUESTIONS = ["explain", "show"]; // which leave the model as it is

// The directions that a change is about: the one that is shown, or both.
const oneDirection = (view) =>
  view.data.directions.includes(view.get("direction")) ? view.get("direction") : null;

// What can be changed where the view is: the words of a button, and the change; null: not here.
export function offers(view) {
  const [layer, frame, direction] = [view.get("layer"), view.tokenFrame, oneDirection(view)];
  const [asked, brushed] = [view.get("query"), [...view.kept.brush.values()]];
  const which = direction === null ? "" : ` ${direction}`;
  const at = asked.length ? `patch ${asked.join(", ")}` : "the asked patch";
  const boundary = (kind) => (frame > 0 ? { kind, frame, direction } : null);
  return [
    ...view.data.directions.map((name) => [`mute ${name}`, { kind: "mute", direction: name }, ABOUT.mute]),
    [`mute layer ${layer}${which}`, { kind: "mute", layer, direction }, ABOUT.mute],
    [`mute ${at}`, asked.length ? { kind: "freeze", patches: [[...asked]] } : null, ABOUT.freeze],
    [`mute ${brushed.length || "the"} brushed patches`,
      brushed.length ? { kind: "freeze", patches: brushed } : null, ABOUT.freeze],
    [`mute token frame ${frame}`, { kind: "freeze", frame }, ABOUT.freeze],
    [`reset${which} state before token frame ${frame}`, boundary("reset"), ABOUT.reset],
    [`swap${which} state before token frame ${frame}`, boundary("swap"), ABOUT.swap],
  ];
}

// Changes as they are sent: their words are the kernel's.
export const wordless = (changes) => changes.map(({ words: _, ...each }) => each);

// A list with one more change; a question takes the place of one of its kind.
export function withChange(changes, change) {
  const stay = wordless(changes).filter(({ kind }) => !QUESTIONS.includes(kind) || kind !== change.kind);
  return [...stay, change];
}

// Runs the model with a list of changes. One view of the page may be made anew while it runs.
export async function runChanges(view, changes) {
  const { kept, requests } = view;
  const tell = (changing) => {
    kept.changing = changing;
    kept.tellChanging?.();
  };
  const mine = {};
  kept.changingNow = mine;
  const end = (words) => kept.changingNow === mine && tell({ words, id: null });
  view.model.save_changes(); // the quantity that is shown is computed first
  try {
    let id = null;
    const { cancelled } = await requests.run({ run: terms.change, changes }, PATIENCE, {
      started: (given) => {
        id = given;
        tell({ words: "asking the model …", id });
      },
      late: () => end(view.model.late ?? NO_ANSWER),
      progress: (words, share) =>
        kept.changingNow === mine && tell({ words: `running the model: ${words}, ${Math.round(100 * share)} %`, id }),
    });
    end(cancelled ? "Cancelled: the view stays as it was." : "");
  } catch (error) {
    end(error.message);
  }
}

export function createChanges(view) {
  const { data, kept } = view;
  const given = view.get("changes");
  const classes = view.get("choices").classes ?? null; // none: no model, now or later
  const row = element("div", { class: "vmx-row vmx-menus vmx-tool", role: "group", "aria-label": "change the model" });
  const status = element("div", { class: "vmx-soft vmx-tool", role: "status" });
  const cancel = element("button", { type: "button", title: "Stop the run; the view stays" }, "cancel");
  const brush = element("input", { type: "checkbox", title: "Drag over a pane to choose patches, then mute them" });
  const node = element("div", { class: "vmx-changes" }, row);
  node.hidden = !view.scanned;
  brush.checked = kept.brushing;
  let buttons = [];

  const start = (changes) => runChanges(view, changes);
  const button = (words, act, attributes = {}) => {
    const made = element("button", { type: "button", "aria-label": words, ...attributes }, words);
    view.listen(made, "click", act);
    return made;
  };

  // Menus of all classes; none is the class that the model finds most probable.
  function explaining() {
    const chosen = given.findLast(({ kind }) => kind === "explain") ?? data.sides[0];
    const pairs = classes.map((name, number) => [number, name]);
    const target = menu(pairs, { title: ABOUT.explain });
    const minus = menu([["", "nothing"], ...pairs], { title: ABOUT.minus });
    [target.value, minus.value] = [chosen.target ?? "", chosen.minus ?? ""];
    const ask = () => {
      if (target.value === minus.value) return tell("Choose two different classes.");
      start(withChange(given, {
        kind: "explain", target: Number(target.value), minus: minus.value === "" ? null : Number(minus.value),
      }));
    };
    for (const each of [target, minus]) view.listen(each, "change", ask);
    return [labeled("explain", target), labeled("minus", minus)];
  }

  // The first classes of both runs: how probable they were, and are.
  function answers() {
    if (data.sides.length < 2 || !data.sides[0].classes.length) return []; // of an encoder
    const [one, other] = data.sides.map(({ classes: some }) => new Map(some.map((each) => [each.name, each.probability])));
    const names = [...new Set([[...one.keys()][0], ...[...other.keys()].slice(0, 2)])];
    const percent = (value) => `${(100 * value).toFixed(1)} %`;
    const of = (some, name) => (some.has(name) ? percent(some.get(name)) : `up to ${percent(Math.min(...some.values()))}`);
    const rows = names.map((name) => element("tr", {}, element("th", { scope: "row" }, name),
      element("td", {}, of(one, name)), element("td", {}, "→"), element("td", {}, of(other, name))));
    return [element("table", { class: "vmx-became", "aria-label": "top classes before and after" },
      element("tbody", {}, ...rows))];
  }

  // What was changed, how to undo it, and the Python for it.
  function done() {
    const list = element("ul", {}, ...given.map(({ words }) => element("li", {}, words)));
    const undo = button("undo", () => start(wordless(given.slice(0, -1))), { title: "Take the last change back" });
    const all = button("undo all", () => start([]), { title: "The model and the question as they were" });
    const copy = button("copy the Python", async () => {
      const copied = await copyText(view.get("code"));
      tell(copied ? "copied" : "The browser does not let this page copy: select the text instead.");
    }, { title: "Copy the code that shows the same" });
    for (const each of [undo, all]) each.disabled = classes === null;
    return element("div", { class: "vmx-changed-list", role: "note", "aria-label": "what was changed" },
      element("div", { class: "vmx-heading" }, edited() ? "This model is changed" : "The model is as it was; the question is another"),
      list, ...answers(), element("div", { class: "vmx-row vmx-tool" }, undo, all, copy),
      element("pre", { tabindex: 0, "aria-label": "Python for this view" }, view.get("code")));
  }

  const edited = () => given.some(({ kind }) => !QUESTIONS.includes(kind));

  function tell(words) {
    kept.changing = { words, id: null };
    showStatus();
  }

  function showStatus() {
    const { words, id } = kept.changing;
    const text = words || (classes === null ? NO_MODEL : "");
    status.replaceChildren(text, ...(id === null ? [] : [" ", cancel]));
  }

  // The buttons of this layer, frame and patch; those that are there stay, and so does the focus.
  function renew() {
    for (const [i, [words, change, title]] of offers(view).entries()) {
      buttons[i].textContent = words;
      buttons[i].title = title;
      buttons[i].setAttribute("aria-label", words);
      buttons[i].disabled = change === null || classes === null;
    }
  }

  if (view.scanned) {
    buttons = offers(view).map((_, i) =>
      button("", () => start(withChange(given, offers(view)[i][1]))));
    row.append(...buttons, labeled(BRUSH, brush), ...(classes?.length ? explaining() : []));
    brush.disabled = classes === null;
    renew(); // now, so that the focus finds its button again
  }
  if (given.length) node.prepend(done());
  node.append(status);
  view.root.classList.toggle("vmx-changed", edited());
  kept.tellChanging = showStatus;
  showStatus();

  view.listen(cancel, "click", () => kept.changing.id !== null && view.requests.cancel(kept.changing.id));
  view.listen(brush, "change", () => {
    kept.brushing = brush.checked;
    if (!kept.brushing) kept.brush.clear();
    view.touch("brush");
  });

  return {
    nodes: [node],
    update(changed) {
      if (view.scanned && view.touched(changed, "frame", "layer", "direction", "query", "brush")) renew();
    },
  };
}
