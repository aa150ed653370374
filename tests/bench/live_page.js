// Times the model in a worker of a browser: see live_page.py.

import { controlAnswers } from "../../vmamba_explore/view/live/control_runs.js";
import { evidenceCurves } from "../../vmamba_explore/view/live/evidence.js";
import { firstNumbers } from "../../vmamba_explore/view/live/maps.js";
import { Network } from "../../vmamba_explore/view/live/network.js";
import { loadOps } from "../../vmamba_explore/view/live/wasm.js";
import { unpackWeights } from "../../vmamba_explore/view/live/weights.js";

async function timed(found, name, work) {
  const start = performance.now();
  const result = await work();
  (found[name] ??= []).push(performance.now() - start);
  return result;
}

globalThis.onmessage = async ({ data: { about, header, text, wasm, pixels, rounds } }) => {
  const ops = await loadOps(wasm && Uint8Array.from(wasm));
  const network = new Network(about.config, await unpackWeights(header, text), ops);
  const frames = Uint8Array.from(pixels);
  const report = async () => {};
  const names = about.quantities.filter(({ live }) => live).map(({ name }) => name);
  const layers = Array.from({ length: about.config.depth }, (_, layer) => layer);
  const found = {};
  for (let round = 0; round < rounds; round += 1) {
    let tokens = null;
    const run = await timed(found, "logits", () => {
      tokens = network.embed(frames);
      return network.run(tokens);
    });
    const target = run.logits.indexOf(Math.max(...run.logits));
    const question = { target, minus: null, layers, names, classNames: about.class_names, model: about, edited: false };
    await timed(found, "maps", () => firstNumbers(network, run, question, report));
    await timed(found, "evidence", () => evidenceCurves(network, tokens, run, question, report));
    await timed(found, "controls", () => controlAnswers(network, frames, run, question, report));
  }
  postMessage({ found, ops: ops.name });
};
