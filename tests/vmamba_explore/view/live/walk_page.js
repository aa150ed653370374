// A page of a test: the explorer of one clip with the walk under it, both asking a worker.

import "../../../../vmamba_explore/view/explorer/explorer.js";
import { kernelFor, startWorker } from "../../../../vmamba_explore/view/live/kernel.js";
import { createWalk } from "../../../../vmamba_explore/view/live/walk.js";
import { Requests } from "../../../../vmamba_explore/view/widgets/requests.js";
import { standaloneModel } from "../../../../vmamba_explore/view/widgets/standalone.js";

export async function openWalk(render, { code, wasm, about, header, defaults, clip }) {
  const bytes = standaloneModel({ wasm, frames: clip.frames });
  const [compiled, frames] = ["wasm", "frames"].map((name) => new Uint8Array(bytes.get(name).buffer));
  const worker = await startWorker({ code, wasm: compiled });
  const text = document.getElementById("weights").textContent;
  const { model } = await kernelFor(worker, { about, weights: { header, text }, defaults }, { ...clip, frames });
  render({ model, el: document.getElementById("explorer") });
  const requests = new Requests(model);
  const ask = (question) => requests.ask(question, 60, () => {});
  const walk = createWalk({ ask, model, el: document.getElementById("walk") });
  Object.assign(globalThis, { walkModel: model, closeWalk: () => walk.close() });
}
