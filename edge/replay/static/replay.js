// The page of a replay. The server sends each frame as JPEG and its class maps apart; what is tinted, how strongly and
// which mask is looked at is settled here. Everything else is asked of the one player, over the same line.

import { coloursOf } from "/frame.js";
import { $, GREYS, boxes, fullScreen, inked, layerRow, resize, retryMs, write } from "/shared.js";

const BOTH = "side by side", DIFFERENCE = "difference", MAGENTA = [255, 0, 255];

const panes = [0, 1].map((place) => {
  const canvas = $(`pane-${place}`), mask = document.createElement("canvas");
  return { canvas, pen: canvas.getContext("2d", { alpha: false }), mask, caption: $(`caption-${place}`) };
});

let socket = null, attempts = 0, farewell = "";
let hello = null, frame = null, state = null, timeline = null;
let view = "", opacity = 0.5, hovered = null, dragging = false, asked = null;

// ---- the line to the server

function connect() {
  const line = socket = new WebSocket(`ws://${location.host}/feed`);
  line.binaryType = "arraybuffer";
  let work = Promise.resolve();
  line.onmessage = (event) => { work = work.then(() => receive(line, event.data)).catch((error) => { console.error(error); line.close(); }); };
  line.onopen = () => { attempts = 0; showLine(); };
  line.onclose = (event) => {
    if (line !== socket) return;
    socket = null;
    farewell = event.reason;
    showLine();
    setTimeout(connect, retryMs(attempts++));
  };
}

async function receive(line, data) {
  if (typeof data !== "string") await takeFrame(data);
  else {
    const message = JSON.parse(data);
    if (message.type === "hello") greet(message);
    else if (message.type === "state") showState(message);
    else if (message.type === "timeline") showTimeline(message);
  }
  if (line.readyState === WebSocket.OPEN) line.send("next");
}

function ask(what, argument = {}) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ do: what, ...argument }));
}

const step = (frames) => ask("step", { frames }), worst = (ranks) => ask("worst", { ranks });
const second = () => Math.max(1, Math.round(hello?.rate_hz ?? 10));

// While the timeline is dragged over, only the newest wish is asked for, once the last one is seen.
function seek(index) {
  asked = index;
  ask("seek", { index });
}

function showLine() {
  const connected = socket?.readyState === WebSocket.OPEN;
  $("line").dataset.state = connected ? "ok" : "lost";
  write("line-text", connected ? "connected" : farewell || "not connected");
  showTrouble();
}

// ---- what is replayed

function greet(message) {
  hello = message;
  const [width, height] = hello.size_wh;
  document.title = `edge replay: ${hello.recording.split("/").at(-1)}`;
  write("recording", `${hello.recording} — ${width}×${height}, ${hello.frame_count} frames at ${Number(hello.rate_hz.toFixed(3))} Hz — ${hello.engine}`);
  $("recording").title = `edge ${hello.version}`;
  $("damage").hidden = !hello.damage;
  write("damage-text", `damaged: ${hello.damage}`);
  write("frame-count", `of ${hello.frame_count}`);
  $("timeline").setAttribute("aria-valuemax", hello.frame_count - 1);
  for (const card of document.querySelectorAll(".compares")) card.hidden = !hello.compares;
  $("speed").replaceChildren(...hello.speeds.map((speed) => new Option(`${speed}×`, speed)));
  const masks = hello.tracks.length > 1 ? [BOTH, ...hello.tracks, ...(hello.compares ? [DIFFERENCE] : [])] : hello.tracks;
  const views = [...masks, ...hello.maps];
  if (!views.includes(view)) view = views[0];
  $("views").replaceChildren(...(views.length > 1 ? views.map(viewButton) : []));
  $("layers").replaceChildren(...hello.layers.map((layer, place) => layerRow(layer, place, layer.on, draw)));
  draw();
}

function viewButton(name) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  button.dataset.view = name;
  button.setAttribute("role", "radio");
  button.setAttribute("aria-checked", String(name === view));
  button.addEventListener("click", () => look(name));
  return button;
}

function look(name) {
  view = name;
  for (const button of $("views").children) button.setAttribute("aria-checked", String(button.dataset.view === view));
  draw();
}

function nextView() {
  const names = [...$("views").children].map((button) => button.dataset.view);
  if (names.length) look(names[(names.indexOf(view) + 1) % names.length]);
}

// ---- the frame

async function takeFrame(data) {
  const headBytes = new DataView(data).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, headBytes)));
  let at = 4 + headBytes;
  const take = (bytes) => { at += bytes; return new Uint8Array(data, at - bytes, bytes); };
  const jpeg = createImageBitmap(new Blob([take(head.jpeg_bytes)], { type: "image/jpeg" }));
  const packed = Object.values(head.tracks).map((track) => inflated(take(track.bytes)));
  const differ = head.differ ? inflated(take(head.differ.bytes)) : null;
  const greys = Object.values(head.maps).map((grey) => inflated(take(grey.bytes)));
  const bitmap = await jpeg, maps = await Promise.all(packed), values = await Promise.all(greys);
  Object.values(head.tracks).forEach((track, place) => { track.ids = maps[place]; });
  if (head.differ) head.differ.ids = await differ;
  Object.values(head.maps).forEach((grey, place) => { grey.ids = values[place]; });
  frame?.bitmap.close();
  frame = { ...head, bitmap };
  draw();
}

async function inflated(bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
}

function draw() {
  if (!hello || !frame) return;
  const names = view === BOTH ? hello.tracks.slice(0, 2) : [view];
  panes.forEach((pane, place) => {
    pane.canvas.parentElement.hidden = place >= names.length;
    if (place < names.length) drawPane(pane, names[place]);
  });
  showTrouble();
}

function drawPane(pane, name) {
  const { canvas, pen } = pane, [width, height] = frame.image_wh;
  resize(canvas, width, height);
  pen.globalAlpha = 1;
  pen.filter = name === DIFFERENCE ? "grayscale(1) brightness(.55)" : "none";
  pen.drawImage(frame.bitmap, 0, 0);
  pen.filter = "none";
  const grey = hello.maps.includes(name), map = name === DIFFERENCE ? frame.differ : (grey ? frame.maps : frame.tracks)[name];
  const age = name === DIFFERENCE ? "" : !map ? " · no mask" : grey ? "" : ` · mask after ${map.age_ms.toFixed(0)} ms`;
  pane.caption.textContent = name + age;
  if (!map) return;
  inked(pane.mask, map.wh, map.ids, name === DIFFERENCE ? coloursOf([{ ids: [1], rgb: MAGENTA, on: true }]) : grey ? GREYS : trackColours(name));
  pen.globalAlpha = name === DIFFERENCE ? 1 : opacity;
  pen.imageSmoothingEnabled = name !== DIFFERENCE; // a single cell that differs stays a cell
  pen.imageSmoothingQuality = "high";
  pen.drawImage(pane.mask, 0, 0, width, height);
}

function trackColours(name) {
  const track = hello.tracks.indexOf(name), on = boxes().map((box) => box.checked);
  return coloursOf(hello.layers.map((layer, place) => ({ ids: layer.ids[track], rgb: layer.rgb, on: on[place] })));
}

// A frame that cannot be shown never looks like one that is.
function showTrouble() {
  const broken = socket?.readyState !== WebSocket.OPEN;
  const words = broken ? `${farewell || "The line to edge replay is broken"}; trying again.` : state?.reason ?? "";
  write("trouble", words);
  $("panes").dataset.trouble = String(words !== "");
}

// ---- the player

function showState(message) {
  state = message;
  const playing = state.playing, field = $("frame");
  $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  $("play").firstElementChild.className = playing ? "play pause" : "play";
  if (document.activeElement !== field) field.value = state.frame;
  $("speed").value = state.speed;
  write("note", [state.note, state.skipped ? `${state.skipped} skipped to keep the pace` : ""].filter(Boolean).join(" · "));
  $("timeline").setAttribute("aria-valuenow", state.frame);
  write("time", clock(state.frame / (hello?.rate_hz ?? 10)));
  write("news", playing ? "Playing" : `Paused at frame ${state.frame}`);
  if (asked === state.frame) asked = null;
  showTrouble();
  showDisagreement();
  drawTimeline();
}

function showDisagreement() {
  const here = state?.disagreement;
  write("share", here ? percent(here.share) : "–");
  const mean = timeline?.mean?.iou ?? {}, groups = Object.keys(here?.iou ?? mean);
  $("iou").tBodies[0].replaceChildren(...groups.map((group) => {
    const row = document.createElement("tr");
    for (const text of [group, three(here?.iou[group]), three(mean[group])]) row.insertCell().textContent = text;
    return row;
  }));
  for (const button of $("worst").querySelectorAll("button")) button.setAttribute("aria-current", String(Number(button.dataset.frame) === state?.frame));
}

function showTimeline(message) {
  timeline = message;
  const whole = timeline.known === hello.frame_count, mean = timeline.mean ? `, ${percent(timeline.mean.share)} on average` : "";
  write("legend", timeline.failure ? `Comparing ended: ${timeline.failure}`
    : `${hello.tracks[0]} and ${hello.tracks[1]}: pixels that differ, by frame${mean}${whole ? "" : `; ${timeline.known} of ${hello.frame_count} compared`}. Click to go there.`);
  $("worst").replaceChildren(...timeline.worst.map(([index, share]) => {
    const item = document.createElement("li"), button = document.createElement("button"), value = document.createElement("span");
    button.type = "button";
    button.dataset.frame = index;
    button.textContent = `${index} `;
    value.textContent = percent(share);
    button.append(value);
    button.addEventListener("click", () => { ask("pause"); seek(index); });
    item.append(button);
    return item;
  }));
  showDisagreement();
  drawTimeline();
}

// ---- the timeline

function drawTimeline() {
  const canvas = $("timeline"), ratio = devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  const width = Math.round(box.width * ratio), height = Math.round(box.height * ratio), ctx = canvas.getContext("2d");
  resize(canvas, width, height);
  ctx.fillStyle = "#0a0d11";
  ctx.fillRect(0, 0, width, height);
  if (!hello) return;
  if (timeline) drawBars(ctx, width, height, ratio);
  const x = (index) => (index + 0.5) / hello.frame_count * width;
  if (hovered !== null) { ctx.fillStyle = "#ffffff50"; ctx.fillRect(x(hovered) - ratio / 2, 0, ratio, height); }
  const place = x(asked ?? state?.frame ?? 0);
  ctx.fillStyle = "#e8edf2";
  ctx.fillRect(place - ratio, 0, 2 * ratio, height);
  ctx.beginPath();
  ctx.moveTo(place - 5 * ratio, 0);
  ctx.lineTo(place + 5 * ratio, 0);
  ctx.lineTo(place, 7 * ratio);
  ctx.fill();
}

function drawBars(ctx, width, height, ratio) {
  const columns = timeline.columns, each = width / columns.length;
  const top = niceTop(Math.max(0.002, ...columns));
  columns.forEach((share, place) => {
    const left = Math.floor(place * each), wide = Math.max(1, Math.floor((place + 1) * each) - left - (each > 4 * ratio ? ratio : 0));
    if (share === null) { ctx.fillStyle = "#1a222b"; ctx.fillRect(left, 0, wide, height); return; }
    const level = share / top;
    ctx.fillStyle = level > 0.66 ? "#ff5d5d" : level > 0.33 ? "#ffb224" : "#28be78";
    ctx.fillRect(left, height - Math.max(ratio, level * height), wide, height);
  });
  ctx.fillStyle = "#9aa7b4";
  ctx.font = `${11 * ratio}px system-ui, "DejaVu Sans", sans-serif`;
  ctx.textBaseline = "top";
  ctx.fillText(percent(top), 4 * ratio, 3 * ratio);
}

function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * power).find((top) => top >= value * 0.999);
}

function frameAt(event) {
  const box = $("timeline").getBoundingClientRect();
  return Math.min(hello.frame_count - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * hello.frame_count)));
}

function hover(event) {
  if (!hello) return;
  const last = hovered, tip = $("tip"), box = $("timeline").getBoundingClientRect();
  hovered = frameAt(event);
  const share = timeline?.columns[Math.floor(hovered * timeline.columns.length / hello.frame_count)];
  tip.hidden = false;
  tip.style.left = `${Math.min(box.width - 60, Math.max(60, event.clientX - box.left))}px`;
  tip.textContent = `frame ${hovered} · ${clock(hovered / hello.rate_hz)}${share == null ? "" : ` · ${percent(share)}`}`;
  if (dragging && hovered !== last) seek(hovered);
  drawTimeline();
}

$("timeline").addEventListener("pointerdown", (event) => {
  if (!hello) return;
  dragging = true;
  $("timeline").setPointerCapture(event.pointerId);
  seek(frameAt(event));
});
$("timeline").addEventListener("pointermove", hover);
$("timeline").addEventListener("pointerup", () => { dragging = false; });
$("timeline").addEventListener("pointercancel", () => { dragging = false; });
$("timeline").addEventListener("pointerleave", () => { hovered = null; $("tip").hidden = true; drawTimeline(); });
new ResizeObserver(drawTimeline).observe($("timeline"));

// ---- buttons and keys

function goTo() {
  const text = $("frame").value.trim();
  if (/^[0-9]{1,9}$/.test(text)) seek(Number(text));
  $("frame").blur();
  if (state) $("frame").value = state.frame;
}

function changeSpeed(steps) {
  const place = hello.speeds.indexOf(state.speed);
  ask("speed", { speed: hello.speeds[Math.min(hello.speeds.length - 1, Math.max(0, (place < 0 ? hello.speeds.indexOf(1) : place) + steps))] });
}

const clicks = {
  play: () => ask("toggle"), back: () => step(-1), next: () => step(1),
  "back-1": () => step(-second()), "on-1": () => step(second()), "back-10": () => step(-10 * second()), "on-10": () => step(10 * second()),
  "worst-next": () => worst(1), "worst-back": () => worst(-1),
  all: () => switchAll(true), none: () => switchAll(false),
};
for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
$("speed").addEventListener("change", (event) => { ask("speed", { speed: Number(event.target.value) }); event.target.blur(); });
$("frame").addEventListener("keydown", (event) => {
  event.stopPropagation(); // digits are a number here, no layers
  if (event.key === "Enter") goTo();
  if (event.key === "Escape") { $("frame").value = state?.frame ?? 0; $("frame").blur(); }
});
$("opacity").addEventListener("input", (event) => {
  opacity = event.target.value / 100;
  write("opacity-value", `${event.target.value} %`);
  draw();
});

function switchAll(on) {
  for (const box of boxes()) box.checked = on;
  draw();
}

const keys = {
  " ": () => ask("toggle"), ArrowRight: (event) => step(event.shiftKey ? second() : 1), ArrowLeft: (event) => step(event.shiftKey ? -second() : -1),
  PageUp: () => step(-10 * second()), PageDown: () => step(10 * second()), Home: () => seek(0), End: () => seek(hello.frame_count - 1),
  n: () => worst(1), p: () => worst(-1), m: nextView, f: () => fullScreen($("panes")), g: () => { $("frame").focus(); $("frame").select(); },
  "+": () => changeSpeed(1), "=": () => changeSpeed(1), "-": () => changeSpeed(-1),
};
document.addEventListener("keydown", (event) => {
  if (!hello || !state || event.ctrlKey || event.metaKey || event.altKey) return;
  const kind = event.target.type, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (kind === "range" || kind === "select-one" || (key === " " && kind === "checkbox")) return;
  if (key >= "1" && key <= "9") { boxes()[key - 1]?.click(); return; }
  if (!keys[key]) return;
  event.preventDefault(); // the page is not scrolled, and a focused button not pressed besides
  keys[key](event);
});

// ---- words

const percent = (share) => (share >= 0.1 ? `${(100 * share).toFixed(1)} %` : `${(100 * share).toFixed(2)} %`);
const three = (value) => (value == null ? "–" : value.toFixed(3));

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(3).padStart(6, "0")}`;
}

connect();
