// The cards of a page of sparse features: drawn, sorted, and searched by class, clip and patch.

export const SORTS = {
  share: "share of all codes",
  fires: "how often it is active",
  effect: "largest effect when added",
  class: "most active in the class",
  raises: "raises the class when added",
  clip: "largest code in the clip",
};

/** The level of a feature at a patch of a clip: where its byte is in the levels. */
export function places(data) {
  const [frames, rows, cols] = data.grid;
  const features = data.cards.length;
  const codes = features * frames * (data.signed ? 1 : rows * cols);
  const clipBytes = codes + (data.signed ? features * frames * rows * cols : 0);
  return {
    code(clip, feature, frame, row, col) {
      const at = feature * frames + frame;
      return clip * clipBytes + (data.signed ? at : (at * rows + row) * cols + col);
    },
    map(clip, feature, frame, row, col) {
      if (!data.signed) return this.code(clip, feature, frame, row, col);
      return clip * clipBytes + codes + ((feature * frames + frame) * rows + row) * cols + col;
    },
  };
}

/** The largest level of a feature in a clip. */
export function peakIn(data, levels, clip, feature) {
  const [frames, rows, cols] = data.signed ? [data.grid[0], 1, 1] : data.grid;
  const first = places(data).code(clip, feature, 0, 0, 0);
  return Math.max(...levels.subarray(first, first + frames * rows * cols));
}

/** The frame in which a feature's map of a clip has its most extreme level. */
export function peakFrame(data, levels, clip, feature) {
  const [frames, rows, cols] = data.grid;
  const first = places(data).map(clip, feature, 0, 0, 0);
  const zero = data.signed ? 127 : 0;
  const sizes = [...levels.subarray(first, first + frames * rows * cols)].map((level) => Math.abs(level - zero));
  return Math.floor(sizes.indexOf(Math.max(...sizes)) / (rows * cols));
}

/** The change of a class's logit when a feature is added; 0 where it is not known. */
export function raised(card, number) {
  const found = card.added.find((each) => each[0] === number);
  return found ? found[1] : 0;
}

/** The places of the cards, in an order of `SORTS`. */
export function sorted(data, levels, by, number, clip) {
  const worth = {
    share: (card) => card.share,
    fires: (card) => card.fires,
    effect: (card) => (card.added.length ? Math.abs(card.added[0][1]) : 0),
    class: (card) => (card.byClass ? (card.byClass[number] ?? 0) : 0),
    raises: (card) => raised(card, number),
    clip: (_, at) => peakIn(data, levels, clip, at) * data.peaks[at],
  }[by];
  const values = data.cards.map(worth);
  return values.map((_, at) => at).sort((a, b) => values[b] - values[a] || a - b);
}

/** What features have at a patch of a clip, or in all of it: place of the card and its share. */
export function found(data, levels, clip, patch) {
  const place = places(data);
  const all = data.cards.map((_, at) => {
    if (!patch) return { at, share: peakIn(data, levels, clip, at) / 254 };
    const level = levels[place.map(clip, at, ...patch)];
    return { at, share: data.signed ? (level - 127) / 127 : level / 254 };
  });
  return all.filter((each) => each.share !== 0).sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
}

/** A share in per cent with two digits; what is not nothing is never shown so. */
export function percentOf(share) {
  const value = 100 * share;
  if (value && value < 0.01) return "under 0.01 %";
  return `${value >= 9.95 ? value.toFixed(0) : value >= 0.095 ? value.toFixed(1) : value.toFixed(2)} %`;
}

export function signedNumber(value) {
  const size = Math.abs(value);
  const text = size >= 0.0995 ? value.toFixed(2) : size >= 0.00095 ? value.toFixed(3) : value ? value.toExponential(0) : "0";
  return value > 0 ? `+${text.replace("-", "−")}` : text.replaceAll("-", "−");
}

function make(kind, text = "", name = "") {
  const element = document.createElement(kind);
  if (text) element.textContent = text;
  if (name) element.className = name;
  return element;
}

function drawn(kind, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

async function inflated(base64) {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function colorOf(data, level) {
  const at = (level / 254) * (data.colors.length - 1);
  return data.colors[Math.round(at)];
}

/** Draw the map of a feature over one frame of a clip, into a square of a canvas. */
function drawMap(view, context, clip, feature, frame, left, side) {
  const { data, levels, pictures, place } = view;
  const [, rows, cols] = data.grid;
  const picture = pictures[clip];
  const tile = picture.naturalHeight;
  context.filter = feature === null ? "none" : "grayscale(1)"; // all color is the map's
  context.drawImage(picture, frame * tile, 0, tile, tile, left, 0, side, side);
  context.filter = "none";
  if (feature === null) return;
  context.fillStyle = "rgba(0, 0, 0, 0.3)";
  context.fillRect(left, 0, side, side);
  for (let row = 0; row < rows; row++)
    for (let col = 0; col < cols; col++) {
      const level = levels[place.map(clip, feature, frame, row, col)];
      const share = data.signed ? Math.abs(level - 127) / 127 : level / 254;
      if (!share) continue;
      context.globalAlpha = 0.1 + 0.8 * share;
      context.fillStyle = colorOf(data, level);
      const [x, y] = [Math.round((col * side) / cols), Math.round((row * side) / rows)];
      const [right, below] = [Math.round(((col + 1) * side) / cols), Math.round(((row + 1) * side) / rows)];
      context.fillRect(left + x, y, right - x, below - y);
    }
  context.globalAlpha = 1;
}

function stripOf(view, clip, feature) {
  const [frames] = view.data.grid;
  const canvas = make("canvas");
  const side = 128;
  canvas.width = frames * (side + 4) - 4;
  canvas.height = side;
  const context = canvas.getContext("2d");
  for (let frame = 0; frame < frames; frame++)
    drawMap(view, context, clip, feature, frame, frame * (side + 4), side);
  return canvas;
}

function className(data, number) {
  if (number < 0) return "";
  return data.classes ? data.classes[number] : `class ${number}`;
}

function clipTitle(data, clip) {
  const { name, label, answer } = data.clips[clip];
  const known = label >= 0 ? `, ${className(data, label)}` : "";
  const said = answer < 0 || answer === label ? "" : `, the model says ${className(data, answer)}`;
  return `${name}${known}${said}`;
}

/** Rows of a name, a bar and a number; signed ones start in the middle and have an interval. */
function rowsOf(entries, signed) {
  const rows = make("div", "", "rows");
  const ends = entries.flatMap(({ value, low, high }) => [value, low ?? 0, high ?? 0]);
  const reach = Math.max(...ends.map(Math.abs), 1e-12);
  for (const { name, value, low, high, text, title } of entries) {
    const label = make("span", name, "name");
    label.title = title || name;
    const track = make("span", "", signed ? "track signed" : "track");
    const bar = make("i", "", value < 0 ? "down" : "");
    const share = (Math.abs(value) / reach) * (signed ? 50 : 100);
    bar.style.left = signed ? `${value < 0 ? 50 - share : 50}%` : "0";
    bar.style.width = `${share}%`;
    track.append(bar);
    if (signed && high > low) {
      const interval = make("b");
      interval.style.left = `${50 + (50 * low) / reach}%`;
      interval.style.width = `${(50 * (high - low)) / reach}%`;
      track.append(interval);
    }
    rows.append(label, track, make("span", text));
  }
  return rows;
}

function effectsOf(data, changes) {
  if (!changes.length) return make("p", "An encoder has no logits.", "soft");
  const shown = changes.slice(0, 5).map(([number, value, low, high]) => ({
    name: className(data, number),
    value, low, high,
    text: signedNumber(value),
    title: `${className(data, number)}: ${signedNumber(value)} [${signedNumber(low)}, ${signedNumber(high)}]`,
  }));
  return rowsOf(shown, true);
}

/** The course over the token frames, as it is and played backwards. */
function courseOf(card) {
  const [width, height, left, bottom] = [260, 110, 28, 18];
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const most = Math.max(...card.course, ...card.reversed, 1e-12);
  const steps = Math.max(1, card.course.length - 1);
  const x = (frame) => left + 6 + (frame / steps) * (width - left - 12);
  const y = (value) => 6 + (1 - value / most) * (height - bottom - 10);
  picture.append(
    drawn("title", {}, "Largest code in each token frame, mean over the top clips"),
    drawn("line", { x1: left, x2: width, y1: y(0), y2: y(0), stroke: "currentColor", "stroke-opacity": 0.4 }),
    drawn("text", { x: left - 4, y: y(0) + 4, "text-anchor": "end" }, "0"),
    drawn("text", { x: left - 4, y: 12, "text-anchor": "end" }, most.toPrecision(2)),
    drawn("text", { x: left + 6, y: height - 3, "text-anchor": "middle" }, "0"),
    drawn("text", { x: width - 6, y: height - 3, "text-anchor": "middle" }, String(steps)),
    drawn("text", { x: (left + width) / 2, y: height - 3, "text-anchor": "middle" }, "token frame"),
  );
  for (const [name, color, dash] of [["course", "#0072b2", ""], ["reversed", "#d55e00", "5 3"]]) {
    const points = card[name].map((value, frame) => `${x(frame)},${y(value)}`).join(" ");
    const line = { points, fill: "none", stroke: color, "stroke-width": 2, "stroke-dasharray": dash };
    picture.append(drawn("polyline", line));
  }
  const box = make("div");
  const key = make("p", "", "soft");
  for (const [text, color] of [["as it is ", "#0072b2"], ["played backwards", "#d55e00"]]) {
    const mark = make("span", "", "key");
    mark.style.background = color;
    key.append(mark, text);
  }
  box.append(picture, key);
  return box;
}

function part(title, content) {
  const box = make("div");
  box.append(make("h4", title), content);
  return box;
}

function byClassOf(data, card) {
  const order = card.byClass.map((value, number) => ({ value, number }));
  order.sort((a, b) => b.value - a.value);
  return rowsOf(
    order.slice(0, 5).map(({ value, number }) => ({
      name: className(data, number), value, text: value.toPrecision(2),
      title: `${className(data, number)}: mean of its largest code in a clip`,
    })),
    false,
  );
}

function cardOf(view, at) {
  const { data } = view;
  const card = data.cards[at];
  const element = make("article");
  element.id = `feature-${card.feature}`;
  const what = data.signed ? "states" : "patches";
  element.append(
    make("h3", `Feature ${card.feature}`),
    make("p", `active in ${percentOf(card.fires)} of the ${what} and ${percentOf(card.firesClips)} of the clips; ${percentOf(card.share)} of all codes`, "soft"),
  );
  card.top.forEach((clip, rank) => {
    const button = make("button");
    button.title = "Look at this clip below the search";
    button.append(make("p", `${clipTitle(data, clip)}: ${card.codes[rank].toPrecision(3)}`, "soft"), stripOf(view, clip, at));
    button.addEventListener("click", () => view.look(clip, at));
    element.append(button);
  });
  const two = make("div", "", "two");
  two.append(part("Course in time", courseOf(card)));
  if (card.byClass) two.append(part("Most active in", byClassOf(data, card)));
  two.append(
    part(`Logits when ${card.amount.toPrecision(2)} is added`, effectsOf(data, card.added)),
    part("Logits when it is removed", effectsOf(data, card.removed)),
  );
  element.append(two);
  return element;
}

function selectOf(title, options) {
  const label = make("label", `${title} `);
  const select = make("select");
  options.forEach(([value, text]) => {
    const option = make("option", text);
    option.value = value;
    select.append(option);
  });
  label.append(select);
  return { label, select };
}

/** The panel of one clip: a frame, its patches, and the features that are active there. */
function panelOf(view) {
  const { data } = view;
  const [frames, rows, cols] = data.grid;
  const state = { clip: 0, feature: null, frame: 0, patch: null };
  const element = make("div", "", "clip");
  const [left, right] = [make("div"), make("div")];
  const canvas = make("canvas");
  canvas.width = canvas.height = 360;
  canvas.title = "Click a patch";
  const slider = make("input");
  Object.assign(slider, { type: "range", min: 0, max: frames - 1, value: 0, title: "Token frame" });
  slider.setAttribute("aria-label", "Token frame");
  const [where, heading, list] = [make("p", "", "soft"), make("h4"), make("ul", "", "found")];
  left.append(canvas, slider, where);
  right.append(heading, list);
  element.append(left, right);

  function draw() {
    const context = canvas.getContext("2d");
    drawMap(view, context, state.clip, state.feature, state.frame, 0, 360);
    if (state.patch) {
      const [, row, col] = state.patch;
      context.strokeStyle = "#ffffff";
      context.lineWidth = 3;
      context.strokeRect((col * 360) / cols + 1, (row * 360) / rows + 1, 360 / cols - 2, 360 / rows - 2);
    }
    const map = state.feature === null ? "" : `, map of feature ${data.cards[state.feature].feature}`;
    where.textContent = `${clipTitle(data, state.clip)}; token frame ${state.frame}${map}`;
  }

  function listFeatures() {
    const at = state.patch;
    const place = at ? `the patch in row ${at[1]}, column ${at[2]} of token frame ${at[0]}` : "this clip";
    const written = at && data.signed;
    heading.textContent = written ? `What ${place} wrote, of the largest part` : `Features in ${place}, of their largest code`;
    list.replaceChildren();
    for (const { at: feature, share } of found(data, view.levels, state.clip, at).slice(0, 12)) {
      const row = make("li");
      const link = make("a", `Feature ${data.cards[feature].feature}`);
      link.href = `#feature-${data.cards[feature].feature}`;
      const track = make("span", "", data.signed && at ? "track signed" : "track");
      const bar = make("i", "", share < 0 ? "down" : "");
      const half = data.signed && at ? 50 : 100;
      bar.style.left = data.signed && at ? `${share < 0 ? 50 + share * 50 : 50}%` : "0";
      bar.style.width = `${Math.abs(share) * half}%`;
      track.append(bar);
      const button = make("button", "map");
      button.title = "Show this feature's map over the frame";
      button.addEventListener("click", () => {
        state.feature = feature;
        if (!state.patch) state.frame = peakFrame(data, view.levels, state.clip, feature);
        slider.value = String(state.frame);
        draw();
      });
      row.append(link, make("span", `${share < 0 ? "−" : ""}${percentOf(Math.abs(share))}`), track, button);
      list.append(row);
    }
    if (!list.children.length) list.append(make("li", "none of the features shown"));
  }

  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const col = Math.min(cols - 1, Math.floor(((event.clientX - box.left) / box.width) * cols));
    const row = Math.min(rows - 1, Math.floor(((event.clientY - box.top) / box.height) * rows));
    const same = state.patch && state.patch.join() === [state.frame, row, col].join();
    state.patch = same ? null : [state.frame, row, col];
    draw();
    listFeatures();
  });
  slider.addEventListener("input", () => {
    state.frame = Number(slider.value);
    if (state.patch) state.patch = [state.frame, state.patch[1], state.patch[2]];
    draw();
    listFeatures();
  });
  return {
    element,
    show(clip, feature) {
      const frame = feature === null ? state.frame : peakFrame(data, view.levels, clip, feature);
      Object.assign(state, { clip, feature, frame, patch: null });
      slider.value = String(frame);
      draw();
      listFeatures();
    },
  };
}

/** Draw all cards of a page. */
export async function showFeatures(element, data) {
  const levels = await inflated(data.levels.base64);
  const pictures = data.clips.map((clip) => Object.assign(new Image(), { src: clip.strip }));
  await Promise.all(pictures.map((picture) => picture.decode()));
  const view = { data, levels, pictures, place: places(data) };
  element.className = "vmx-features";
  const panel = panelOf(view);
  const clips = data.clips.map((_, at) => [at, clipTitle(data, at)]);
  const names = new Set([...data.cards.flatMap((card) => card.added.map((each) => each[0]))]);
  data.cards[0].byClass?.forEach((_, number) => void names.add(number));
  const classes = [...names].sort((a, b) => a - b).map((number) => [number, className(data, number)]);
  const orders = Object.entries(SORTS).filter(([by]) => (by !== "class" || data.labeled) && (by !== "raises" || classes.length));
  const [clip, order, kind] = [selectOf("Clip", clips), selectOf("Order", orders), selectOf("Class", classes)];
  const cards = make("div", "", "cards");
  const made = data.cards.map((_, at) => cardOf(view, at));
  function arrange() {
    const by = order.select.value;
    kind.label.hidden = by !== "class" && by !== "raises";
    const wanted = sorted(data, levels, by, Number(kind.select.value), Number(clip.select.value));
    cards.replaceChildren(...wanted.map((at) => made[at]));
  }
  view.look = (number, feature) => {
    clip.select.value = String(number);
    panel.show(number, feature);
    arrange();
    panel.element.scrollIntoView({ block: "center" });
  };
  clip.select.addEventListener("change", () => {
    panel.show(Number(clip.select.value), null);
    arrange();
  });
  for (const each of [order, kind]) each.select.addEventListener("change", arrange);
  const [above, middle] = [make("div", "", "bar"), make("div", "", "bar")];
  above.append(clip.label);
  middle.append(order.label, kind.label);
  element.replaceChildren(make("h2", "Ask a clip, or one of its patches"), above, panel.element, make("h2", "Features"), middle, cards);
  panel.show(0, null);
  arrange();
}
