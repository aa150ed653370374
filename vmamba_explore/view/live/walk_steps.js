// The seven steps of "How it works": what each says, its formula, its live numbers and where it is in the
// code. Numbers are what walk_numbers.js answers.

import { terms } from "../explorer/terms.js";
import { element } from "../widgets/drawing.js";
import { walkFactor, walkFormula, walkNumber, walkPixels, walkPlace, walkShare, walkStrip, walkTerm } from "./walk_draw.js";

const WALK_CLASSES = 5;

const walkLine = (...words) => element("p", { class: "vmx-walk-live" }, ...words);
const walkDirection = (direction) => terms.directions[direction] ?? direction;
const walkCount = (count, name) => `${count} ${name}${count === 1 ? "" : "s"}`;
const walkOthers = (count) => (count === 1 ? "no other token" : count === 2 ? "the token" : `the ${count - 1} tokens`);
const walkSigned = (value) => (value > 0 ? `+${walkNumber(value)}` : walkNumber(value));

// title, says, formulas, where, gist and shows: functions of the numbers (and of the model object)
export const WALK_STEPS = [
  {
    title: "Pixels become a token",
    says: ({ pixels, embedding }) =>
      `The patch's pixels in ${walkCount(pixels.clipFrames.length, "clip frame")}, ${pixels.values.length} numbers, are projected to ` +
      `${embedding.token.length} numbers. ${embedding.position ? "The vector e, which says where the patch is, is added." : "No position is added."}`,
    formulas: ({ embedding }) => [`r = W p + b${embedding.position ? " + e" : ""}`],
    where: () => "patch_embed, pos_embed · hook layers.0.hook_block_input · Park et al. 2024, section 3",
    gist: ({ pixels, embedding }) => `${pixels.values.length} pixel values → ${embedding.token.length} numbers`,
    shows: ({ pixels, embedding: { projected, position, token } }, model) => [
      element("div", { class: "vmx-walk-tubelet" }, ...pixels.clipFrames.map((frame, i) => {
        const one = pixels.values.subarray(i * 3 * pixels.size ** 2, (i + 1) * 3 * pixels.size ** 2);
        const name = `clip frame ${frame}`;
        return element("figure", {}, walkPixels(one, pixels.size, pixels.size, `pixels in ${name}`), element("figcaption", {}, name));
      })),
      walkStrip(model, "W p + b, the projected pixels", projected),
      ...(position ? [walkStrip(model, "e, the position", position)] : []),
      walkStrip(model, "r, the token", token),
    ],
  },
  {
    title: "Two versions of the token: x and z",
    says: () =>
      "The layer brings the token to a root mean square of 1 and projects it twice: x goes through the scans, z decides " +
      "how far the gate behind them opens.",
    formulas: () => ["n = w ⊙ r / √(mean(r^2) + ε)", "[x, z] = W_{in} n"],
    where: ({ place }) => `norm, mixer.in_proj · hooks layers.${place.layer}.hook_block_input, mixer.hook_x, mixer.hook_z`,
    gist: ({ norm }) => `root mean square ${walkNumber(norm.rms)} → 1`,
    shows: ({ place, norm }, model) => [
      walkLine(`√(mean(r²) + ε) = ${walkNumber(norm.rms)}`),
      walkStrip(model, `r, the token in layer ${place.layer}`, norm.input),
      walkStrip(model, "n, after the norm", norm.normed),
      walkStrip(model, "x, to the scans", norm.x, { marked: place.channel }),
      walkStrip(model, "z, to the gate", norm.z, { marked: place.channel }),
    ],
  },
  {
    title: "A short look back",
    says: ({ place, convolution: { count } }) =>
      `Each channel adds up this token and ${walkOthers(count)} that the ${walkDirection(place.direction)} scan has read just ` +
      "before it, each with a learned weight; SiLU then damps negative sums.",
    formulas: ({ convolution: { count } }) => [`u_t = SiLU(b + Σ_{k = 0 … ${count - 1}} w_k x_{t−k})`],
    where: ({ place }) => `conv1d · hook layers.${place.layer}.mixer.ssm_${place.direction}.hook_u · Gu and Dao 2023, figure 3`,
    gist: ({ convolution: { taps, u } }) => `reads ${walkCount(taps.length, "token")} → u = ${walkNumber(u)}`,
    shows: ({ place, convolution: { taps, bias, sum, u, all } }, model) => [
      element("table", {},
        element("thead", {}, element("tr", {}, ...["read as", "token", "weight", "x", "product"].map((name) => element("th", { scope: "col" }, name)))),
        element("tbody", {}, ...taps.map(({ token, step, weight, x }) => element("tr", {},
          element("td", {}, `${step + 1} of ${place.steps}`), element("td", {}, walkPlace(token)),
          ...[weight, x, weight * x].map((value) => element("td", {}, walkNumber(value))))))),
      walkLine(`channel ${place.channel}: SiLU(${walkNumber(bias)} ${taps.map(({ weight, x }) => walkTerm(weight * x)).join(" ")}) = SiLU(${walkNumber(sum)}) = ${walkNumber(u)}`),
      walkStrip(model, "u, all channels", all, { marked: place.channel }),
    ],
  },
  {
    title: "The token chooses",
    says: () =>
      "From u the token computes a step size Δ for each channel, what it writes into the state (B) and what it reads from " +
      "it (C). A large Δ overwrites the state, a small one passes it on.",
    formulas: () => ["[dt, B, C] = W_x u", "Δ = softplus(W_Δ dt + b)"],
    where: ({ place }) =>
      `x_proj, dt_proj · hooks …mixer.ssm_${place.direction}.hook_delta, hook_B, hook_C · Gu and Dao 2023, algorithm 2`,
    gist: ({ selection: { delta } }) => `Δ = ${walkNumber(delta)}`,
    shows: ({ place, selection: { all, B, C, sum, delta, frozen } }, model) => [
      walkLine(frozen
        ? "Your change of the model holds the state still here: Δ = 0."
        : `channel ${place.channel}: Δ = softplus(${walkNumber(sum)}) = ${walkNumber(delta)}`),
      walkStrip(model, "Δ, all channels", all, { marked: place.channel }),
      walkStrip(model, "B, what is written, all states", B, { marked: place.state }),
      walkStrip(model, "C, what is read, all states", C, { marked: place.state }),
    ],
  },
  {
    title: "The scan carries it on",
    says: ({ place }) =>
      `The ${walkDirection(place.direction)} scan reads one token after the other. Each state keeps the share exp(ΔA) of what it ` +
      "held and takes in ΔBu. Here tokens meet that lie further apart than the look back of step 3.",
    formulas: () => ["h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t u_t"],
    where: ({ place }) =>
      `selective_scan · hooks layers.${place.layer}.mixer.ssm_${place.direction}.hook_A_bar, hook_h · Gu and Dao 2023, equation 2a`,
    gist: ({ scan: { kept, before, written, after } }) =>
      `h = ${walkShare(kept)} · ${walkFactor(before)} ${walkTerm(written)} = ${walkNumber(after)}`,
    shows: ({ place, scan: { A, delta, u, B, before, kept, written, after, handed } }) => [
      walkLine(`channel ${place.channel}, state ${place.state}, A = ${walkNumber(A)}:`),
      walkLine(`keeps exp(${walkNumber(delta)} · ${walkFactor(A)}) = ${walkShare(kept)}, writes ${walkNumber(delta)} · ${walkFactor(B)} · ${walkFactor(u)} = ${walkNumber(written)}`),
      walkLine(`h = ${walkShare(kept)} · ${walkFactor(before)} ${walkTerm(written)} = ${walkNumber(after)}${handed ? " (your change of the model replaced the state before this token)" : ""}`),
    ],
  },
  {
    title: "The state is read, gated and added",
    says: ({ readout: { ys } }) =>
      `C reads the state, and D adds the token itself. ${Object.keys(ys).length > 1 ? "Both directions are added up, then" : "Then"} ` +
      "the gate SiLU(z) lets through what it opens for, and the result is added to the token.",
    formulas: ({ readout: { ys, scale } }) => [
      "y_t = C_t · h_t + D u_t",
      `r ← r + W_{out} (${scale === 1 ? "" : `${scale} `}${Object.keys(ys).length > 1 ? "(y^{→} + y^{←})" : "y"} ⊙ SiLU(z))`,
    ],
    where: ({ place }) => `mixer.out_proj · hooks …mixer.ssm_${place.direction}.hook_y, layers.${place.layer}.mixer.hook_out`,
    gist: ({ readout: { y, gate } }) => `y = ${walkNumber(y)}, gate ${walkNumber(gate)}`,
    shows: ({ place, readout }, model) => [
      walkLine(`channel ${place.channel}: y = C · h + D u = ${walkNumber(readout.state)} ${walkTerm(readout.skip)} = ${walkNumber(readout.made)}${readout.edited ? " (your change of the model takes it out)" : ""}`),
      walkLine(`gated: ${readout.scale === 1 ? "" : `${readout.scale} · `}(${Object.values(readout.ys).map((y) => walkNumber(y[place.channel])).join(" + ").replaceAll("+ −", "− ")}) · SiLU(${walkNumber(readout.z)}) = ${walkNumber(readout.gated)}`),
      walkStrip(model, `h of channel ${place.channel}, all states`, readout.h, { marked: place.state }),
      ...Object.entries(readout.ys).map(([name, y]) => walkStrip(model, `y, ${walkDirection(name)}`, y, { marked: place.channel })),
      walkStrip(model, "gated, all channels", readout.all, { marked: place.channel }),
      walkStrip(model, "what the layer adds to the token", readout.out),
      walkStrip(model, `r, the token after layer ${place.layer}`, readout.output),
    ],
  },
  {
    title: "The head gives the logits",
    says: ({ logits: { pooled, tokens } }) =>
      `After the last layer ${pooled ? `the mean of all ${tokens} tokens, each past one more norm,` : "the class token, past one more norm,"} ` +
      "goes through the head: one logit for each class, and softmax makes them probabilities.",
    formulas: ({ logits: { pooled } }) => [
      `logits = W_{head} ${pooled ? "mean_t(RMSNorm(r_t))" : "RMSNorm(r_{cls})"} + b`, "p = softmax(logits)",
    ],
    where: () => "norm_f, head · VideoMamba.read_out",
    gist: ({ logits: { shares, logits }, classNames: names }) => {
      const top = shares.indexOf(Math.max(...shares));
      return `${names[top]}: logit ${walkNumber(logits[top])}, ${walkPercent(shares[top])}`;
    },
    shows: ({ place, logits: { logits, shares, target, minus, parts }, classNames: names }) => {
      const ranked = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, WALK_CLASSES);
      const about = minus === null ? `the logit of “${names[target]}”` : `“${names[target]}” less “${names[minus]}”`;
      const told = Object.entries(parts).map(([name, value]) =>
        `${value === null ? "unknown" : walkSigned(value)} through the ${walkDirection(name)} scan`);
      return [
        element("table", { class: "vmx-walk-classes" },
          element("thead", {}, element("tr", {}, ...["class", "logit", "probability", ""].map((name) => element("th", { scope: "col" }, name)))),
          element("tbody", {}, ...ranked.map((number) => element("tr", {},
            element("td", {}, names[number]), element("td", {}, walkNumber(logits[number])), element("td", {}, walkPercent(shares[number])),
            element("td", {}, walkBar(shares[number])))))),
        walkLine(`Straight from layer ${place.layer} this token adds to ${about}: ${told.join(", ")}, with selection, gates and norms ` +
          `held as they were.${place.layer ? " It holds what the layers below have mixed into it." : ""}`),
      ];
    },
  },
];

const walkPercent = (share) => `${(100 * share).toFixed(1)} %`;

function walkBar(share) {
  const bar = element("div", { class: "vmx-walk-bar", "aria-hidden": "true" });
  bar.style.width = `${100 * share}%`;
  return bar;
}

// What a step shows, as nodes: the text, and beside it the pictures and tables.
export function walkStepNodes(step, numbers, model) {
  const shown = step.shows(numbers, model);
  const pictures = shown.filter(({ tagName }) => tagName !== "P");
  const text = element("div", {},
    element("p", {}, step.says(numbers)),
    ...step.formulas(numbers).map(walkFormula),
    ...shown.filter((each) => !pictures.includes(each)),
    element("p", { class: "vmx-walk-where" }, `In the code: ${step.where(numbers)}`));
  return [text, ...(pictures.length ? [element("div", {}, ...pictures)] : [])];
}
