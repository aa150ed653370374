// Gives the figures the page's colors, now and when the reader switches between light and dark.

function matchTheme() {
  const color = getComputedStyle(document.body).color;
  for (const figure of document.querySelectorAll(".js-plotly-plot")) {
    Plotly.relayout(figure, { paper_bgcolor: "rgba(0,0,0,0)", "font.color": color });
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", matchTheme);
matchTheme();
