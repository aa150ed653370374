import assert from "node:assert/strict";
import { test } from "node:test";
import { Newest } from "../../vmamba_explore/view/explorer/states.js";
import { explored } from "./explored.js";

// A queue whose kernel is this test: what it sends, and how to answer.
async function asking() {
  const { model, view } = await explored();
  const sent = [];
  model.send = (content) => sent.push(content);
  const newest = new Newest(view.requests, "late");
  const answer = (number, content) => {
    view.requests.hear({ reply: sent[number].request, ...content }, []);
    return new Promise(setImmediate); // until it was taken in
  };
  return { sent, newest, answer, view };
}

test("of the questions that wait only the newest is asked, and only its answer is told", async () => {
  const { sent, newest, answer } = await asking();
  const told = [];
  for (const layer of [1, 2, 3]) newest.ask({ layer }, (found) => told.push([layer, found.map]));
  assert.deepEqual(sent.map(({ layer }) => layer), [1]);
  await answer(0, { map: "one" });
  await answer(1, { map: "three" });
  assert.deepEqual(sent.map(({ layer }) => layer), [1, 3]);
  assert.deepEqual(told, [[3, "three"]]);
  assert.equal(newest.known({ layer: 1 }).map, "one"); // it is kept all the same
  assert.equal(newest.known({ layer: 2 }), undefined);
});

test("an error is told as the kernel said it, and the next question is asked", async () => {
  const { sent, newest, answer } = await asking();
  const told = [];
  newest.ask({ layer: 1 }, (found, words) => told.push([found, words]));
  await answer(0, { error: "no such <b>state</b>" });
  newest.ask({ layer: 2 }, (found) => told.push(found.map));
  await answer(1, { map: "two" });
  assert.deepEqual(told, [[null, "no such <b>state</b>"], "two"]);
  assert.equal(sent.length, 2);
});

test("a kernel that is silent is said to be, and may still answer", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { newest, answer } = await asking();
  const told = [];
  newest.ask({ layer: 1 }, (found, words) => told.push(found?.map ?? words));
  context.mock.timers.tick(10_000);
  assert.deepEqual(told, ["late"]);
  await answer(0, { map: "one" });
  assert.deepEqual(told, ["late", "one"]);
});
