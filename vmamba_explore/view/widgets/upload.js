// Sends a file to Python in pieces, each after the one before was received: a message of more than
// 10 MB would vanish without a word (see upload.py).

import { Requests } from "./requests.js";

const KERNEL_SECONDS = 60; // it may be busy with another cell

export class Sender {
  constructor(model) {
    this.model = model;
    this.requests = new Requests(model);
  }

  // Calls `tell` with the bytes that have arrived; ends when all have.
  async send(slot, file, tell) {
    const key = `${Date.now()}-${Math.random()}`; // a later upload takes the place of this one
    this.requests.stop("Upload: another file was chosen.");
    const late = () => this.requests.stop("Upload: no kernel answers; run the cell again.");
    const ask = async (content, ...pieces) =>
      (await this.requests.ask({ key, slot, ...content }, KERNEL_SECONDS, late, ...pieces)).bytes;
    let start = await ask({ name: file.name, size: file.size });
    while (start < file.size) {
      tell(start);
      const piece = await file.slice(start, start + this.model.get("piece")).arrayBuffer();
      start = await ask({ start }, piece);
    }
  }

  close() {
    this.requests.close();
  }
}
