// Where keys lead, as functions of the view alone.

import { terms } from "./terms.js";

// Forward or back in the clip, and around its ends.
export function step(view, by) {
  const count = view.data.tokenFrames.length;
  view.set("frame", (((view.get("frame") + by) % count) + count) % count);
}

function next(view, name, values, by = 1, around = true) {
  const at = values.indexOf(view.get(name)) + by;
  if (!around && (at < 0 || at >= values.length)) return;
  if (values.length) view.set(name, values.at(at % values.length));
}

// The asked patch, moved by a row or a column; the first one is in the middle of this frame.
function ask(view, rows, cols) {
  const { data } = view;
  if (!view.scanned) return;
  const within = (place, size) => Math.min(Math.max(place, 0), size - 1);
  const [, row = data.rows >> 1, col = data.cols >> 1] = view.get("query");
  const first = view.get("query").length === 0;
  const place = first ? [row, col] : [within(row + rows, data.rows), within(col + cols, data.cols)];
  view.set("query", [view.tokenFrame, ...place]);
}

// What keys do, alone and with Shift. choices: values by the name of the trait that keys change;
// toggle plays or pauses, help shows all keys.
export function keysOf(view, choices, toggle, help) {
  const { data } = view;
  return {
    alone: {
      ArrowLeft: () => step(view, -1),
      ArrowRight: () => step(view, 1),
      Home: () => view.set("frame", 0),
      End: () => view.set("frame", data.tokenFrames.length - 1),
      ArrowUp: () => next(view, "layer", data.layers, 1, false),
      ArrowDown: () => next(view, "layer", data.layers, -1, false),
      " ": toggle,
      d: () => next(view, "direction", choices.direction),
      q: () => next(view, "quantity", choices.quantity),
      b: () => view.kept.brushing && view.get("query").length && view.brush([...view.get("query")]),
      m: () => {
        if (view.kept.films.any) next(view, "pixels", Object.values(terms.pixels));
      },
      p: () => view.set("path", !view.get("path")),
      Escape: () => view.set("query", []),
      "?": help,
    },
    shift: {
      ArrowLeft: () => ask(view, 0, -1),
      ArrowRight: () => ask(view, 0, 1),
      ArrowUp: () => ask(view, -1, 0),
      ArrowDown: () => ask(view, 1, 0),
      "?": help, // on many keyboards it needs Shift
    },
  };
}
