// Several cameras on one screen, each small, some times a second; who is clicked becomes large.

import { address, coloursOf, decode, paint, release, seconds, tint, words } from "/frame.js";

const PACE_MS = 200; // the next frame is asked for so much later: small ones need not come at the camera's rate
const SILENCE_MS = 3000, RETRY_MS = 1000;
const OPACITY = 0.5;

export class Tile {
  #name; #onEvents; #socket = null; #open = false; #heardAt = 0;
  #hello = null; #frame = null; #figures = null; #colours = new Uint32Array(256);
  #mask = document.createElement("canvas"); #view = document.createElement("canvas");
  #live = document.createElement("span"); #words = document.createElement("span");

  // `onEvents` is called with the version of the camera's timeline.
  constructor(name, onClick, onEvents) {
    this.#name = name;
    this.#onEvents = onEvents;
    const pill = document.createElement("span"), dot = document.createElement("span"), line = document.createElement("span");
    this.element = document.createElement("button");
    this.element.type = "button";
    this.element.className = "tile";
    this.element.dataset.camera = name;
    this.element.dataset.stale = "true";
    pill.className = "pill";
    dot.className = "dot";
    line.className = "words";
    line.append(this.#words);
    pill.append(dot, this.#live);
    this.#view.width = 16;
    this.#view.height = 9;
    this.#view.setAttribute("aria-hidden", "true");
    this.element.append(this.#view, pill, line);
    this.element.addEventListener("click", onClick);
  }

  open() {
    this.#open = true;
    if (!this.#socket) this.#connect();
    this.watch();
  }

  close() {
    this.#open = false;
    this.#socket?.close();
  }

  // Once in a while: an old mask is not shown as if it were new.
  watch() {
    const stale = this.isStale(), connected = this.#socket?.readyState === WebSocket.OPEN;
    if (String(stale) !== this.element.dataset.stale) this.#draw();
    const age = this.#frame ? seconds(this.#age()).join(" ") : "no frame yet";
    const text = `${this.#name} · ${connected ? `${stale ? "OLD" : "LIVE"} · ${age}` : "NOT CONNECTED"}`;
    if (this.#live.textContent !== text) this.#live.textContent = text;
    this.element.setAttribute("aria-label", `Camera ${this.#name}, ${stale ? "no new frame" : "live"}. ${this.#words.textContent} Enlarge`);
    if (connected && performance.now() - this.#heardAt > SILENCE_MS) this.#socket.close();
  }

  isStale() {
    return !this.#frame || !this.#hello || this.#age() > this.#hello.stale_after_ms;
  }

  #connect() {
    const line = this.#socket = new WebSocket(address(this.#name, "&tile"));
    line.binaryType = "arraybuffer";
    this.#heardAt = performance.now();
    let work = Promise.resolve();
    line.onmessage = (event) => {
      const at = this.#heardAt = performance.now();
      work = work.then(() => this.#receive(line, event.data, at)).catch((error) => { console.error(error); line.close(); });
    };
    line.onclose = () => {
      this.#socket = null;
      if (this.#open) setTimeout(() => { if (this.#open && !this.#socket) this.#connect(); }, RETRY_MS);
    };
  }

  async #receive(line, data, at) {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "hello") {
        this.#hello = message;
        this.#colours = coloursOf(message.layers);
        return;
      }
      this.#figures = message;
      this.#onEvents(message.events);
      this.#report();
    } else {
      const frame = await decode(data);
      release(this.#frame);
      this.#frame = { ...frame, at };
      tint(this.#mask, frame, this.#colours);
      this.#draw();
    }
    setTimeout(() => { if (line.readyState === WebSocket.OPEN) line.send("next"); }, PACE_MS);
  }

  #age() {
    return this.#frame.now_age_ms + performance.now() - this.#frame.at;
  }

  #draw() {
    const stale = this.isStale();
    this.element.dataset.stale = String(stale);
    if (this.#frame) paint(this.#view, this.#frame, this.#mask, stale ? 0 : OPACITY);
  }

  // What is not as it should be, and how many masks there are.
  #report() {
    const { camera, outputs, rate_hz: rate, unlike_training: unlike, reduced } = this.#figures;
    const bad = Object.entries(outputs).filter(([, output]) => output.state !== "ok").map(([name, output]) => `${name} ${words(output)}`);
    if (camera.state !== "ok") bad.unshift(`camera ${words(camera)}`);
    if (reduced) bad.unshift(`input reduced to ${reduced.split(": ")[0]}`);
    if (unlike) bad.unshift("scene unlike the training data");
    this.element.dataset.warns = String(unlike || Boolean(reduced));
    this.#words.textContent = [`${rate.toFixed(1)} fps`, ...bad].join(" · ");
  }
}

// So many columns that the images are as large as they can be, where all are seen at once.
export function arrange(box, count) {
  const { width, height } = box.getBoundingClientRect();
  const wide = (columns) => Math.min(width / columns, height / Math.ceil(count / columns) * 16 / 9);
  const best = Array.from({ length: count }, (_, place) => place + 1).reduce((one, other) => (wide(other) > wide(one) + 1 ? other : one));
  box.style.setProperty("--columns", best);
}
