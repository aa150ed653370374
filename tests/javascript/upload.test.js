import assert from "node:assert/strict";
import { test } from "node:test";
import { Sender } from "../../vmamba_explore/view/widgets/upload.js";

// A model whose kernel takes pieces of 4 bytes, and what it received.
function receiving(refuses = () => undefined) {
  const received = [];
  const model = {
    get: () => 4,
    on: (_, handler) => (model.hear = handler),
    off: () => (model.hear = null),
    send(content, _, buffers) {
      received.push(...buffers.map((piece) => Buffer.from(piece).toString()));
      const bytes = received.join("").length;
      setImmediate(() => model.hear?.({ reply: content.request, bytes, error: refuses(content) }, []));
    },
  };
  return { model, received };
}

test("a file goes in pieces, each after the one before", async () => {
  const { model, received } = receiving();
  const told = [];
  await new Sender(model).send("clip", new File(["0123456789"], "film.mp4"), (bytes) => told.push(bytes));
  assert.deepEqual(received, ["0123", "4567", "89"]);
  assert.deepEqual(told, [0, 4, 8]);
});

test("what the kernel refuses, another file and a closed view end it with a reason", async () => {
  const { model } = receiving(({ start }) => (start === 4 ? "too much" : undefined));
  const sender = new Sender(model);
  const file = new File(["0123456789"], "film.mp4");
  await assert.rejects(sender.send("clip", file, () => {}), /too much/);
  const first = sender.send("clip", file, () => {});
  const second = sender.send("clip", file, () => {});
  await assert.rejects(first, /another file was chosen/);
  sender.close();
  await assert.rejects(second, /the view was closed/);
});
