// Zones of events: drawn over the image, and edited there. What is drawn leaves the page as YAML to copy, or is saved
// where the server allows it.

const SVG = "http://www.w3.org/2000/svg";
const AHEAD = "ahead"; // the way ahead, which has a key of its own in the config
const NAME = /^[a-z0-9][a-z0-9_-]{0,31}$/;
const COLOURS = ["#ffd34d", "#6fd3ff", "#ff9ad5", "#9be77a", "#c7a6ff", "#ffa66b"];

export class Zones {
  #stage; #view; #drawing; #ui; #camera = ""; #offered = ""; #tracked = false;
  #zones = []; #chosen = null; #editing = false; #shown = false; #dragged = null; #several;

  // `ui`: the elements box, edit, editor, list, add, yaml, copy, save, done, note.
  constructor(stage, view, drawing, ui, several, onShow) {
    this.#stage = stage;
    this.#view = view;
    this.#drawing = drawing;
    this.#ui = ui;
    this.#several = several;
    ui.box.addEventListener("change", () => { this.#shown = ui.box.checked; onShow(this.#shown); this.#draw(); });
    ui.edit.addEventListener("click", () => this.#edit(!this.#editing));
    ui.done.addEventListener("click", () => this.#edit(false));
    ui.add.addEventListener("click", () => this.#add());
    ui.copy.addEventListener("click", () => this.#copy());
    ui.save.addEventListener("click", () => this.#save());
    drawing.addEventListener("pointerdown", (event) => this.#press(event));
    drawing.addEventListener("pointermove", (event) => this.#drag(event));
    drawing.addEventListener("pointerup", () => { this.#dragged = null; });
    drawing.addEventListener("dblclick", (event) => this.#drop(event));
    new ResizeObserver(() => this.#draw()).observe(stage);
  }

  // What the server has of a camera; what is being edited stays.
  offer(camera, zones, shown) {
    const offered = JSON.stringify([camera, zones]);
    if (offered === this.#offered) return;
    this.#offered = offered;
    this.#camera = camera;
    this.#tracked = zones?.tracked ?? false;
    this.#edit(false);
    this.#zones = zones ? [[AHEAD, zones.ahead], ...Object.entries(zones.places)].map(([name, corners]) => ({ name, corners, open: false })) : [];
    this.#shown = this.#ui.box.checked = shown ?? this.#zones.length > 1; // the usual way ahead alone is not drawn unasked
    this.#draw();
  }

  get editing() {
    return this.#editing;
  }

  // Onto a canvas of the image, as for a snapshot.
  paint(canvas) {
    if (!this.#shown) return;
    const pen = canvas.getContext("2d"), size = canvas.height / 30;
    pen.globalAlpha = 1;
    for (const [place, { name, corners }] of this.#zones.entries()) {
      if (!corners.length) continue;
      pen.strokeStyle = pen.fillStyle = colourOf(place);
      pen.lineWidth = Math.max(1, canvas.height / 360);
      pen.beginPath();
      for (const [x, y] of corners) pen.lineTo(x * canvas.width, y * canvas.height);
      pen.closePath();
      pen.stroke();
      pen.font = `600 ${size}px system-ui, sans-serif`;
      const [x, y] = topOf(corners);
      pen.fillText(name, x * canvas.width + size / 3, y * canvas.height - size / 3);
    }
  }

  // ---- drawing

  #draw() {
    const { width, height } = this.#view, box = this.#stage.getBoundingClientRect();
    const visible = this.#shown || this.#editing;
    this.#drawing.toggleAttribute("hidden", !visible);
    this.#drawing.classList.toggle("editing", this.#editing);
    if (!visible || !box.width) return;
    const unit = 1 / Math.min(box.width / width, box.height / height); // of one pixel of the screen
    this.#drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.#drawing.replaceChildren(...this.#zones.flatMap((zone, place) => this.#shapes(zone, place, [width, height], unit)));
    if (this.#editing) this.#ui.yaml.value = this.#yaml();
  }

  // The frame has another size.
  resized() {
    this.#draw();
  }

  #shapes({ name, corners, open }, place, [width, height], unit) {
    if (!corners.length) return [];
    const points = corners.map(([x, y]) => [x * width, y * height]), colour = colourOf(place), chosen = this.#editing && place === this.#chosen;
    const outline = shape(open ? "polyline" : "polygon", { points: points.map((point) => point.join()).join(" "), stroke: colour, class: chosen ? "zone chosen" : "zone" });
    const [x, y] = topOf(points), label = shape("text", { x: x + 5 * unit, y: Math.max(y - 5 * unit, 14 * unit), fill: colour, "font-size": 13 * unit, "stroke-width": 3 * unit });
    label.textContent = name === AHEAD ? "way ahead" : name;
    const handles = chosen ? points.map(([cx, cy], corner) => shape("circle", { cx, cy, r: 8 * unit, fill: colour, "data-corner": corner })) : [];
    return [outline, label, ...handles];
  }

  // ---- editing

  async #edit(on) {
    if (on === this.#editing) return;
    this.#editing = on;
    this.#ui.editor.hidden = !on;
    this.#ui.edit.setAttribute("aria-expanded", String(on));
    this.#ui.edit.textContent = on ? "Stop editing" : "Edit";
    if (on) {
      if (!this.#zones.length) this.#zones = [{ name: AHEAD, corners: [[0.42, 0.5], [0.58, 0.5], [0.85, 1], [0.15, 1]], open: false }];
      this.#choose(0);
      this.#ui.editor.scrollIntoView({ block: "nearest" });
      const answer = await fetch("/zones").catch(() => null);
      const canSave = answer?.ok && (await answer.json()).can_save;
      this.#ui.save.hidden = !canSave;
      this.#say(canSave ? "" : "Copy it into the config. To save it from here, give the config events.zones_file and web.token_file.");
    } else {
      for (const zone of this.#zones) zone.open = false;
    }
    this.#draw();
  }

  #choose(place) {
    this.#chosen = place;
    this.#ui.list.replaceChildren(...this.#zones.map((zone, number) => this.#row(zone, number)));
    this.#draw();
  }

  #row(zone, place) {
    const row = document.createElement("li"), pick = document.createElement("input"), name = document.createElement("input"), away = document.createElement("button");
    pick.type = "radio";
    pick.name = "zone";
    pick.checked = place === this.#chosen;
    pick.setAttribute("aria-label", `Edit zone ${zone.name}`);
    pick.style.accentColor = colourOf(place);
    pick.addEventListener("change", () => this.#choose(place));
    name.value = zone.name === AHEAD ? "way ahead" : zone.name;
    name.readOnly = zone.name === AHEAD;
    name.setAttribute("aria-label", "Name");
    name.addEventListener("input", () => this.#rename(zone, name));
    name.addEventListener("focus", () => { if (this.#chosen !== place) { this.#chosen = place; pick.checked = true; this.#draw(); } });
    away.type = "button";
    away.className = "small";
    away.textContent = zone.name === AHEAD ? "Clear" : "Delete";
    away.addEventListener("click", () => this.#remove(place));
    row.append(pick, name, away);
    return row;
  }

  #rename(zone, input) {
    const isFree = !this.#zones.some((other) => other !== zone && other.name === input.value) && ![AHEAD, "road"].includes(input.value);
    const fits = NAME.test(input.value) && isFree;
    input.setCustomValidity(fits ? "" : "no");
    this.#say(fits ? "" : "A name has small letters, digits, - and _, and no other zone has it.");
    if (!fits) return;
    zone.name = input.value;
    this.#draw();
  }

  #add() {
    let number = 1;
    while (this.#zones.some(({ name }) => name === `zone-${number}`)) number++;
    this.#zones.push({ name: `zone-${number}`, corners: [], open: true });
    this.#choose(this.#zones.length - 1);
    this.#say("Click its corners one after another; the first one again closes it.");
  }

  #remove(place) {
    if (this.#zones[place].name === AHEAD) Object.assign(this.#zones[place], { corners: [], open: true });
    else this.#zones.splice(place, 1);
    this.#choose(Math.min(place, this.#zones.length - 1));
  }

  #at(event) {
    const matrix = this.#drawing.getScreenCTM().inverse(), { width, height } = this.#view;
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
    return [x / width, y / height].map((share) => Math.round(Math.min(1, Math.max(0, share)) * 1e4) / 1e4);
  }

  #press(event) {
    const zone = this.#zones[this.#chosen];
    if (!this.#editing || !zone || event.button) return;
    event.preventDefault();
    const corner = event.target.dataset?.corner;
    if (corner === "0" && zone.open && zone.corners.length > 2) {
      zone.open = false;
      this.#say("");
    } else if (corner !== undefined) {
      this.#dragged = Number(corner);
      this.#drawing.setPointerCapture(event.pointerId);
    } else {
      const at = this.#at(event), place = zone.open || zone.corners.length < 3 ? zone.corners.length : behindNearest(zone.corners, at);
      zone.corners = zone.corners.toSpliced(place, 0, at);
      this.#dragged = place;
      this.#drawing.setPointerCapture(event.pointerId);
    }
    this.#draw();
  }

  #drag(event) {
    const zone = this.#zones[this.#chosen];
    if (this.#dragged === null || !zone) return;
    zone.corners = zone.corners.with(this.#dragged, this.#at(event));
    this.#draw();
  }

  #drop(event) {
    const zone = this.#zones[this.#chosen], corner = event.target.dataset?.corner;
    if (!this.#editing || !zone || corner === undefined || zone.corners.length <= 3) return;
    zone.corners = zone.corners.toSpliced(Number(corner), 1);
    this.#draw();
  }

  // ---- out

  #drawn() {
    const drawn = this.#zones.filter(({ corners }) => corners.length > 2);
    return { ahead: drawn.find(({ name }) => name === AHEAD)?.corners, places: drawn.filter(({ name }) => name !== AHEAD) };
  }

  #yaml() {
    const { ahead, places } = this.#drawn(), list = (margin) => places.map(({ name, corners }) => `${margin}${name}: ${text(corners)}`);
    if (this.#several) {
      const lines = [...(ahead ? [`      zone: ${text(ahead)}`] : []), ...(places.length ? ["      zones:", ...list("        ")] : [])];
      return ["events:", ...(places.length && !this.#tracked ? ["  tracks: {} # with instances: true"] : []), "  cameras:", `    ${this.#camera}:`, ...lines].join("\n");
    }
    const tracks = places.length ? [`  tracks:${this.#tracked ? "" : " # with instances: true"}`, "    zones:", ...list("      ")] : [];
    return ["events:", ...(ahead ? [`  zone: ${text(ahead)}`] : []), ...tracks].join("\n");
  }

  async #copy() {
    this.#ui.yaml.select();
    try {
      await navigator.clipboard.writeText(this.#ui.yaml.value);
      this.#say("Copied. It goes into the config that edge serve was started with.");
    } catch { // without https, or where it was forbidden
      this.#say("Selected: copy it with Ctrl+C.");
    }
  }

  async #save() {
    const { ahead, places } = this.#drawn();
    const body = JSON.stringify({ zone: ahead ?? null, zones: places.length || this.#tracked ? Object.fromEntries(places.map(({ name, corners }) => [name, corners])) : null });
    this.#say("Saving …");
    const answer = await fetch(`/zones?camera=${encodeURIComponent(this.#camera)}`, { method: "POST", body }).catch(() => null);
    this.#say(answer?.ok ? "Saved; the service starts anew with it." : answer ? await answer.text() : "Not saved: the line to the machine is broken.");
  }

  #say(words) {
    this.#ui.note.textContent = words;
  }
}

function colourOf(place) {
  return COLOURS[place % COLOURS.length];
}

function text(corners) {
  return `[${corners.map((corner) => `[${corner.join(", ")}]`).join(", ")}]`;
}

// The highest corner.
function topOf(corners) {
  return corners.reduce((top, corner) => (corner[1] < top[1] ? corner : top));
}

// Where a new corner goes: between the two ends of the side that is nearest to it.
function behindNearest(corners, [x, y]) {
  const far = corners.map(([ax, ay], place) => {
    const [bx, by] = corners[(place + 1) % corners.length], length = (bx - ax) ** 2 + (by - ay) ** 2 || 1e-9;
    const along = Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length));
    return (x - ax - along * (bx - ax)) ** 2 + (y - ay - along * (by - ay)) ** 2;
  });
  return far.indexOf(Math.min(...far)) + 1;
}

function shape(kind, attributes) {
  const element = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
