import assert from "node:assert/strict";
import { test } from "node:test";
import { decodedLens } from "../../vmamba_explore/view/explorer/lens.js";
import { explored } from "./explored.js";

const bytes = (numbers) => Uint8Array.from(numbers);
const view = (numbers) => new DataView(bytes(numbers).buffer);

// Layers 1 and 4, two directions, two token frames, two answers: the probabilities count up by 3.
const lens = {
  layers: [1, 4], directions: ["forward", "backward"],
  targets: [{
    name: "label", answers: ["up", "down"], chance: 50,
    probabilities: view([...Array(8).keys()].flatMap((i) => [3 * i, 100 - 3 * i])),
    scores: view([...Array(32).keys()]), after: view([...Array(15).keys(), 255]),
  }],
};

test("the most probable answer is that of its layer, direction and token frame", async () => {
  await explored(); // learns the terms
  const [label] = decodedLens(lens);
  assert.equal(label.frames, 2);
  assert.deepEqual(label.best(1, "forward", 1), { name: "down", percent: 97 });
  assert.deepEqual(label.best(4, "backward", 0), { name: "down", percent: 82 });
});

test("scores are the share of right answers, its ends, and that with shuffled labels", async () => {
  await explored();
  const [label] = decodedLens(lens);
  assert.deepEqual(label.score(4, "forward", 1), { accuracy: 5, low: 13, high: 21, shuffled: 29 });
  assert.deepEqual(label.score(1, "backward"), { accuracy: 1, low: 5, high: 9, shuffled: 13 });
  assert.equal(label.score(4, "backward").shuffled, null); // not known
});
