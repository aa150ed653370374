// The panes: for each side and direction shown, the frame with one token frame of the map over it.

import { element, outline } from "../widgets/drawing.js";
import { paneWidth } from "./areas.js";
import { inWords } from "./data.js";
import { drawPath } from "./path.js";
import { joined, sideName, terms } from "./terms.js";

// What to call a pane: its side and direction, as far as there are several.
export function paneName(view, side, direction) {
  return joined(sideName(view.data, side), terms.directions[direction] ?? direction);
}

// A direction's color as a small square; the text beside it keeps the theme's.
function swatch(view, direction) {
  const colors = direction === terms.difference ? view.data.directions : [direction];
  return colors
    .filter((name) => name in view.data.colors)
    .map((name) => {
      const square = element("span", { class: "vmx-swatch", "aria-hidden": "true" });
      square.style.background = view.data.colors[name];
      return square;
    });
}

// A picture of one direction under its name.
export function figureOf(view, direction, name, canvas) {
  const caption = element("figcaption", {}, ...swatch(view, direction), element("span", {}, name));
  return element("figure", {}, caption, canvas);
}

// The cell of a grid that lies over a box in the page, where a point is; null outside of it.
export function cellIn(box, x, y, rows, cols) {
  const row = Math.floor(((y - box.top) / box.height) * rows);
  const col = Math.floor(((x - box.left) / box.width) * cols);
  return row >= 0 && row < rows && col >= 0 && col < cols ? { row, col } : null;
}

export function createStage(view) {
  const { data } = view;
  const readout = element("div", { class: "vmx-readout" });
  const grid = element("div", { class: "vmx-panes" });
  let panes = [];
  let shown = "";

  function wanted() {
    const { quantity } = view;
    let directions = [""];
    if (quantity?.directions.length) directions = view.shownDirections();
    else if (view.path) directions = view.shownDirections(true); // one path each
    const sides = view.sides(quantity !== null);
    return directions.flatMap((direction) => sides.map((side) => ({ side, direction })));
  }

  function rebuild() {
    const list = wanted();
    const key = list.map(({ side, direction }) => `${side} ${direction}`).join();
    if (key === shown) return;
    shown = key;
    panes = list.map(({ side, direction }) => {
      const clip = data.sides[side === terms.difference ? 1 : side];
      const [height, width] = clip.size;
      const canvas = element("canvas", {
        class: "vmx-pane", width, height, role: "img", "data-side": side, "data-direction": direction,
      });
      const name = paneName(view, side, direction) || clip.title;
      const figure = figureOf(view, direction, name, canvas);
      figure.firstChild.hidden = !view.scanned; // the heading has that name already
      return { side, direction, canvas, figure, name };
    });
    grid.replaceChildren(...panes.map((pane) => pane.figure));
  }

  function arrange() {
    const columns = data.sides.length > 1 ? view.sides(view.quantity !== null).length : panes.length;
    const width = paneWidth(view.areas, columns, Math.ceil(panes.length / columns), data.sides[0].size);
    grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, ${width}px))`;
  }

  function drawPane({ side, direction, canvas, name }) {
    const { quantity, tokenFrame } = view;
    const [clipFrame, clip] = [view.get("frame"), side === terms.difference ? 1 : side];
    const picture = view.picture(clip, clipFrame, quantity !== null);
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round((width * picture.height) / picture.width));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.globalAlpha = 1;
    context.imageSmoothingEnabled = Math.max(picture.width, picture.height) > 128;
    context.drawImage(picture, 0, 0, width, height);
    if (quantity) {
      const layer = view.get("layer");
      const scale = quantity.scale(side, direction, view.scaleLayer());
      context.globalAlpha = view.get("opacity");
      context.imageSmoothingEnabled = false;
      const map = data.mapPicture(quantity, side, direction, layer, tokenFrame, scale);
      context.drawImage(map, 0, 0, width, height);
      context.globalAlpha = 1;
    }
    if (view.path) drawPaths(context, direction, { width, height });
    const cell = { width: width / data.cols, height: height / data.rows };
    for (const place of [...view.brushedHere(), view.hover, view.queryHere()]) {
      if (!place) continue;
      outline(context, place.col * cell.width, place.row * cell.height, cell.width, cell.height);
    }
    const what = quantity ? `, ${quantity.name}` : "";
    canvas.setAttribute("aria-label", `${name}, ${view.when(clipFrame)}${what}`);
  }

  function drawPaths(context, direction, size) {
    const place = view.hover ?? view.queryHere();
    const drawn = direction === terms.difference ? data.directions : [direction];
    drawn.forEach((name, i) => {
      const until = place ? data.step(name, view.tokenFrame, place.row, place.col) : null;
      drawPath(context, data, name, view.tokenFrame, size, until, drawn.length > 1 ? 4 * i - 2 : 0);
    });
  }

  function describe() {
    const { quantity, tokenFrame } = view;
    const frame = view.get("frame");
    const place = view.hover ?? view.queryHere();
    const words = [view.when(frame)];
    if (place) {
      words.push(`${view.hover ? "" : "asked: "}row ${place.row}, col ${place.col}`);
      if (quantity && !quantity.pending) words.push(...valuesThere(place));
      for (const name of data.directions) {
        const step = data.step(name, tokenFrame, place.row, place.col) + 1;
        words.push(`${name}: step ${step} of ${data.seqlen}`);
      }
    } else if (quantity || view.scanned) {
      const live = data.sides.some((side) => side.live);
      words.push(`point at a patch for its values${view.scanned && live ? ", click it for what it reads" : ""}`);
    }
    readout.textContent = words.join(" · ");
  }

  // What each direction's map has there, its sides after each other.
  function valuesThere({ row, col }) {
    const { quantity } = view;
    return [...new Set(panes.map(({ direction }) => direction))].map((direction) => {
      const values = panes.filter((pane) => pane.direction === direction).map(({ side }) => {
        const plane = quantity.plane(side, direction, view.get("layer"), view.tokenFrame);
        const scale = quantity.scale(side, direction, view.scaleLayer());
        return [sideName(data, side), inWords(plane[row * data.cols + col], scale)].filter(Boolean).join(" ");
      });
      const name = terms.directions[direction] ?? direction;
      return `${[quantity.name, name].filter(Boolean).join(" ")}: ${values.join(", ")}`;
    });
  }

  // Says where the whole map of this token frame has no value.
  function missing() {
    const { quantity, tokenFrame } = view;
    if (quantity?.pending) return view.say("value", ""); // the kernel is asked
    const empty = panes.filter(({ side, direction }) =>
      quantity?.plane(side, direction, view.get("layer"), tokenFrame).every(Number.isNaN),
    );
    const where = empty.map(({ name }) => name).join(", ");
    const what = `${quantity?.name} in layer ${view.get("layer")}, token frame ${tokenFrame} (${where})`;
    view.say("value", empty.length ? `no value here: ${what}` : "");
  }

  function cellAt(event) {
    const canvas = event.target.closest("canvas.vmx-pane");
    if (!canvas) return null;
    return cellIn(canvas.getBoundingClientRect(), event.clientX, event.clientY, data.rows, data.cols);
  }

  function hover(place) {
    if (place?.row === view.hover?.row && place?.col === view.hover?.col) return;
    view.hover = place;
    view.touch("hover");
  }

  function brush(event) {
    const place = cellAt(event);
    if (view.kept.brushing && place) view.brush([view.tokenFrame, place.row, place.col], !event.shiftKey);
  }

  view.listen(grid, "pointermove", (event) => {
    hover(cellAt(event));
    if (event.buttons & 1) brush(event);
  });
  view.listen(grid, "pointerdown", brush);
  view.listen(grid, "pointerleave", () => hover(null));
  view.listen(grid, "click", (event) => {
    const place = cellAt(event);
    if (place && view.scanned && !view.kept.brushing) view.set("query", [view.tokenFrame, place.row, place.col]);
  });

  return {
    nodes: [grid, readout],
    update(changed) {
      rebuild();
      if (changed.size > 1 || !view.touched(changed, "frame", "hover")) arrange();
      for (const pane of panes) drawPane(pane);
      describe();
      grid.classList.toggle("vmx-brushing", view.kept.brushing);
      if (!changed.has("hover") || changed.size > 1) missing();
    },
  };
}
