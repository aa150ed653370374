// At which step of a scan "How it works" stands: what plays it, and which key leads where. It draws nothing.

export const WALK_SPEEDS = [2, 8, 32, 128]; // tokens a second

// What to press while the scan has the focus, and what it does.
export const WALK_KEYS = [
  ["Space, →", "read one token more"],
  ["←", "one token back"],
  ["Home, End", "first or last token"],
  ["p", "play or pause"],
];

export class WalkPlayer {
  // steps: how many tokens the scan reads. `at` is the step whose token was read last, 0 to steps - 1.
  constructor(steps) {
    Object.assign(this, { steps, at: 0, playing: false, speed: WALK_SPEEDS[1], owed: 0 });
  }

  go(step) {
    this.at = Math.max(0, Math.min(this.steps - 1, Math.round(step)));
  }

  // Starts, from the first token where the last one was read; or stops.
  toggle() {
    if (!this.playing && this.at === this.steps - 1) this.at = 0;
    this.playing = !this.playing;
    this.owed = 0;
  }

  // Reads what is due after some milliseconds, and stops at the end.
  pass(milliseconds) {
    if (!this.playing) return;
    this.owed += (milliseconds * this.speed) / 1000;
    const due = Math.floor(this.owed);
    this.owed -= due;
    this.go(this.at + due);
    if (this.at === this.steps - 1) this.playing = false;
  }

  // Does what a key stands for; whether it stands for anything. A step by hand stops what plays.
  press(key) {
    const to = { " ": this.at + 1, ArrowRight: this.at + 1, ArrowLeft: this.at - 1, Home: 0, End: this.steps - 1 }[key];
    if (key === "p") this.toggle();
    else if (typeof to !== "number") return false; // nor what every object has
    else {
      this.playing = false;
      this.go(to);
    }
    return true;
  }
}
