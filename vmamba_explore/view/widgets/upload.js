// Sends a file to Python in pieces, each after the one before was received: a message of more than
// 10 MB would vanish without a word (see upload.py).

const KERNEL_SECONDS = 60; // it may be busy with another cell

export class Sender {
  constructor(model) {
    this.model = model;
    this.waiting = null; // {key, resolve, reject}
    this.hear = (content) => this.heard(content);
    model.on("msg:custom", this.hear);
  }

  // Calls `tell` with the bytes that have arrived; ends when all have.
  async send(slot, file, tell) {
    const key = `${Date.now()}-${Math.random()}`; // other views of the same widget send too
    this.stop("another file was chosen");
    let start = await this.ask({ upload: key, slot, name: file.name, size: file.size });
    while (start < file.size) {
      tell(start);
      const piece = await file.slice(start, start + this.model.get("piece")).arrayBuffer();
      start = await this.ask({ piece: key, slot, start }, piece);
    }
  }

  ask(content, piece) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.stop("no kernel answers; run the cell again"), 1000 * KERNEL_SECONDS);
      const end = (settle) => (value) => {
        clearTimeout(timer);
        settle(value);
      };
      this.waiting = { key: content.upload ?? content.piece, resolve: end(resolve), reject: end(reject) };
      this.model.send(content, undefined, piece ? [piece] : []);
    });
  }

  heard(content) {
    if (this.waiting === null || this.waiting.key !== (content.received ?? content.refused)) return;
    const { resolve, reject } = this.waiting;
    this.waiting = null;
    if (content.error) reject(new Error(content.error));
    else resolve(content.bytes);
  }

  stop(reason) {
    const waiting = this.waiting;
    this.waiting = null;
    waiting?.reject(new Error(`Upload: ${reason}.`));
  }

  close() {
    this.model.off("msg:custom", this.hear);
    this.stop("the view was closed");
  }
}
