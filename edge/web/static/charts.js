// The charts of the last minute, in the theme's colours.

export function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// The last minute: a line or bars, over a grid with the top of its scale written at it.
export function chart(canvas, { steps, line, high, bars, colour, unit }) {
  const ratio = devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  const width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const ctx = canvas.getContext("2d"), values = bars ?? line, size = 0.72 * parseFloat(getComputedStyle(document.documentElement).fontSize) * ratio;
  const top = niceTop(Math.max(bars ? 4 : 10, ...values, ...(high ?? [])));
  const plot = { top: size * 0.7, bottom: height - size * 1.5, left: 0, right: width };
  const missing = steps - values.length, step = width / steps;
  const x = (place) => step * (missing + place + 0.5);
  const y = (value) => plot.bottom - (plot.bottom - plot.top) * value / top;
  ctx.clearRect(0, 0, width, height);
  grid(ctx, plot, top, unit, size, y);
  if (bars) {
    ctx.fillStyle = colour;
    values.forEach((value, place) => { if (value) ctx.fillRect(x(place) - step / 2, y(value), Math.max(ratio, step - ratio), plot.bottom - y(value)); });
    return;
  }
  if (high) trace(ctx, high, x, y, `${colour}70`, ratio, false, plot);
  trace(ctx, line, x, y, colour, 2 * ratio, true, plot);
}

function grid(ctx, plot, top, unit, size, y) {
  ctx.font = `${size}px system-ui, "DejaVu Sans", sans-serif`;
  ctx.strokeStyle = ink("--line");
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (const value of [0, top / 2, top]) { ctx.moveTo(plot.left, Math.round(y(value)) + 0.5); ctx.lineTo(plot.right, Math.round(y(value)) + 0.5); }
  ctx.stroke();
  ctx.fillStyle = ink("--dim");
  ctx.textAlign = "left";
  ctx.fillText(`${top} ${unit}`, plot.left, y(top) + size * 1.1);
  ctx.fillText("−60 s", plot.left, plot.bottom + size * 1.25);
  ctx.textAlign = "right";
  ctx.fillText("now", plot.right, plot.bottom + size * 1.25);
}

// A line with gaps where there was nothing, filled below if wanted.
function trace(ctx, values, x, y, colour, width, fill, plot) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.lineJoin = "round";
  let run = [];
  const finish = () => {
    if (run.length) {
      const path = new Path2D();
      run.forEach(([px, py], place) => (place ? path.lineTo(px, py) : path.moveTo(px, py)));
      if (run.length === 1) path.lineTo(run[0][0] + width, run[0][1]);
      ctx.stroke(path);
      if (fill) {
        path.lineTo(run.at(-1)[0], plot.bottom);
        path.lineTo(run[0][0], plot.bottom);
        ctx.globalAlpha = 0.14;
        ctx.fillStyle = colour;
        ctx.fill(path);
        ctx.globalAlpha = 1;
      }
    }
    run = [];
  };
  values.forEach((value, place) => (value === null ? finish() : run.push([x(place), y(value)])));
  finish();
}

function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((step) => step * power).find((step) => step >= value);
}
