import assert from "node:assert/strict";
import { test } from "node:test";
import { loadData } from "../../vmamba_explore/view/explorer/data.js";
import { createLate } from "../../vmamba_explore/view/explorer/late.js";
import { Requests } from "../../vmamba_explore/view/widgets/requests.js";
import { explored, packed } from "./explored.js";

const settled = () => new Promise(setImmediate);

function asked() {
  const sent = [];
  const model = { on() {}, off() {}, send: (content) => sent.push(content) };
  return { sent, requests: new Requests(model) };
}

test("a run hears of progress, which counts as an answer, and ends once", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { sent, requests } = asked();
  const heard = [];
  const run = requests.run({ run: "late" }, 10, {
    late: () => heard.push("late"), progress: (...each) => heard.push(each), started: (id) => heard.push(id),
  });
  const [{ request }] = sent;
  context.mock.timers.tick(9_000);
  requests.hear({ reply: request, progress: 0.5, words: "layer 3" });
  context.mock.timers.tick(9_000);
  assert.deepEqual(heard, [request, ["layer 3", 0.5]]);
  context.mock.timers.tick(1_001);
  assert.equal(heard.at(-1), "late");
  requests.hear({ reply: request, done: true });
  assert.equal((await run).done, true);
  assert.equal(requests.waiting.size, 0);
  requests.cancel(request);
  assert.deepEqual(sent.at(-1), { cancel: request });
});

// The part that waits for what comes later, in a page made of plain objects.
async function waiting() {
  globalThis.document = {
    createElement: () => ({ setAttribute() {}, append() {}, textContent: "", hidden: false }),
  };
  const side = { missing: true, controls: null, camera: null, evidence: "", curves: [] };
  const { model, view } = await explored({ late: [side] });
  const sent = [];
  model.send = (content) => sent.push(content);
  const [node] = createLate(view).nodes;
  return { view, sent, node, answer: (content) => view.requests.hear({ reply: sent[0].request, ...content }) };
}

test("what is missing is asked for once, and a view made anew goes on to say how far it is", async () => {
  const { view, sent, node, answer } = await waiting();
  assert.deepEqual(sent.map(({ run }) => run), ["late"]);
  assert.match(node.textContent, /computing …/);
  answer({ progress: 0.25, words: "evidence" });
  assert.match(node.textContent, /evidence, 25 %/);
  const [again] = createLate(view).nodes;
  assert.equal(sent.length, 1);
  assert.match(again.textContent, /evidence, 25 %/);
  answer({ error: "no room" });
  await settled();
  assert.match(again.textContent, /could not be computed: no room/);
  view.data.sides[0].missing = false;
  assert.equal(createLate(view).nodes[0].hidden, true);
});

test("a kernel that never answers is said, and what was stopped, too", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { node, answer } = await waiting();
  context.mock.timers.tick(10_000);
  assert.match(node.textContent, /no kernel has answered yet/);
  answer({ cancelled: true });
  await settled();
  assert.match(node.textContent, /the work was stopped/);
});

test("maps that come later are cut from a stream of their own, in their place among the others", async () => {
  const first = await explored();
  const { maps } = packed();
  const late = { ...maps[2], name: "relevance", late: true };
  first.model.set("maps", [maps[0], late, maps[1], maps[2]]);
  const before = first.data;
  const bytes = Uint8Array.from([9, 8, 7, 6, 5, 4, 3, 2]);
  const { deflateSync } = await import("node:zlib");
  first.model.set("late_levels", new DataView(Uint8Array.from(deflateSync(bytes)).buffer));
  const data = await loadData(first.model, before);
  assert.deepEqual([...data.quantities.keys()], ["delta", "relevance", "log", "whole"]);
  assert.deepEqual([...data.quantities.get("relevance").plane(0, "forward", 5, 1)], [5, 4, 3, 2]);
  assert.deepEqual([...data.quantities.get("whole").plane(0, "forward", 5, 1)], [4, 5, 6, 7]);
  assert.equal(data.sides[0].pictures, before.sides[0].pictures, "unpacked twice");
});

test("data that take over pictures keep them, and let go of the others", async () => {
  const closed = [];
  const { data } = await explored({ sides: 2 });
  const picture = (name) => ({ close: () => closed.push(name) });
  data.sides[0].pictures = [picture("stays")];
  data.sides[1].pictures = [picture("goes")];
  data.close({ sides: [data.sides[0]] });
  assert.deepEqual(closed, ["goes"]);
  data.close();
  assert.deepEqual(closed, ["goes", "stays", "goes"]);
});

test("a second side without frames shows the first side's clip", async () => {
  const { data } = await explored({ sides: 2 });
  assert.equal(data.sides[1].pictures, data.sides[0].pictures);
});
