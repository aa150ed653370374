// The frames of clips with all the pixels of their files, as far as they are here.

import { decodePictures } from "../widgets/drawing.js";

// What is known of each clip by its key: null while nothing came, or never will; else its pictures.
export class Films {
  constructor() {
    this.known = new Map();
    this.show = null; // the view's; it is made anew when data are replaced
  }

  get(key) {
    return this.known.get(key) ?? null;
  }

  get any() {
    return [...this.known.values()].some((film) => film !== null);
  }

  // Keeps these and lets go of the others.
  keep(keys) {
    for (const [key, film] of this.known) {
      if (keys.includes(key)) continue;
      for (const picture of film?.pictures ?? []) picture.close();
      this.known.delete(key);
    }
  }

  async put(key, bytes, offsets) {
    if (!offsets.length) return; // the file has no more pixels than the model sees
    const pictures = await decodePictures(bytes, offsets);
    if (this.known.has(key)) this.known.set(key, { pictures, gray: [] });
    else for (const picture of pictures) picture.close(); // shown no more
    this.show?.();
  }
}
