// What happened: the newest moments of one camera or of all, each with a small image. The server keeps the last ones.

const PAUSE_MS = 400; // between two questions

export class Events {
  #list; #empty; #dialog; #versions = new Map(); #rows = new Map();
  #moments = []; #camera = null; #several; #asking = false; #due = false;

  // `several`: each moment says of which camera it is, where all are shown.
  constructor(list, empty, dialog, several) {
    this.#list = list;
    this.#empty = empty;
    this.#dialog = dialog;
    this.#several = several;
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }); // beside it
  }

  // The camera whose moments are shown; null shows all.
  show(camera) {
    this.#camera = camera;
    this.#render();
  }

  // The server has that version of a camera's timeline.
  offer(camera, version) {
    if (this.#versions.get(camera) === version) return;
    this.#versions.set(camera, version);
    this.#ask();
  }

  async #ask() {
    this.#due = true;
    if (this.#asking) return;
    this.#asking = true;
    while (this.#due) {
      this.#due = false;
      const answer = await fetch("/events").catch(() => null);
      if (answer?.ok) {
        this.#moments = await answer.json();
        this.#render();
      } else {
        this.#versions.clear(); // asked for again with the next figures
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    this.#asking = false;
  }

  #render() {
    const shown = this.#moments.filter(({ camera }) => this.#camera === null || camera === this.#camera);
    const rows = shown.map((moment) => this.#row(moment));
    if (rows.length !== this.#list.children.length || rows.some((row, place) => this.#list.children[place] !== row)) this.#list.replaceChildren(...rows);
    this.#rows = new Map(this.#moments.map((moment) => [key(moment), this.#row(moment)]));
    this.#empty.hidden = shown.length > 0;
  }

  // The element of a moment: the one it has had, brought up to date.
  #row(moment) {
    const row = this.#rows.get(key(moment)) ?? this.#make(moment);
    const [title, length, detail] = row.querySelectorAll(".title, .length, .more");
    put(title, moment.title);
    put(detail, [this.#several && this.#camera === null ? moment.camera : "", moment.detail].filter(Boolean).join(" · "));
    put(length, lengthOf(moment));
    row.dataset.lasts = String(moment.lasted_s === null);
    return row;
  }

  #make(moment) {
    const row = document.createElement("li"), button = document.createElement("button"), words = part("words", ""), below = part("below", "");
    row.dataset.kind = moment.kind;
    row.dataset.level = moment.level;
    button.type = "button";
    button.addEventListener("click", () => this.#enlarge(moment, row));
    const time = document.createElement("time"), at = new Date(moment.began_ms);
    time.dateTime = at.toISOString();
    time.title = at.toLocaleString();
    time.textContent = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
    below.append(time, part("more", ""));
    words.append(part("title", ""), part("length", ""), below);
    button.append(thumbnail(moment), words);
    row.append(button);
    this.#rows.set(key(moment), row);
    return row;
  }

  #enlarge(moment, row) {
    const head = document.createElement("h2"), close = document.createElement("button");
    head.textContent = [this.#several ? moment.camera : "", moment.title].filter(Boolean).join(" · ");
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", () => this.#dialog.close());
    const detail = [row.querySelector("time").title, row.querySelector(".length").textContent, moment.detail].filter(Boolean).join(" · ");
    this.#dialog.replaceChildren(head, thumbnail(moment), part("more", detail), close);
    this.#dialog.showModal();
  }
}

function key({ camera, number, began_ms }) {
  return `${camera}/${number}/${began_ms}`;
}

// "now", "4.2 s", or nothing where it has no length
function lengthOf({ lasted_s: lasted }) {
  if (lasted === null) return "now";
  if (!lasted) return "";
  return lasted < 90 ? `${lasted.toFixed(1)} s` : `${Math.round(lasted / 60)} min`;
}

function thumbnail(moment) {
  if (!moment.thumbnail) return part("blank", "");
  const image = document.createElement("img");
  image.loading = "lazy";
  image.alt = `The image at that moment: ${moment.title}`;
  image.src = `/events/${moment.number}.jpg?camera=${encodeURIComponent(moment.camera)}&at=${moment.began_ms}`;
  return image;
}

function part(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
