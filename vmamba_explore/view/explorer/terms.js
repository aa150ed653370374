// What Python and JavaScript both say: keys, names and numbers, from vocabulary.py.

export const terms = {};

// To be called before anything else: the terms come with the data.
export function learn(model) {
  Object.assign(terms, model.get("terms"));
}

// A side's letter, "" where there is one side; or of all the text that has a value, one line.
export const sideName = (data, side) => (data.sides.length > 1 ? terms.sides[side] : "");
export const joined = (...texts) => texts.filter(Boolean).join(" · ");
