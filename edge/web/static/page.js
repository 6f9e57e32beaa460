// The live page. The server sends the newest frame, as H.264 or JPEG, and its class map apart; they are laid over each other here,
// so that switching a layer or turning the opacity asks nothing of the machine in the car.

import { BirdsEye } from "/birdseye.js";
import { chart, ink } from "/charts.js";
import { remember, remembered, themeChoice } from "/choices.js";
import { Events } from "/events.js";
import { address, coloursOf, decode, paint, release, seconds, tint, words } from "/frame.js";
import { Maps } from "/maps.js";
import { $, boxes, fullScreen, layerRow, retryMs, write } from "/shared.js";
import { saveSnapshot } from "/snapshot.js";
import { Tile, arrange } from "/tiles.js";
import { Video, VideoError, unavailableReason } from "/video.js";
import { Zones } from "/zones.js";

const stage = $("stage"), view = $("view"), mask = document.createElement("canvas");

const SILENCE_MS = 3000; // the server sends figures twice a second; after this the line is taken for dead
const AVERAGED_MS = 500; // over which the age on screen is averaged, to be readable
const COUNTED_MS = 2000; // over which bytes are counted
const NO_H264 = 4001; // the server closes with it where it cannot encode H.264

let camera = null; // the one that is large; null while all are seen
let socket = null, attempts = 0, heardAt = 0, farewell = "";
let hello = null, frame = null, figures = null;
const maps = new Maps($("maps"), remembered("maps", []), (on) => { remember("maps", on); draw(); });
const birdsEyeParts = { row: "birds-eye-row", box: "show-birds-eye", card: "birds-eye-card", canvas: "birds-eye", words: "birds-eye-words" };
const birdsEye = new BirdsEye(Object.fromEntries(Object.entries(birdsEyeParts).map(([name, id]) => [name, $(id)])), remembered("birdsEye", true), (on) => remember("birdsEye", on));
let noVideo = await unavailableReason(), arrived = [];
let shownAges = [], shares = new Float64Array(256), lut = new Uint32Array(256), opacity = 0.5;

// ---- the line to the server

function connect() {
  const line = socket = new WebSocket(address(camera, noVideo ? "" : "&h264")), video = new Video();
  line.binaryType = "arraybuffer";
  heardAt = performance.now();
  let work = Promise.resolve();
  line.onmessage = (event) => {
    heardAt = performance.now();
    const at = heardAt;
    work = work.then(() => receive(line, event.data, at, video)).catch((error) => {
      if (line === socket && error instanceof VideoError) goWithoutVideo(error.message);
      else if (line === socket) console.error(error);
      line.close();
    });
  };
  line.onopen = () => { attempts = 0; };
  line.onclose = (event) => {
    video.close();
    if (line !== socket) return; // another camera was chosen meanwhile
    socket = null;
    if (event.code === NO_H264) { goWithoutVideo(event.reason); return; }
    farewell = event.reason;
    if (attempts) logInAgain();
    if (!document.hidden) setTimeout(reconnect, retryMs(attempts++));
  };
}

// From now on as JPEG, on a new line, at once. What is seen stays until then.
function goWithoutVideo(reason) {
  console.warn(`H.264: ${reason}`);
  noVideo = `H.264 failed: ${reason}`;
  connect();
}

function reconnect() {
  if (camera !== null && !socket && !document.hidden) connect();
}

// The server may want the token anew, as when it was changed.
async function logInAgain() {
  const answer = await fetch("/readyz").catch(() => null);
  if (answer?.status === 401) location.reload();
}

async function receive(line, data, at, video) {
  if (line !== socket) return;
  count(data.byteLength ?? data.length);
  if (typeof data === "string") {
    const message = JSON.parse(data);
    if (message.type === "hello") { greet(message); return; }
    showFigures(message);
  } else {
    await showFrame(data, at, video);
  }
  if (line.readyState === WebSocket.OPEN) line.send("next");
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) socket?.close(); // no one looks: the machine need not encode frames
  else { attempts = 0; reconnect(); }
  showTiles();
});

// ---- which camera

const names = await (await fetch("/cameras")).json();
const events = new Events($("events"), $("no-events"), $("moment"), names.length > 1);
const tiles = names.length > 1 ? names.map((name) => new Tile(name, () => { location.hash = name; }, (version) => events.offer(name, version))) : [];
$("tiles").append(...tiles.map((tile) => tile.element));
const zoneParts = { box: "show-zones", edit: "edit-zones", editor: "zone-editor", list: "zone-list", add: "add-zone", yaml: "zone-yaml", copy: "copy-zones", save: "save-zones", done: "done-zones", note: "zones-note" };
const zones = new Zones(stage, view, $("zones"), Object.fromEntries(Object.entries(zoneParts).map(([name, id]) => [name, $(id)])), names.length > 1, (shown) => remember("zones", shown));

// The address says which camera is large; without a name, all are seen, or the only one. At first, it is the last one chosen.
function choose() {
  const asked = decodeURIComponent(location.hash.slice(1));
  const chosen = names.includes(asked) ? asked : tiles.length ? null : names[0];
  remember("camera", chosen);
  $("overview").hidden = chosen !== null;
  if (chosen === null) $("overview").append($("events-card"));
  else $("stages-card").before($("events-card"));
  events.show(chosen);
  document.querySelector("main").hidden = chosen === null;
  $("camera").hidden = chosen === null;
  $("back").hidden = chosen === null || !tiles.length;
  if (chosen !== camera || chosen === null) forget();
  camera = chosen;
  layOut();
  document.title = camera ? `edge live: ${camera}` : "edge live";
  if (camera === null) write("engine", `${names.length} cameras`);
  showTiles();
  reconnect();
}

// Nothing of one camera is shown as another's.
function forget() {
  const line = socket;
  socket = null;
  line?.close();
  release(frame);
  frame = figures = hello = null;
  shownAges = [];
  arrived = [];
  attempts = 0;
  farewell = "";
  view.getContext("2d", { alpha: false }).clearRect(0, 0, view.width, view.height);
  stage.dataset.stale = "true";
  for (const id of ["age", "rate", "drops", "age-more", "rate-more", "drops-more"]) write(id, "–");
  for (const id of ["stamp", "old-reason", "stages-total", "transport"]) write(id, "");
  $("stages").replaceChildren();
  birdsEye.show(null, {}, false);
  $("snapshot").disabled = true;
}

function layOut() {
  if (camera === null) arrange($("tiles"), tiles.length);
}

window.addEventListener("resize", layOut);

function showTiles() {
  for (const tile of tiles) {
    if (camera === null && !document.hidden) tile.open();
    else tile.close();
  }
}

window.addEventListener("hashchange", choose);

// ---- the frame

async function showFrame(data, at, video) {
  const line = socket, fresh = await decode(data, video);
  if (line !== socket) { release(fresh); return; } // another camera was chosen meanwhile
  release(frame);
  frame = { ...fresh, at };
  maps.offer(frame);
  colour();
  const shownAge = age();
  shownAges = [...shownAges.filter(([when]) => performance.now() - when < AVERAGED_MS), [performance.now(), shownAge]];
  draw();
  watch();
  $("snapshot").disabled = false;
}

// Bytes that came lately.
function count(bytes) {
  const now = performance.now();
  arrived = [...arrived.filter(([when]) => now - when < COUNTED_MS), [now, bytes]];
}

// How frames come, and why not as H.264.
function showTransport() {
  const rate = arrived.reduce((sum, [, bytes]) => sum + bytes, 0) / COUNTED_MS / 1000;
  const form = frame?.video ? "H.264" : "JPEG";
  write("transport", frame ? `Frames come as ${form}, ${rate.toFixed(rate < 1 ? 2 : 1)} MB/s${noVideo ? `: ${noVideo}` : ""}.` : "");
}

// Milliseconds since the frame was captured: as the server had it when it sent, and the time since it came.
function age() {
  return frame.now_age_ms + performance.now() - frame.at;
}

function isStale() {
  return !frame || !hello || age() > hello.stale_after_ms;
}

function colour() {
  if (!frame) return;
  const counts = tint(mask, frame, lut);
  for (let id = 0; id < 256; id++) shares[id] = counts[id] / frame.classes.length;
}

function draw() {
  if (!frame) return;
  const stale = isStale(), sizes = [view.width, view.height].join();
  paint(view, frame, mask, stale ? 0 : opacity); // an old mask is not shown as if it were new
  if (!stale) maps.paint(view, frame, opacity);
  if ([view.width, view.height].join() !== sizes) zones.resized();
  stage.dataset.stale = String(stale);
  birdsEye.show(frame.metres, Object.fromEntries((hello?.layers ?? []).map(({ name, rgb }) => [name, `rgb(${rgb.join(" ")})`])), stale);
  write("stamp", `frame ${frame.frame}${frame.media_s === null ? "" : ` · ${frame.media_s.toFixed(2)} s`}`);
}

function watch() {
  if (camera === null) { watchTiles(); return; }
  const stale = isStale(), connected = socket?.readyState === WebSocket.OPEN;
  const isUnlike = connected && !stale && figures?.unlike_training; // where no masks are shown, none mislead
  $("unlike").hidden = !isUnlike;
  $("reduced").hidden = !(connected && !stale && figures?.reduced);
  if (figures?.reduced) showReduced(figures.reduced);
  document.body.dataset.connected = String(connected);
  showCamera(connected);
  if (String(stale) !== stage.dataset.stale) { stage.dataset.stale = String(stale); draw(); }
  if (frame) {
    const [text, unit] = stale ? seconds(age()) : [Math.round(mean(shownAges.map(([, ms]) => ms))), "ms"];
    write("age", stale ? Math.round(age()) : text);
    write("live-text", `${stale ? "OLD" : "LIVE"} · ${text} ${unit}`);
  }
  if (!connected) write("live-text", "NOT CONNECTED");
  if (stale) explain(connected);
  const notes = notesNow(), health = !connected || !figures ? "not connected"
    : notes.length ? notes.join(", ") : `camera ${figures.camera.state} ${figures.camera.reason}`;
  write("news", `${stale ? "No new frame" : "Live"}, ${health}`); // for screen readers: once for each change, without figures
  if (connected && performance.now() - heardAt > SILENCE_MS) socket.close();
}

// The camera's state; where that is well, what else is not.
function showCamera(connected) {
  const health = figures?.camera, notes = notesNow();
  const since = !health || health.state === "ok" ? "" : ` for ${seconds(health.for_s * 1000).join(" ")}`;
  $("camera").dataset.state = !connected || !health ? "stopped" : notes.length ? "degraded" : health.state;
  write("camera-text", !connected ? "camera unknown" : !health ? "no camera"
    : notes.length ? notes[0] : `camera ${health.state}${since}${health.reason ? `: ${health.reason}` : ""}`);
}

function showReduced(text) {
  const [size, ...reason] = text.split(": ");
  write("reduced-to", size);
  write("reduced-why", reason.length ? `: ${reason.join(": ")}` : "");
}

function notesNow() {
  if (figures?.camera.state !== "ok" || isStale()) return [];
  return [figures.unlike_training ? "scene unfamiliar" : "", figures.reduced ? "input reduced" : ""].filter(Boolean);
}

function watchTiles() {
  for (const tile of tiles) tile.watch();
  const stale = tiles.filter((tile) => tile.isStale()).length;
  write("news", stale ? `No new frame of ${stale} of ${tiles.length} cameras` : `All ${tiles.length} cameras live`);
}

function explain(connected) {
  write("old-title", frame ? `No new frame for ${seconds(age()).join(" ")}` : "Waiting for the first frame");
  const health = figures?.camera;
  write("old-reason", !connected ? `${farewell || "The line to the machine is broken"}; trying again.`
    : !health || health.state === "ok" ? "" : `Camera ${words(health)}`);
}

// ---- what may be switched

function greet(message) {
  const layers = JSON.stringify(message.layers), fresh = $("layers").dataset.shown !== layers;
  $("layers").dataset.shown = layers;
  hello = message;
  const [width, height] = hello.input_wh;
  write("engine", `${camera ? `${camera} · ` : ""}${hello.engine} · ${hello.net} · ${hello.precision} · ${width}×${height} — ${hello.source}`);
  $("engine").title = `${hello.description} (edge ${hello.version})`;
  if (fresh) $("layers").replaceChildren(...hello.layers.map(rowOf));
  zones.offer(camera, hello.zones, remembered("zones", undefined));
  recolour();
}

function rowOf(layer, place) {
  const share = document.createElement("span");
  share.className = "share";
  return layerRow(layer, place, remembered("layers", {})[layer.name] ?? layer.on, chooseLayers, share);
}

function layersNow() {
  const on = boxes().map((box) => box.checked);
  return hello.layers.map((layer, place) => ({ ...layer, on: on[place] }));
}

function recolour() {
  lut = coloursOf(layersNow());
  colour();
  draw();
}

function chooseLayers() {
  remember("layers", { ...remembered("layers", {}), ...Object.fromEntries(boxes().map((box) => [box.dataset.layer, box.checked])) });
  recolour();
}

function switchAll(on) {
  for (const box of boxes()) box.checked = on;
  chooseLayers();
}

$("all").addEventListener("click", () => switchAll(true));
$("none").addEventListener("click", () => switchAll(false));
$("opacity").addEventListener("input", (event) => {
  remember("opacity", Number(event.target.value));
  fade();
});

function fade() {
  opacity = $("opacity").value / 100;
  write("opacity-value", `${$("opacity").value} %`);
  draw();
}

function snapshot() {
  if (frame && hello) saveSnapshot({ frame, hello, camera, layers: layersNow(), maps, zones, opacity, age: age() });
}

$("snapshot").addEventListener("click", snapshot);
$("full").addEventListener("click", () => fullScreen(stage));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("moment").open) return;
  if (event.target.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=range])")) return; // words, not commands
  const key = event.key.toLowerCase();
  if (key === "escape" && tiles.length && !document.fullscreenElement) location.hash = "";
  else if (camera === null) return;
  else if (key === "s") snapshot();
  else if (key === "f") fullScreen(stage);
  else if (key >= "1" && key <= "9") boxes()[key - 1]?.click();
});

// ---- figures

function showFigures(message) {
  figures = message;
  events.offer(camera, figures.events);
  showCamera(true);
  showOutputs();
  write("rate", figures.rate_hz.toFixed(1));
  write("rate-more", `${figures.frames.toLocaleString("en")} segmented`);
  write("drops", figures.dropped.toLocaleString("en"));
  const taken = figures.frames + figures.dropped;
  write("drops-more", taken ? `${(100 * figures.dropped / taken).toFixed(1)} % of ${taken.toLocaleString("en")} captured` : "–");
  if (figures.age_p50_ms !== null) {
    write("age-more", `to the mask: p50 ${figures.age_p50_ms.toFixed(1)}, p99 ${figures.age_p99_ms.toFixed(1)} ms`);
  }
  showShares();
  showStages();
  showTransport();
  showCharts();
}

function showCharts() {
  const { history } = figures, { steps } = history;
  chart($("age-chart"), { steps, line: history.age_ms, high: history.age_max_ms, colour: ink("--blue"), unit: "ms" });
  chart($("rate-chart"), { steps, line: history.rate_hz, colour: ink("--good"), unit: "fps" });
  chart($("drops-chart"), { steps, bars: history.dropped, colour: ink("--warn"), unit: "" });
}

function showShares() {
  const cells = $("layers").querySelectorAll(".share");
  hello?.layers.forEach((layer, place) => {
    const part = layer.ids.reduce((sum, id) => sum + shares[id], 0);
    cells[place].textContent = frame && !isStale() ? `${(100 * part).toFixed(1)} %` : "–";
  });
}

function showOutputs() {
  const outputs = Object.entries(figures.outputs);
  $("outputs-card").hidden = !outputs.length;
  $("outputs").replaceChildren(...outputs.map(([name, output]) => {
    const row = document.createElement("li"), counts = Object.entries(output.counts).filter(([, count]) => count);
    row.dataset.output = name;
    row.dataset.state = output.state;
    row.append(part("dot", ""), part("name", name), part("word", words(output)));
    if (counts.length) row.append(part("more", counts.map(([what, count]) => amount(what, count)).join(", ")));
    return row;
  }));
}

// "1,200 frames sent", "3.1 GB"
function amount(what, count) {
  if (!what.endsWith("_bytes")) return `${count.toLocaleString("en")} ${what.replaceAll("_", " ")}`;
  return count < 1e9 ? `${(count / 1e6).toFixed(1)} MB` : `${(count / 1e9).toFixed(1)} GB`;
}

// Bars one after another up to the mask, as a frame passes them; what runs beside the loop begins where the mask ends.
function showStages() {
  const stages = figures.stages, maskAt = stages.findIndex((item) => item.name === "infer");
  const before = stages.filter((_, place) => place <= maskAt).reduce((sum, item) => sum + item.mean_ms, 0);
  const end = Math.max(1, ...stages.map((item, place) => item.p99_ms + (place > maskAt ? before : 0)), before);
  const slowest = Math.max(...stages.map((item) => item.mean_ms));
  let at = 0;
  $("stages").replaceChildren(...stages.map((item, place) => {
    const row = document.createElement("li"), start = place <= maskAt ? at : before;
    row.className = [place > maskAt ? "beside" : "", item.mean_ms === slowest ? "slowest" : ""].join(" ");
    if (place <= maskAt) at += item.mean_ms;
    row.append(part("name", item.name), track(start, item, end), part("ms", `${item.mean_ms.toFixed(1)} ms`));
    row.title = `${item.name}: mean ${item.mean_ms.toFixed(2)} ms, p99 ${item.p99_ms.toFixed(2)} ms`;
    return row;
  }));
  write("stages-total", before ? `${before.toFixed(1)} ms to the mask` : "");
}

function track(start, item, end) {
  const whole = part("track", ""), bar = part("bar", ""), high = part("p99", "");
  bar.style.left = `${100 * start / end}%`;
  bar.style.width = `${100 * Math.min(item.mean_ms, end - start) / end}%`;
  high.style.left = `${Math.min(99.5, 100 * (start + item.p99_ms) / end)}%`;
  whole.append(bar, high);
  return whole;
}

function part(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}

// ---- words

function mean(values) {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : 0;
}

themeChoice($("theme"));
window.addEventListener("themechange", () => { if (figures) showCharts(); });
$("opacity").value = remembered("opacity", 50);
fade();
if (!location.hash && tiles.length && names.includes(remembered("camera", null))) history.replaceState(null, "", `#${remembered("camera", null)}`);
choose();
setInterval(watch, 100);
