// Does an answer rest on motion? The answers for the clip with its first frame held still, reversed
// and shuffled, as one sentence and a table; analysis/controls.py and view/trust.py say the same.

import { reordered } from "./exploration.js";
import { softmax } from "./ops.js";
import { percent } from "./percent.js";
import { subjectNote } from "./subject.js";

const TITLE = "What does this answer rest on?";

// A class name with its words of direction turned around; "" where it has none
export function oppositeName(name, pairs) {
  const other = new Map(pairs.flatMap(([a, b]) => [[a, b], [b, a]]));
  const turned = name.replace(/[\p{L}\p{N}_]+/gu, (word) => {
    const found = other.get(word.toLowerCase()) ?? word;
    const upper = word[0] !== word[0].toLowerCase();
    return upper && found.length ? found[0].toUpperCase() + found.slice(1).toLowerCase() : found;
  });
  return turned === name ? "" : turned;
}

function answerOf(kind, shares, first, { class_names: names, undecided, undecided_below: below }) {
  const at = shares.indexOf(Math.max(...shares));
  const says = shares[at] >= below ? names[at] : undecided;
  return { kind, name: names[at], says, probability: shares[at], kept: shares[first] };
}

const quoted = ({ says, probability }) => `"${says}" (${percent(probability)})`;

// What the controls say of the answer, in one sentence
export function controlSentence([original, frozen, reversed, shuffled], about) {
  const model = about.question ? about.name : "The model";
  if (original.says === about.undecided) {
    return `${model} does not decide: its most probable class, "${original.name}", has ` +
      `${percent(original.probability)}, and it answers from ${percent(about.undecided_below)} on.`;
  }
  const survives = ({ says }) => says === original.says;
  let said = `${model} says ${quoted(original)}`;
  if (survives(frozen)) {
    said += `, and says the same of its first frame held still (${percent(frozen.probability)})`;
    if (original.says === about.still) return `${said}, of which it is true: freezing cannot contradict it.`;
    if (survives(reversed)) return `${said}: this answer does not rest on motion.`;
    said += `, but of the clip reversed ${quoted(reversed)}`;
    return `${said}: one frame is enough for this answer, but another order overturns it.`;
  }
  said += `; of its first frame held still it says ${quoted(frozen)}`;
  if (survives(reversed)) {
    said += `, and of the clip reversed the same (${percent(reversed.probability)})`;
    if (survives(shuffled)) return `${said}: this answer rests on several frames, not on their order.`;
    return `${said}: this answer rests on motion, not on its direction.`;
  }
  if (reversed.says === oppositeName(original.says, about.opposites)) {
    said += `, and of the clip reversed the opposite, ${quoted(reversed)}`;
    return `${said}: this answer rests on the direction of time.`;
  }
  said += `, and of the clip reversed ${quoted(reversed)}`;
  if (survives(shuffled)) {
    said += `, but of its frames shuffled the same (${percent(shuffled.probability)})`;
    return `${said}: this answer rests on several frames, and only some orders change it.`;
  }
  return `${said}: this answer rests on the order of the frames.`;
}

// The controls of a run of these frames, the model edited as it was in it: what view/trust.py packs
export async function controlAnswers(network, frames, run, { model: about }, report) {
  const [, ...orders] = about.orders; // the first is the clip's own
  const found = [softmax(run.logits)];
  for (const [done, order] of orders.entries()) {
    const told = (share) => report("controls", (done + share) / orders.length);
    await told(0);
    const tokens = network.embed(reordered(frames, order));
    const { logits } = await network.begin(tokens, run.edits, (_, share) => told(share));
    if (!logits.every(Number.isFinite)) {
      throw new Error("controls: the model's logits are not finite for the clip with its frames in another order.");
    }
    found.push(softmax(logits));
  }
  const shuffled = found.slice(3);
  const mean = found[0].map((_, at) => shuffled.reduce((sum, shares) => sum + shares[at], 0) / shuffled.length);
  const first = found[0].indexOf(Math.max(...found[0]));
  const answers = Object.keys(about.descriptions).map((kind, i) =>
    answerOf(kind, i < 3 ? found[i] : mean, first, about));
  return {
    title: TITLE,
    note: await subjectNote(frames, about, () => report("controls", 1)),
    sentence: controlSentence(answers, about),
    rows: answers.map(({ kind, says, probability }) => ({
      shown: about.descriptions[kind],
      says,
      probability: percent(probability),
      survives: kind !== "original" && says === answers[0].says,
      kind: kind === "original" ? "" : kind,
    })),
  };
}
