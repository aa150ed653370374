// Runs in the worker: work that the view asks for, with progress, cancel and one answer, as runs.py has
// them: one at a time, but for those that give way to the others; the newest of a kind wins.

const REMINDER = 2000; // ms after which progress is told again, so that the view knows that the worker lives
const WAITING = 10; // ms between looks whether it is a run's turn

// Raised by a report when the work is to stop.
export class CancelledRun extends Error {}

// Lets the worker hear what was sent meanwhile.
export function heard() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}

// Tells how far some work is, each time that is new or the last time is a while ago.
export function teller(answer, now = () => performance.now()) {
  let [told, when] = ["", now()];
  return (words, share, onlyLate = false) => {
    const [time, text] = [now(), `${words} ${share}`];
    if ((onlyLate || told === text) && time - when < REMINDER) return;
    [told, when] = [text, time];
    answer({ progress: share, words });
  };
}

export class LiveRuns {
  // send: gets each answer.
  constructor(send) {
    Object.assign(this, { send, open: [] });
  }

  // work: an async function of a report; what it returns is sent with the last answer. Of a kind that
  // gives way and works already, the run is joined.
  start(kind, number, work, givesWay = false) {
    const same = this.open.filter((run) => run.kind === kind && !run.stopped);
    const run = givesWay && same.length ? same[0] : { kind, work, givesWay, waiting: [], stopped: false };
    run.waiting.push(number);
    this.answer(run, { progress: 0, words: "waiting" });
    if (same.includes(run)) return;
    for (const other of same) other.stopped = true;
    this.open.push(run);
    this.perform(run);
  }

  // Stops the run that a request waits for.
  cancel(number) {
    for (const run of this.open) if (run.waiting.includes(number)) run.stopped = true;
  }

  // Stops everything; nothing is answered any more.
  close() {
    for (const run of this.open) Object.assign(run, { waiting: [], stopped: true });
  }

  answer(run, content) {
    for (const number of run.waiting) this.send({ reply: number, ...content });
  }

  async perform(run) {
    const tell = teller((content) => this.answer(run, content));
    const report = async (words, share) => {
      await this.turn(run);
      tell(words, share);
    };
    let answer;
    try {
      await this.turn(run);
      answer = { done: true, ...(await run.work(report)) };
    } catch (error) {
      answer = error instanceof CancelledRun ? { cancelled: true } : { error: error.message };
    }
    this.open.splice(this.open.indexOf(run), 1);
    this.answer(run, answer);
  }

  // Waits until it is the run's turn; ends it where it was stopped.
  async turn(run) {
    await heard();
    while (!run.stopped && this.before(run)) await new Promise((go) => setTimeout(go, WAITING));
    if (run.stopped) throw new CancelledRun("the run was stopped");
  }

  // Whether another run's turn is before that of one.
  before(run) {
    return this.open.some((other, i) =>
      other !== run && !other.givesWay && (run.givesWay || i < this.open.indexOf(run)));
  }
}
