import assert from "node:assert/strict";
import { test } from "node:test";
import { LiveRuns, teller } from "../../vmamba_explore/view/live/runs.js";

const until = async (true_) => {
  while (!true_()) await new Promise((go) => setTimeout(go, 1));
};
const last = (sent, number) => sent.filter(({ reply }) => reply === number).at(-1);
const ended = (sent, number) => until(() => last(sent, number)?.progress === undefined && last(sent, number));

function running() {
  const sent = [];
  return { sent, runs: new LiveRuns((content) => sent.push(content)) };
}

// Work of so many steps, which notes each.
const steps = (noted, name, count = 3) => async (report) => {
  for (let i = 0; i < count; i++) {
    await report(`${name} ${i}`, i / count);
    noted.push(`${name}${i}`);
  }
};

test("a run tells how far it is, and ends with what the work returned", async () => {
  const { sent, runs } = running();
  runs.start("change", 1, async (report) => {
    await report("layer 0", 0.5);
    return { found: 3 };
  });
  await ended(sent, 1);
  assert.deepEqual(sent, [
    { reply: 1, progress: 0, words: "waiting" }, { reply: 1, progress: 0.5, words: "layer 0" },
    { reply: 1, done: true, found: 3 },
  ]);
  assert.deepEqual(runs.open, []);
});

test("a newer run of a kind stops the older one, and an error is one sentence", async () => {
  const { sent, runs } = running();
  const noted = [];
  runs.start("change", 1, steps(noted, "old", 50));
  await until(() => noted.length > 0);
  runs.start("change", 2, async () => {
    throw new Error("There is no layer 9.");
  });
  await ended(sent, 2);
  assert.deepEqual(last(sent, 1), { reply: 1, cancelled: true });
  assert.deepEqual(last(sent, 2), { reply: 2, error: "There is no layer 9." });
  assert.ok(noted.length < 50);
});

test("what gives way waits until the other run has ended, and is joined by who asks for the same", async () => {
  const { sent, runs } = running();
  const noted = [];
  const meanwhile = () => {
    runs.start("change", 2, steps(noted, "c"));
    runs.start("late", 3, steps(noted, "never"), true);
  };
  runs.start("late", 1, async (report) => {
    await report("l", 0);
    noted.push("l0");
    meanwhile();
    await steps(noted, "l", 4)(report);
  }, true);
  await ended(sent, 3);
  assert.deepEqual(last(sent, 1), { reply: 1, done: true });
  assert.deepEqual(last(sent, 3), { reply: 3, done: true });
  assert.deepEqual(noted, ["l0", "c0", "c1", "c2", "l0", "l1", "l2", "l3"]);
});

test("a run that waits for its turn can be cancelled, and so can one that works", async () => {
  const { sent, runs } = running();
  const noted = [];
  runs.start("late", 1, steps(noted, "l", 500), true);
  runs.start("change", 2, steps(noted, "c", 500));
  await until(() => noted.includes("c1"));
  runs.cancel(1);
  await ended(sent, 1);
  runs.cancel(2);
  await ended(sent, 2);
  assert.deepEqual([last(sent, 1), last(sent, 2)], [{ reply: 1, cancelled: true }, { reply: 2, cancelled: true }]);
  assert.ok(noted.length < 500);
});

test("nothing is answered any more when the runs are closed", async () => {
  const { sent, runs } = running();
  const noted = [];
  runs.start("change", 1, steps(noted, "c", 500));
  await until(() => noted.length > 0);
  const before = sent.length;
  runs.close();
  await until(() => runs.open.length === 0);
  assert.equal(sent.length, before);
});

test("progress is told again after a while, so that who waits knows that the worker lives", () => {
  const told = [];
  let now = 0;
  const tell = teller((content) => told.push(content.words), () => now);
  tell("layer 1", 0);
  tell("layer 1", 0);
  now = 2_001;
  tell("layer 1", 0);
  tell("layer 2", 0, true);
  now = 4_100;
  tell("layer 3", 0, true);
  assert.deepEqual(told, ["layer 1", "layer 1", "layer 3"]);
});
