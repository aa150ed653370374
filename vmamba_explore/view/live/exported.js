// The explorer of an exported page with the model inside the page: `showLive` in place of `show`.

import { standaloneModel } from "../widgets/standalone.js";
import { enliven, startWorker } from "./kernel.js";

// live: { code, wasm, about, header, names of the maps, called: what the model is called }; the weights stand as text in an element of their own.
export function showLive(render, id, state, { code, wasm, about, header, names, called }) {
  const model = standaloneModel(state);
  render({ model, el: document.getElementById(id) });
  enliven(model, async () => {
    const worker = await startWorker({ code, wasm: wasm && standaloneModel({ wasm }).get("wasm") });
    const text = document.getElementById(`${id}-text`).textContent;
    return { worker, model: { about, weights: { header, text }, names, called } };
  });
}
