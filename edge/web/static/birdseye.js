// What a frame knows in metres, from above: the free road, the lane, people and vehicles. Without a camera model there is
// nothing to draw, and the choice is not offered.

import { ink } from "/charts.js";

const AHEAD_M = 50, BEHIND_M = 3, STEP_M = 10; // what is shown, and the lines of the grid
const NEAR_M = 4; // from where on a boundary is known
const CAR_M = [1.8, 4.2], PERSON_M = 0.35; // width and length of a vehicle, radius of a person, as they are drawn
const NAMED = 6; // the nearest objects have their distance beside them
const DASHES = { solid: [], dashed: [6, 5], curb: [], road_edge: [2, 4] };
const WORDS = { solid: "solid line", dashed: "dashed line", curb: "curb", road_edge: "road's edge" };

export class BirdsEye {
  #ui; #shown; #frame = null; #colours = {};

  // `ui`: the elements row, box, card, canvas, words; `shown`: whether it is at first; `onShow` is called with the choice.
  constructor(ui, shown, onShow) {
    this.#ui = ui;
    this.#shown = ui.box.checked = shown;
    ui.box.addEventListener("change", () => { this.#shown = ui.box.checked; onShow(this.#shown); this.#layOut(); });
    new ResizeObserver(() => this.#draw()).observe(ui.canvas);
    window.addEventListener("themechange", () => this.#draw());
  }

  // The newest frame's `metres`, null where it has none or is old; `colours` are of groups, "rgb(…)" by name.
  show(metres, colours, stale) {
    this.#frame = stale ? null : metres;
    this.#colours = colours;
    if (metres) this.#ui.row.hidden = false; // an old frame takes no choice away
    else if (!stale) this.#ui.row.hidden = true;
    this.#layOut();
  }

  #layOut() {
    this.#ui.card.hidden = this.#ui.row.hidden || !this.#shown;
    this.#draw();
  }

  #draw() {
    const { canvas, card, words } = this.#ui;
    if (card.hidden) return;
    const ratio = devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    const width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const scale = height / (AHEAD_M + BEHIND_M), pen = canvas.getContext("2d");
    const view = { pen, scale, ratio, width, height, x: (right) => width / 2 + right * scale, y: (ahead) => height - (ahead + BEHIND_M) * scale };
    pen.clearRect(0, 0, width, height);
    if (this.#frame?.free_space) freeRoad(view, this.#frame.free_space, this.#colours.road ?? ink("--good"));
    grid(view);
    for (const line of Object.values(this.#frame?.lane ?? {})) if (line) boundary(view, line);
    ownCar(view);
    const objects = (this.#frame?.objects ?? []).filter((one) => one.distance_m < AHEAD_M);
    for (const one of objects) thing(view, one, this.#colours[one.group] ?? ink("--blue"));
    distances(view, objects.slice(0, NAMED));
    const text = this.#frame ? summary(this.#frame) : "No new frame.";
    if (words.textContent !== text) words.textContent = text;
    canvas.setAttribute("aria-label", `From above. ${text}`);
  }
}

function grid({ pen, ratio, width, x, y }) {
  pen.strokeStyle = ink("--line");
  pen.fillStyle = ink("--dim");
  pen.lineWidth = ratio;
  pen.font = `${11 * ratio}px system-ui, "DejaVu Sans", sans-serif`;
  pen.textAlign = "left";
  pen.beginPath();
  for (let ahead = 0; ahead <= AHEAD_M; ahead += STEP_M) {
    const at = Math.round(y(ahead)) + 0.5;
    pen.moveTo(0, at);
    pen.lineTo(width, at);
    if (ahead) pen.fillText(`${ahead} m`, 4 * ratio, at + 12 * ratio);
  }
  for (let right = 0; x(right) < width; right += STEP_M) {
    for (const side of right ? [-right, right] : [0]) { pen.moveTo(Math.round(x(side)) + 0.5, 0); pen.lineTo(Math.round(x(side)) + 0.5, y(0)); }
  }
  pen.stroke();
}

// What the mask calls road, between the lens and where it ends.
function freeRoad({ pen, x, y }, { polyline_m: line }, colour) {
  if (!line.length) return;
  pen.beginPath();
  pen.moveTo(x(0), y(0));
  for (const [right, ahead] of line) pen.lineTo(x(right), y(ahead));
  pen.closePath();
  pen.globalAlpha = 0.3;
  pen.fillStyle = colour;
  pen.fill();
  pen.globalAlpha = 1;
}

function boundary({ pen, ratio, x, y }, line) {
  pen.beginPath();
  for (let ahead = NEAR_M; ahead <= line.far_m; ahead += 0.5) {
    pen.lineTo(x(line.offset_m + line.heading_rad * ahead + line.bend_1_m * ahead * ahead / 2), y(ahead));
  }
  pen.strokeStyle = line.kind === "curb" || line.kind === "road_edge" ? ink("--warn") : ink("--text");
  pen.lineWidth = 2.5 * ratio;
  pen.setLineDash(DASHES[line.kind].map((length) => length * ratio));
  pen.globalAlpha = 0.35 + 0.65 * line.confidence;
  pen.stroke();
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

function ownCar({ pen, scale, x, y }) {
  pen.fillStyle = ink("--dim");
  pen.fillRect(x(-CAR_M[0] / 2), y(0), CAR_M[0] * scale, BEHIND_M * scale);
}

// A vehicle is drawn from its near end on, with a length that one view does not show; a bar is the standard error.
function thing({ pen, scale, ratio, x, y }, { group, distance_m: ahead, lateral_m: right, distance_sd_m: sd, in_lane: inLane }, colour) {
  pen.fillStyle = pen.strokeStyle = colour;
  pen.lineWidth = 1.5 * ratio;
  pen.beginPath();
  pen.moveTo(x(right), y(ahead - sd));
  pen.lineTo(x(right), y(ahead + sd));
  pen.stroke();
  pen.beginPath();
  if (group === "vehicle") pen.rect(x(right - CAR_M[0] / 2), y(ahead + CAR_M[1]), CAR_M[0] * scale, CAR_M[1] * scale);
  else pen.arc(x(right), y(ahead), Math.max(PERSON_M * scale, 4 * ratio), 0, 2 * Math.PI);
  pen.fill();
  pen.strokeStyle = inLane ? ink("--bad") : ink("--card");
  pen.stroke();
}

// Beside each object, the nearest first; one that would be written over another is left out.
function distances({ pen, ratio, width, x, y }, objects) {
  const written = [];
  pen.fillStyle = ink("--text");
  for (const { distance_m: ahead, lateral_m: right } of objects) {
    const left = right < 0 || x(right) > width - 50 * ratio, at = [x(right) + (left ? -10 : 10) * ratio, y(ahead) + 4 * ratio];
    if (written.some(([across, down]) => Math.abs(across - at[0]) < 50 * ratio && Math.abs(down - at[1]) < 12 * ratio)) continue;
    written.push(at);
    pen.textAlign = left ? "right" : "left";
    pen.fillText(`${ahead.toFixed(ahead < 10 ? 1 : 0)} m`, ...at);
  }
}

function summary({ free_space: free, lane, objects }) {
  const nearest = ["pedestrian", "cyclist", "vehicle"].map((group) => objects.find((one) => one.group === group))
    .filter(Boolean).map((one) => `${one.group} ${one.distance_m.toFixed(one.distance_m < 10 ? 1 : 0)} m`);
  const sides = lane ? ["left", "right"].map((side) => `${side} ${lane[side] ? WORDS[lane[side].kind] : "unknown"}`) : [];
  const ahead = free && free.ahead_m !== null ? [`Free for ${free.ahead_m >= free.reach_m ? "at least " : ""}${free.ahead_m.toFixed(0)} m`] : [];
  return [...ahead, sides.length ? `lane: ${sides.join(", ")}` : "", nearest.length ? `nearest: ${nearest.join(", ")}` : ""].filter(Boolean).join(" · ");
}
