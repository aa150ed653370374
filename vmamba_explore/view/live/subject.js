// Whether a clip shows what a bundled model's question is about, told by its pixels alone, as
// clips/subjects.py tells it. Bundled models read frames of 64 x 64 pixels.

const SIDE = 64;
const POINTS = 96; // of a circle
const RING_RADII = Array.from({ length: 15 }, (_, i) => 8.5 + 0.75 * i); // of the middle of a ring
const OUTSIDE = 1.3; // a ring ends; a field of color does not
const VIVID = 70; // of 255: how far two of a pixel's colors must lie above the third
const RING = 0.75; // the least share of a ring, in a quarter of the frames
const WHITE = 190; // of 255: the least of a white pixel's colors
const NEAR = 60; // of 255: how far a disc's colors may be off
const DISCS = [[230, 30, 35], [255, 225, 0], [0, 175, 75], [40, 80, 245]];
const [RIM, DISC, CENTER] = [13, 10, 4]; // radii of a target's parts
const TARGET = 0.75; // the least share of a target's circles
const FLAT = 3; // of 255

// Halves go to the even number, as numpy rounds
function nearest(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
}

const wrapped = (at) => at & (SIDE - 1); // SIDE is a power of two

// Rows and columns of the points of a circle around 0, with repeats
function circlePoints(radius) {
  const turns = Array.from({ length: POINTS }, (_, i) => (i * 2 * Math.PI) / POINTS);
  return [Math.sin, Math.cos].map((f) => Int32Array.from(turns, (turn) => nearest(radius * f(turn))));
}

const circles = new Map();

// The share of a circle's points that are in a mask, for a circle around each pixel; the picture
// continues at its opposite edge
function onCircles(mask, radius) {
  if (!circles.has(radius)) circles.set(radius, circlePoints(radius));
  const [downs, rights] = circles.get(radius);
  const counts = new Float32Array(SIDE * SIDE);
  for (let at = 0; at < mask.length; at += 1) {
    if (!mask[at]) continue;
    const [row, col] = [Math.floor(at / SIDE), at % SIDE];
    for (let i = 0; i < POINTS; i += 1) {
      counts[wrapped(row - downs[i]) * SIDE + wrapped(col - rights[i])] += 1;
    }
  }
  return counts.map((count) => count / POINTS);
}

// A mask of a frame's pixels
function maskOf(frame, test) {
  const mask = new Uint8Array(SIDE * SIDE);
  for (let at = 0; at < mask.length; at += 1) {
    mask[at] = test(frame[3 * at], frame[3 * at + 1], frame[3 * at + 2]) ? 1 : 0;
  }
  return mask;
}

const most = (values) => values.reduce((a, b) => Math.max(a, b), 0);

// How much of a ring, half magenta, half yellow, a frame shows at best
function ringShare(frame) {
  const magenta = maskOf(frame, (r, g, b) => Math.min(r, b) - g > VIVID);
  const yellow = maskOf(frame, (r, g, b) => Math.min(r, g) - b > VIVID);
  if (!magenta.includes(1) || !yellow.includes(1)) return 0;
  const either = magenta.map((inside, at) => inside | yellow[at]);
  return Math.max(...RING_RADII.map((radius) => {
    const [one, other] = [magenta, yellow].map((mask) => onCircles(mask, radius));
    const beyond = onCircles(either, OUTSIDE * radius);
    return most(one.map((share, at) => (
      Math.min(2.5 * Math.min(share, other[at]), share + other[at] - 0.7 * beyond[at])
    )));
  }));
}

// Whether a frame shows a disc of one of four colors with a white rim and a white center, in full
function showsTarget(frame) {
  const white = maskOf(frame, (...colors) => Math.min(...colors) > WHITE);
  if (!white.includes(1)) return false;
  const [inner, outer] = [CENTER / 2, (DISC + RIM) / 2].map((radius) => onCircles(white, radius));
  return DISCS.some((color) => {
    const near = maskOf(frame, (...colors) => colors.every((each, i) => Math.abs(each - color[i]) < NEAR));
    const colored = onCircles(near, (CENTER + DISC) / 2);
    return most(colored.map((share, at) => Math.min(share, inner[at], outer[at]))) >= TARGET;
  });
}

// The standard deviation of a frame's brightness
function contrastOf(frame) {
  const count = frame.length / 3;
  let [sum, squares] = [0, 0];
  for (let at = 0; at < frame.length; at += 3) {
    const brightness = (frame[at] + frame[at + 1] + frame[at + 2]) / 3;
    sum += brightness;
    squares += brightness ** 2;
  }
  return Math.sqrt(Math.max(0, squares / count - (sum / count) ** 2));
}

const rising = (values) => [...values].sort((a, b) => a - b);

// By the name of what a frame is asked, whether its answers mean that the subject is there
const SUBJECTS = {
  has_ring: [ringShare, (shares) => rising(shares).at(-Math.max(1, shares.length >> 2)) >= RING],
  has_sample_and_test: [
    showsTarget,
    (shown) => shown.filter((here, at) => here && !shown[at - 1]).length >= 2,
  ],
  has_structure: [
    contrastOf,
    (values) => {
      const half = values.length / 2;
      const sorted = rising(values);
      return (sorted[Math.ceil(half) - 1] + sorted[Math.floor(half)]) / 2 > FLAT;
    },
  ],
};

// Why a clip (num_frames, height, width, 3) is not one that a model can answer about; "" where it
// is, or where nothing tells. looked: an async function, called before each frame
export async function subjectNote(frames, { subject, name, otherwise, config }, looked) {
  if (!subject) return "";
  const size = frames.length / config.num_frames;
  const [ask, isThere] = SUBJECTS[subject];
  const answers = [];
  for (let start = 0; start < frames.length; start += size) {
    await looked();
    answers.push(ask(frames.subarray(start, start + size)));
  }
  return isThere(answers) ? "" : `${name} ${otherwise}`;
}
