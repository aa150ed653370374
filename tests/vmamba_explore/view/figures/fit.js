// Draws a figure and lists what does not fit: texts that are cut, or that cover each other.

const TEXTS =
  ".infolayer text[class$='title'], .annotation-text, .legendtext, .xtick text, .ytick text, " +
  ".cbaxis text, .textpoint text, .bartext";

function box(node) {
  const { left, top, right, bottom } = node.getBoundingClientRect();
  return { left, top, right, bottom, words: node.textContent, kind: node.classList[0] };
}

function cover(a, b, slack = 1) {
  return (
    a.left < b.right - slack && b.left < a.right - slack &&
    a.top < b.bottom - slack && b.top < a.bottom - slack
  );
}

function luminance(color) {
  const [red, green, blue] = color.match(/[\d.]+/g).map(Number);
  const linear = [red, green, blue].map((part) => (part / 255) ** 2.2);
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

window.fit = async (json) => {
  const { data, layout } = JSON.parse(json);
  const at = document.getElementById("at");
  Plotly.purge(at);
  await Plotly.newPlot(at, data, layout, { responsive: true, displayModeBar: false });
  const faults = [];
  const page = at.querySelector(".main-svg").getBoundingClientRect();
  if (Math.abs(page.width - document.documentElement.clientWidth) > 1) {
    faults.push(`is ${page.width} wide`);
  }
  const nodes = [...at.querySelectorAll(TEXTS)].filter((node) => node.textContent.trim());
  const boxes = nodes.map(box).filter((each) => each.right > each.left);
  for (const each of boxes) {
    if (
      each.left < page.left - 1 || each.right > page.right + 1 ||
      each.top < page.top - 1 || each.bottom > page.bottom + 1
    ) {
      faults.push(`cut: ${each.words}`);
    }
  }
  boxes.forEach((one, i) => {
    for (const other of boxes.slice(i + 1)) {
      if (one.kind === "bartext" || one.kind !== other.kind || one.kind !== "textpoint") {
        if (cover(one, other)) faults.push(`${one.words} covers ${other.words}`);
      }
    }
  });
  const plots = Object.values(at._fullLayout._plots ?? {}).map(({ xaxis, yaxis }) => ({
    left: page.left + xaxis._offset, right: page.left + xaxis._offset + xaxis._length,
    top: page.top + yaxis._offset, bottom: page.top + yaxis._offset + yaxis._length,
  }));
  const outside = [...at.querySelectorAll(".legend .bg, .infolayer text[class$='title']")].map(box);
  for (const plot of plots) {
    if (plot.right - plot.left < 60 || plot.bottom - plot.top < 30) {
      faults.push(`a plot is ${plot.right - plot.left} x ${plot.bottom - plot.top}`);
    }
    for (const each of outside) {
      if (cover(each, plot)) faults.push(`${each.words || "legend"} covers a plot`);
    }
  }
  return faults;
};

// Lists what cannot be read on the page's background.
window.unreadable = () => {
  const at = document.getElementById("at");
  const faults = [];
  const ground = getComputedStyle(document.body).backgroundColor;
  for (const node of at.querySelectorAll(TEXTS)) {
    const fill = getComputedStyle(node).fill;
    if (contrast(fill, ground) < 4.5) faults.push(`${node.textContent} is ${fill} on ${ground}`);
  }
  const paper = getComputedStyle(at.querySelector(".main-svg")).backgroundColor;
  if (!/, 0\)$/.test(paper)) faults.push(`the background is ${paper}`);
  return faults;
};
