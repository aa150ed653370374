// Questions about single tokens and states, answered as widget.py and states.py answer them.

import { terms } from "../explorer/terms.js";
import { packAnswer, packTogether, stateShape } from "./packed.js";
import { shownValue } from "./words.js";

// What a token reads, and what reads it.
export async function readingAnswer(session, content, report) {
  const { shown, layer, token } = session.asked(content);
  const { network, numbers } = session.model;
  return packAnswer(await numbers.tokenRows(network, await shown.ran(report), layer, token));
}

// One state of all sides on one scale.
export async function stateAnswer(session, content, report) {
  const { network, numbers } = session.model;
  const layer = session.checkedLayer(content.layer);
  const [channel, number] = checkedState(content.state, stateShape(network));
  const maps = [];
  for (const side of session.sides) {
    maps.push(await numbers.stateMap(network, await side.ran(report), layer, channel, number));
  }
  const asked = { state: number, channel, layer };
  const about = filledIn(terms.state_about, asked);
  const drawn = maps.map((map) => ({ ...map, about, log: false, signed: true }));
  const { described, levels } = packTogether(terms.one_state, drawn);
  return { map: { ...described, label: filledIn(terms.state_label, asked) }, buffers: [levels] };
}

// A text of Python's with values in the place of their names.
const filledIn = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

function checkedState(place, counts) {
  if (!Array.isArray(place) || place.length !== 2) throw new Error("Explorer: expected a state as [channel, state].");
  for (const [i, name] of ["channel", "state_number"].entries()) {
    if (Number.isInteger(place[i]) && 0 <= place[i] && place[i] < counts[i]) continue;
    throw new Error(`Explorer: ${name} is ${shownValue(place[i])}, expected 0 to ${counts[i] - 1}.`);
  }
  return place;
}

// The states of a side that stand out in a layer.
export async function choicesAnswer(session, content, report) {
  const { shown, layer, token } = session.asked(content);
  const { network, numbers } = session.model;
  const run = await shown.ran(report);
  return { choices: await numbers.stateChoices(network, run, layer, token, shown.question([])) };
}
