// Which frames of a film make a clip: clips/sampling.py in the page.

// available: frames that the film has; stride null spreads the clip, start null centers it. Gives the
// frames' numbers, and how many of the last ones repeat the film's last frame.
export function frameNumbers(available, count, stride = 2, start = null) {
  if (start !== null && start >= available) {
    throw new Error(`The film has ${available} frames, 0 to ${available - 1}, so a clip cannot start at ${start}.`);
  }
  let first = start ?? 0;
  let wanted = Array.from({ length: count }, (_, n) => first + n);
  if (stride !== null) {
    if (start === null) first = Math.max(0, Math.floor((available - 1 - (count - 1) * stride) / 2));
    wanted = wanted.map((_, n) => first + stride * n);
  } else if (available - first > count) {
    const gaps = Math.max(count - 1, 1);
    const middle = count === 1 ? 0.5 : 0;
    wanted = wanted.map((_, n) => first + toEven(((n + middle) * (available - 1 - first)) / gaps));
  }
  const repeated = wanted.filter((number) => number >= available).length;
  return { numbers: wanted.map((number) => Math.min(number, available - 1)), repeated };
}

// Halves go to the even number, as numpy rounds.
function toEven(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 !== 0 ? near - 1 : near;
}

// Frames per second of a clip: the median of its steps, without those that only repeat; 0 for one frame.
export function framesPerSecond(seconds, repeated) {
  const own = seconds.slice(0, seconds.length - repeated);
  const steps = own.slice(1).map((second, n) => second - own[n]).sort((a, b) => a - b);
  const half = steps.length >> 1;
  const step = steps.length % 2 ? steps[half] : (steps[half - 1] + steps[half]) / 2;
  return step > 0 ? 1 / step : 0;
}
