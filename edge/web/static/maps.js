// What the engine gives of each pixel besides its class: grey maps over the image. Each frame's head names those it has.

import { GREYS, inked } from "/shared.js";

export class Maps {
  #list; #on; #onChange; #offered = "[]"; #canvas = document.createElement("canvas");

  // `on` names those that are on at first; `onChange` is called with the names of those that are on.
  constructor(list, on, onChange) {
    this.#list = list;
    this.#on = new Set(on);
    this.#onChange = onChange;
  }

  // A box for each map of the frame; those that are on stay on.
  offer(frame) {
    const names = JSON.stringify(frame.layers.map(({ name }) => name));
    if (names === this.#offered) return;
    this.#offered = names;
    const on = this.#on;
    this.#list.replaceChildren(...frame.layers.map((layer) => this.#row(layer, on.has(layer.name))));
  }

  // Those that are on, over what is painted already.
  paint(canvas, frame, opacity) {
    const on = this.#on, pen = canvas.getContext("2d", { alpha: false });
    for (const { name, wh, values } of frame.layers) {
      if (!on.has(name)) continue;
      inked(this.#canvas, wh, values, GREYS);
      pen.globalAlpha = opacity;
      pen.drawImage(this.#canvas, 0, 0, canvas.width, canvas.height);
    }
    pen.globalAlpha = 1;
  }

  #row({ name, meaning }, on) {
    const row = document.createElement("li"), label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = on;
    box.dataset.map = name;
    box.addEventListener("change", () => {
      if (box.checked) this.#on.add(name);
      else this.#on.delete(name);
      this.#onChange([...this.#on]);
    });
    label.title = meaning;
    label.append(box, name);
    row.append(label);
    return row;
  }
}
