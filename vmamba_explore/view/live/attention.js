// What a token reads from every other, and what reads it: rows and columns of a scan whose delta, B
// and C are frozen, one scan each. analysis/frozen_scan.py and attention.py do this in Python.

const STILL = 1e-30; // the smallest step size that is divided by

// The step at which a scan reads each token
export function stepsOf(order) {
  const steps = new Int32Array(order.length);
  for (let step = 0; step < order.length; step += 1) steps[order[step]] = step;
  return steps;
}

// Some rows, [layer][direction] → (seqlen), as a map; the class token is left out
export function gridMap({ grid, directions }, rows) {
  const size = grid.numPatches;
  const values = new Float32Array(rows.length * directions.length * size);
  rows.flat().forEach((row, at) => {
    values.set(grid.split(row).video, at * size);
  });
  return { values, dims: [rows.length, directions.length, grid.frames, grid.rows, grid.cols] };
}

// The transpose of a scan with its skip D: with which weight v (seqlen, channels), a weight of each
// entry of y, takes each entry of u. It is one scan in the opposite order, of v over the step size
// of the next token that is read.
export function transposedScan(network, { order, delta, A, B, C, D }, v) {
  const [count, channels] = [order.length, D.length];
  const [following, given] = [new Float32Array(v.length), new Float32Array(v.length)];
  for (let step = 0; step < count; step += 1) {
    const at = order[step] * channels;
    const next = order[Math.min(step + 1, count - 1)] * channels; // nothing follows the last
    for (let c = 0; c < channels; c += 1) {
      following[at + c] = Math.max(delta[next + c], STILL);
      given[at + c] = v[at + c] / following[at + c];
    }
  }
  const backwards = order.slice().reverse();
  const read = network.scan({ u: given, delta: following, A, B: C, C: B, D: null, order: backwards });
  for (let i = 0; i < read.length; i += 1) read[i] = D[i % channels] * v[i] + delta[i] * read[i];
  return read;
}

// The mean size over channels at each token, of (seqlen, channels)
function meanSizes(values, channels) {
  const means = new Float32Array(values.length / channels);
  for (let t = 0; t < means.length; t += 1) {
    let sum = 0;
    for (let i = t * channels; i < (t + 1) * channels; i += 1) sum += Math.abs(values[i]);
    means[t] = sum / channels;
  }
  return means;
}

// What a token reads in one scan, or what reads it: (seqlen), NaN where the scan reads the one after
// the other. token: [frame, row, col], or null for what the logits are read from.
export function attentionRow(network, scan, token, reads = true) {
  const { grid } = network;
  const channels = scan.D.length;
  const start = new Float32Array(scan.u.length);
  const index = token === null ? grid.cls : grid.index(...token);
  if (index === null) start.fill(1 / grid.seqlen);
  else start.fill(1, index * channels, (index + 1) * channels);
  const { delta, A, B, C, D, order } = scan;
  const found = reads
    ? transposedScan(network, scan, start)
    : network.scan({ u: start, delta, A, B, C, D, order });
  const row = meanSizes(found, channels);
  if (index === null) return row;
  const steps = stepsOf(order);
  return row.map((value, at) => {
    const possible = reads ? steps[at] <= steps[index] : steps[at] >= steps[index];
    return possible ? value : NaN;
  });
}

// { reads, read_by } of a token in one layer, as maps; of what the logits are read from, reads alone
export function tokenRows(network, run, layer, token) {
  const { scans } = network.layer(run, layer);
  const rows = (reads) => {
    const found = network.directions.map((name) => attentionRow(network, scans[name], token, reads));
    return { ...gridMap(network, [found]), unit: "", about: "", log: true };
  };
  return token === null ? { reads: rows(true) } : { reads: rows(true), read_by: rows(false) };
}
