// The order in which a scan reads the tokens of one frame, as a line through the patches' centers.

// size: of the pane, pixels; until: the step of the current position, or null.
export function drawPath(context, data, direction, frame, size, until, shift = 0) {
  const cells = data.order(direction, frame);
  const unit = window.devicePixelRatio || 1;
  const points = cells.map(({ row, col, step }) => ({
    x: ((col + 0.5) * size.width) / data.cols + shift * unit,
    y: ((row + 0.5) * size.height) / data.rows + shift * unit,
    step,
  }));
  const [read, unread] = [new Path2D(), new Path2D()];
  points.forEach((point, i) => {
    const next = points[i + 1];
    if (next === undefined || next.step !== point.step + 1) return; // the scan leaves the frame
    const part = until === null || next.step <= until ? read : unread;
    part.moveTo(point.x, point.y);
    part.lineTo(next.x, next.y);
  });
  const color = data.colors[direction];
  context.lineCap = "round";
  for (const [part, alpha] of [[unread, 0.35], [read, 1]]) {
    context.globalAlpha = alpha;
    for (const [style, line] of [["#fff", 3.5], [color, 1.75]]) {
      context.strokeStyle = style;
      context.lineWidth = line * unit;
      context.stroke(part);
    }
  }
  context.globalAlpha = 1;
  context.fillStyle = color;
  dot(context, points[0], 4 * unit);
  arrow(context, points.at(-2) ?? points[0], points.at(-1), 8 * unit);
  const here = points.find(({ step }) => step === until);
  if (here) dot(context, here, 4.5 * unit);
}

function dot(context, { x, y }, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
  context.strokeStyle = "#fff";
  context.lineWidth = radius / 3;
  context.stroke();
}

function arrow(context, from, to, length) {
  const angle = Math.atan2(to.y - from.y, to.x - from.x);
  context.save();
  context.translate(to.x, to.y);
  context.rotate(angle);
  context.beginPath();
  context.moveTo(length, 0);
  context.lineTo(-length / 4, length * 0.6);
  context.lineTo(-length / 4, -length * 0.6);
  context.closePath();
  context.fill();
  context.strokeStyle = "#fff";
  context.lineWidth = length / 8;
  context.stroke();
  context.restore();
}
