// Names and values as parts of a sentence or of Python code: the same text that Python makes (errors.py).

// Characters that end a line, change its direction, or are half a character.
const UNSEEN = /[\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069]/gu;
const SHORT_ESCAPES = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

// As Python's `unicode_escape` writes a character.
function escaped(sign) {
  const code = sign.codePointAt(0);
  if (sign in SHORT_ESCAPES) return SHORT_ESCAPES[sign];
  const [mark, width] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
  return `\\${mark}${code.toString(16).padStart(width, "0")}`;
}

// Leaves out the middle of a text of more than so many characters.
function shortened(text, most) {
  const signs = [...text];
  if (signs.length <= most) return text;
  const end = Math.floor(most / 3);
  return `${signs.slice(0, most - end - 1).join("")}…${signs.slice(signs.length - end).join("")}`;
}

// A name as a part of one line, as `one_line`.
export function oneLine(text, most = 200) {
  return shortened(shortened(String(text), most).replace(UNSEEN, escaped), most);
}

// A text as Python writes it in code, as `repr`.
export function quotedText(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = [...text].map((sign) => {
    if (sign === quote || sign === "\\") return `\\${sign}`;
    return sign !== " " && /^[\p{C}\p{Z}]$/u.test(sign) ? escaped(sign) : sign;
  });
  return `${quote}${inner.join("")}${quote}`;
}

// A value that came as JSON, as Python writes it.
export function inPython(value) {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return quotedText(value);
  if (Array.isArray(value)) return `[${value.map(inPython).join(", ")}]`;
  if (typeof value !== "object") return String(value);
  return `{${Object.entries(value).map(([key, each]) => `${quotedText(key)}: ${inPython(each)}`).join(", ")}}`;
}

// The same for a message, shortened, as `shown`.
export const shownValue = (value) => oneLine(inPython(value), 80);
