// What the live page and the page of a replay do alike.

export const $ = (id) => document.getElementById(id);
export const GREYS = Uint32Array.from({ length: 256 }, (_, value) => (255 << 24 | value << 16 | value << 8 | value) >>> 0);

// How long to wait before a line that was lost is tried again, by how often it was tried.
export const retryMs = (attempts) => [250, 500, 1000, 2000][Math.min(attempts, 3)];

export function write(id, text) {
  const element = $(id);
  if (element.textContent !== String(text)) element.textContent = text;
}

// A layer's row, with a box that is on or off; "more" comes behind the name.
export function layerRow(layer, place, on, onChange, ...more) {
  const row = document.createElement("li"), label = document.createElement("label");
  const box = document.createElement("input"), name = document.createElement("span");
  box.type = "checkbox";
  box.checked = on;
  box.dataset.layer = layer.name;
  box.addEventListener("change", onChange);
  box.style.setProperty("--swatch", `rgb(${layer.rgb.join(" ")})`);
  name.className = "name";
  name.title = layer.name;
  name.textContent = layer.name;
  if (place < 9) label.title = `Key ${place + 1}`;
  label.append(box, name, ...more);
  row.append(label);
  return row;
}

export const boxes = () => [...$("layers").querySelectorAll("input")];

export function resize(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
}

// Values into a canvas of their size, each in its colour.
export function inked(canvas, [width, height], values, colours) {
  resize(canvas, width, height);
  const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < values.length; i++) pixels[i] = colours[values[i]];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

export function fullScreen(element) {
  if (document.fullscreenElement) document.exitFullscreen();
  else element.requestFullscreen?.();
}
