// What the engine gives of each pixel besides its class: grey maps over the image. Each frame's head names those it has.

const INKS = Uint32Array.from({ length: 256 }, (_, value) => (255 << 24 | value << 16 | value << 8 | value) >>> 0);

export class Maps {
  #list; #onChange; #offered = "[]"; #canvas = document.createElement("canvas");

  constructor(list, onChange) {
    this.#list = list;
    this.#onChange = onChange;
  }

  // A box for each map of the frame; those that are on stay on.
  offer(frame) {
    const names = JSON.stringify(frame.layers.map(({ name }) => name));
    if (names === this.#offered) return;
    this.#offered = names;
    const on = this.#chosen();
    this.#list.replaceChildren(...frame.layers.map((layer) => this.#row(layer, on.has(layer.name))));
  }

  // Those that are on, over what is painted already.
  paint(canvas, frame, opacity) {
    const on = this.#chosen(), pen = canvas.getContext("2d", { alpha: false });
    for (const { name, wh: [width, height], values } of frame.layers) {
      if (!on.has(name)) continue;
      const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
      for (let i = 0; i < values.length; i++) pixels[i] = INKS[values[i]];
      this.#canvas.width = width;
      this.#canvas.height = height;
      this.#canvas.getContext("2d").putImageData(image, 0, 0);
      pen.globalAlpha = opacity;
      pen.drawImage(this.#canvas, 0, 0, canvas.width, canvas.height);
    }
    pen.globalAlpha = 1;
  }

  #chosen() {
    return new Set([...this.#list.querySelectorAll("input:checked")].map((box) => box.dataset.map));
  }

  #row({ name, meaning }, on) {
    const row = document.createElement("li"), label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = on;
    box.dataset.map = name;
    box.addEventListener("change", this.#onChange);
    label.title = meaning;
    label.append(box, name);
    row.append(label);
    return row;
  }
}
