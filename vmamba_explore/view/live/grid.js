// Where a clip's tokens stand, as tokens.py has it: time-major, then rows, then columns, the class
// token where the configuration puts it; and in which order each scan reads them.

const countUp = (count) => Int32Array.from({ length: count }, (_, at) => at);

export class Grid {
  // config: VideoMambaConfig.to_dict()
  constructor(config) {
    const side = config.img_size / config.patch_size;
    this.frames = config.num_frames / config.tubelet_size;
    this.rows = side;
    this.cols = side;
    this.numPatches = this.frames * this.rows * this.cols;
    const position = config.cls_position;
    this.cls = position === null ? null : position === "front" ? 0 : this.numPatches >> 1;
    this.seqlen = this.numPatches + (position === null ? 0 : 1);
    this.orders = { forward: countUp(this.seqlen) };
    if (config.backward_order !== null) this.orders.backward = this.backwards(config.backward_order);
    this.directions = Object.keys(this.orders);
  }

  index(frame, row, col) {
    const at = (frame * this.rows + row) * this.cols + col;
    return at + (this.cls !== null && at >= this.cls ? 1 : 0);
  }

  // [frame, row, col] of a token, null for the class token
  place(index) {
    if (index === this.cls) return null;
    const at = index - (this.cls !== null && index > this.cls ? 1 : 0);
    const patches = this.rows * this.cols;
    return [Math.floor(at / patches), Math.floor(at / this.cols) % this.rows, at % this.cols];
  }

  // The token frame of a token, -1 for the class token
  frameOf(index) {
    return this.place(index)?.[0] ?? -1;
  }

  // (seqlen, width) → the video tokens (numPatches, width), and the class token's row or null
  split(values, width = 1) {
    if (this.cls === null) return { video: values, cls: null };
    const video = new values.constructor(this.numPatches * width);
    const [start, end] = [this.cls * width, (this.cls + 1) * width];
    video.set(values.subarray(0, start));
    video.set(values.subarray(end), start);
    return { video, cls: values.slice(start, end) };
  }

  // The natural index of the token that a direction reads at each step; of tokens some of which are
  // dropped, its place among those that are kept
  order(direction, kept = null) {
    const order = this.orders[direction];
    if (kept === null) return order;
    const place = new Int32Array(this.seqlen).fill(-1);
    kept.forEach((token, at) => {
      place[token] = at;
    });
    return order.map((token) => place[token]).filter((at) => at >= 0);
  }

  // The last step on this side of the boundary before a token frame, in the order of a scan
  crossing(order, kept, frame) {
    if (!(Number.isInteger(frame) && frame >= 1 && frame < this.frames)) {
      throw new Error(
        `There is no boundary before token frame ${frame}; this model has ${this.frames} token ` +
          `frames, so its boundaries are 1 to ${this.frames - 1}.`,
      );
    }
    const frames = Array.from(order, (at) => this.frameOf(kept === null ? at : kept[at]));
    const above = frames.findIndex((each) => each >= frame);
    const below = frames.findIndex((each) => each >= 0 && each < frame);
    if (above < 0 || below < 0) {
      const side = above < 0 ? `of token frame ${frame} or above` : `below token frame ${frame}`;
      throw new Error(`No token ${side} is left, so no scan crosses that boundary.`);
    }
    return Math.max(above, below) - 1;
  }

  backwards(order) {
    if (order === "spatiotemporal") return countUp(this.seqlen).reverse();
    const patches = this.rows * this.cols;
    const first = this.cls === null ? 0 : 1; // a class token stands in front, and is read last
    const tokens = [];
    for (let frame = 0; frame < this.frames; frame += 1) {
      for (let at = 0; at < patches; at += 1) {
        const [f, p] = order === "spatial" ? [frame, patches - 1 - at] : [this.frames - 1 - frame, at];
        tokens.push(first + f * patches + p);
      }
    }
    return Int32Array.from(first ? [...tokens, 0] : tokens);
  }
}
