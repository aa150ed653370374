// What is done to a run: the changes that a reader made, sorted by where in the model they act;
// trace/interventions.py and trace/past.py do the same in Python.

const placeOf = (layer, direction) => `${layer} ${direction}`;

export class Edits {
  constructor() {
    this.scans = new Map(); // by place: what is done to that scan
    this.silent = new Set(); // the layers that add nothing to the residual stream
    this.dropped = new Set(); // natural indices of tokens that reach no block
  }

  // What is done to a scan: { muted, frozen: tokens, handovers: [{ frame, state }], cuts }
  of(layer, direction) {
    return this.scans.get(placeOf(layer, direction)) ?? UNTOUCHED;
  }

  at(layer, direction) {
    const place = placeOf(layer, direction);
    if (!this.scans.has(place)) {
      this.scans.set(place, { muted: false, frozen: [], handovers: [], cuts: [] });
    }
    return this.scans.get(place);
  }

  // The natural indices of the tokens that the blocks see; null where none is dropped
  kept(grid) {
    if (this.dropped.size === 0) return null;
    return grid.order(grid.directions[0]).filter((token) => !this.dropped.has(token));
  }
}

const UNTOUCHED = { muted: false, frozen: [], handovers: [], cuts: [] };
export const NO_EDITS = new Edits();

// The edits of some changes. changes: mute, freeze, reset and swap as in app/changes.py, and
// { kind: "drop", tokens }, { kind: "cut", sources, targets, layer?, direction? }, tokens as
// natural indices; other kinds do not touch the model. past: what recordPast gave, for swaps.
export function editsOf(network, changes, past = null) {
  const edits = new Edits();
  for (const change of changes) APPLIED[change.kind]?.(edits, network, change, past);
  return edits;
}

const APPLIED = {
  mute(edits, network, { direction = null, layer = null }) {
    if (direction !== null) {
      for (const each of scansAt(edits, network, layer, direction)) each.muted = true;
      return;
    }
    if (layer === null) {
      throw new Error(
        `mute: layer is None; expected one of 0 to ${network.config.depth - 1}, or a direction.`,
      );
    }
    checkLayer(network, layer);
    edits.silent.add(layer);
  },

  freeze(edits, network, { patches = [], frame = null }) {
    const { grid } = network;
    if (frame === null && !patches.length) {
      throw new Error("freeze: no patch is named; ask one, or brush over some.");
    }
    const tokens =
      frame === null ? patches.map((place) => indexOf(grid, place)) : tokensOf(grid, frame);
    for (const each of scansAt(edits, network)) each.frozen.push(...tokens);
  },

  reset(edits, network, { frame, direction = null }) {
    handOver(edits, network, frame, direction, () => null);
  },

  swap(edits, network, { frame, direction = null }, past) {
    if (past === null) throw new Error("swap: there is no other clip's past to put in place.");
    handOver(edits, network, frame, direction, (layer, name) => past.state(layer, name, frame));
  },

  drop(edits, { grid }, { tokens }) {
    for (const token of tokens) edits.dropped.add(checkedToken(grid, token));
    if (edits.dropped.has(grid.cls)) {
      throw new Error(
        `drop: the class token, index ${grid.cls}, is what the logits are read from and must be ` +
          "kept.",
      );
    }
    if (edits.dropped.size === grid.seqlen) {
      throw new Error(`drop: no token would be left of ${grid.seqlen}; keep at least one.`);
    }
  },

  cut(edits, network, { sources, targets, layer = null, direction = null }) {
    const cut = [sources, targets].map(
      (tokens) => new Set(tokens.map((token) => checkedToken(network.grid, token))),
    );
    for (const each of scansAt(edits, network, layer, direction)) each.cuts.push(cut);
  },
};

// What crosses the boundaries between frames in each scan of a run, as trace/past.py records it:
// the states. report: told before each layer.
export async function recordPast(network, tokens, report = async () => {}) {
  const { grid, directions } = network;
  const run = await network.begin(tokens, NO_EDITS, report);
  const states = new Map();
  for (let layer = 0; layer < network.config.depth; layer += 1) {
    await report(`what crosses the frames in layer ${layer}`, layer / network.config.depth);
    const { scans } = network.layer(run, layer);
    for (const direction of directions) {
      const frames = Array.from({ length: grid.frames - 1 }, (_, at) => at + 1);
      const steps = frames.map((frame) => grid.crossing(scans[direction].order, null, frame));
      network.scan(scans[direction], steps, (step, state) => {
        const key = `${placeOf(layer, direction)} ${frames[steps.indexOf(step)]}`;
        states.set(key, state.slice());
      });
    }
  }
  const state = (layer, direction, frame) => states.get(`${placeOf(layer, direction)} ${frame}`);
  return { state };
}

// Splits an edge set from some tokens to others into parts that none of the done ones touches;
// each is [sources, targets], sets of tokens
export function uncut(cut, done) {
  let pieces = [cut];
  for (const [sources, targets] of done) {
    pieces = pieces.flatMap(([s, t]) => {
      const [outside, inside] = [new Set(), new Set()];
      for (const token of s) (sources.has(token) ? inside : outside).add(token);
      const rest = new Set([...t].filter((token) => !targets.has(token)));
      return [[outside, t], [inside, rest]].filter(([from, to]) => from.size && to.size);
    });
  }
  return pieces;
}

function handOver(edits, network, frame, direction, stateOf) {
  const { grid } = network;
  grid.crossing(grid.order(grid.directions[0]), null, frame); // throws where there is none
  for (const each of scansAt(edits, network, null, direction)) {
    each.handovers.push({ frame, state: stateOf(each.layer, each.direction) });
  }
}

// What is done to the scans of a layer, null: of all, and of a direction, null: of all
function scansAt(edits, network, layer = null, direction = null) {
  const { directions, config } = network;
  if (layer !== null) checkLayer(network, layer);
  if (direction !== null && !directions.includes(direction)) {
    const known = directions.map((each) => `'${each}'`).join(" or ");
    throw new Error(`This model has no direction '${direction}'; expected ${known}.`);
  }
  const layers = layer === null ? Array.from({ length: config.depth }, (_, at) => at) : [layer];
  const names = direction === null ? directions : [direction];
  return layers.flatMap((l) =>
    names.map((name) => Object.assign(edits.at(l, name), { layer: l, direction: name })),
  );
}

function checkLayer(network, layer) {
  const { depth } = network.config;
  if (!(Number.isInteger(layer) && layer >= 0 && layer < depth)) {
    throw new Error(`There is no layer ${layer}; the model has 0 to ${depth - 1}.`);
  }
}

function checkedToken(grid, token) {
  if (!(Number.isInteger(token) && token >= 0 && token < grid.seqlen)) {
    throw new Error(
      `There is no token ${token}; there are ${grid.seqlen}, 0 to ${grid.seqlen - 1}.`,
    );
  }
  return token;
}

function indexOf(grid, place) {
  const sizes = [grid.frames, grid.rows, grid.cols];
  if (!place.every((at, axis) => Number.isInteger(at) && at >= 0 && at < sizes[axis])) {
    throw new Error(
      `There is no patch at token frame ${place[0]}, row ${place[1]}, column ${place[2]}; this ` +
        `model has ${sizes.join(" x ")} of them.`,
    );
  }
  return grid.index(...place);
}

function tokensOf(grid, frame) {
  if (!(Number.isInteger(frame) && frame >= 0 && frame < grid.frames)) {
    throw new Error(
      `There is no token frame ${frame}; this model has 0 to ${grid.frames - 1}.`,
    );
  }
  return Array.from(grid.order(grid.directions[0])).filter((t) => grid.frameOf(t) === frame);
}
