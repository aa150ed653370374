// Where the explorer's parts stand and how wide each is: a function of the view's width alone.

export const GAP = 16; // CSS pixels between two columns
const [WIDE, MIDDLE, HALVES] = [940, 760, 520]; // widths from which there is room for more columns
const RAIL = { roomy: 236, tight: 200, from: 1100 };
const STAGE = { most: 516, share: 0.52 };

// wide: the navigator, the panes and the panel beside each other; middle: panes and panel; narrow: one column.
export function areasOf(width) {
  if (width >= WIDE) {
    const rail = width >= RAIL.from ? RAIL.roomy : RAIL.tight;
    const rest = width - rail - 2 * GAP;
    const stage = Math.min(STAGE.most, Math.floor(rest * STAGE.share));
    return { kind: "wide", rail, stage, side: rest - stage, time: width - rail - GAP };
  }
  const half = Math.floor((width - GAP) / 2);
  const rail = width >= HALVES ? half : width; // the other half has the legend
  if (width >= MIDDLE) return { kind: "middle", rail, stage: half, side: width - GAP - half, time: width };
  return { kind: "narrow", rail, stage: width, side: width, time: width };
}

const TALLEST = { 1: 244, 2: 120 }; // CSS pixels of a pane, by rows of panes, where the panel is beside them
const BROADEST = { 1: 440, 2: 380, 3: 300 }; // and by columns, where it is not

// The width of a pane; size: height and width of its picture.
export function paneWidth(area, columns, rows, [height, width]) {
  const fitting = Math.floor((area.stage - 8 * (columns - 1)) / columns);
  if (area.kind === "narrow") return Math.min(fitting, BROADEST[columns] ?? BROADEST[3]);
  return Math.min(fitting, Math.floor(((TALLEST[rows] ?? TALLEST[2]) * width) / height));
}
