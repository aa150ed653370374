// The switch between the pixels of the file and those that the model sees; asks the kernel for the first.

import { asBytes, element } from "../widgets/drawing.js";
import { terms } from "./terms.js";
import { PATIENCE } from "./view.js";

async function pursueFilm(view, film) {
  const { films, requests } = view.kept;
  films.known.set(film, null);
  try {
    const { offsets = [], buffers } = await requests.run({ run: terms.pictures, film }, PATIENCE, { late() {} });
    await films.put(film, offsets.length ? asBytes(buffers[0]) : null, offsets);
  } catch (error) {
    if (films.known.has(film)) view.say("films", `The frames of the file cannot be shown: ${error.message}`);
  }
}

export function createPixels(view) {
  const { data, kept, model } = view;
  const { films } = kept;
  const [height, width] = data.sides[0].size ?? [0, 0];
  const box = element("input", {
    type: "checkbox", "aria-label": "what the model sees", title: "The model's few pixels, or those of the file (m)",
  });
  const node = element("label", { class: "vmx-pixels vmx-tool" },
    box, element("span", {}, `what the model sees (${width} × ${height} pixels)`));
  const keys = [...new Set(data.sides.map(({ film }) => film).filter(Boolean))];
  films.keep(keys);
  films.show = () => view.touch("pixels");
  const embedded = model.get("films") ?? []; // of a page alone
  for (const film of keys.filter((key) => !films.known.has(key))) {
    const own = embedded.find((each) => each.film === film);
    if (own) {
      films.known.set(film, null);
      films.put(film, asBytes(own.frames), own.offsets);
    } else if (!model.alone) pursueFilm(view, film);
  }
  view.listen(box, "change", () => view.set("pixels", terms.pixels[box.checked ? "model" : "source"]));
  return {
    nodes: [node],
    update() {
      node.hidden = !films.any;
      box.checked = view.get("pixels") === terms.pixels.model;
    },
  };
}
