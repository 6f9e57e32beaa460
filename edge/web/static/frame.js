// What the server sends of a frame: taken apart, and its classes tinted.

import { resize } from "/shared.js";

// The frame as the server sent it: what its head says, the image (`bitmap`, or of H.264 `pixels`) and the class of each
// cell. `video` decodes H.264. Who is through with it calls `release`.
export async function decode(data, video = null) {
  const headBytes = new DataView(data).getUint32(0, true), body = 4 + headBytes;
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, headBytes)));
  const imageBytes = head.video ? head.video.chunks.reduce((sum, { bytes }) => sum + bytes, 0) : head.jpeg_bytes;
  const image = new Uint8Array(data, body, imageBytes);
  const deflated = new Blob([new Uint8Array(data, body + imageBytes)]).stream();
  const [decoded, inflated] = await Promise.all([
    head.video
      ? video.decode(head.video, head.picture_wh, image).then((pixels) => ({ pixels }))
      : createImageBitmap(new Blob([image], { type: "image/jpeg" })).then((bitmap) => ({ bitmap })),
    new Response(deflated.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer(),
  ]);
  let at = 0; // the class map, then the layers
  const map = ([width, height]) => { at += width * height; return new Uint8Array(inflated, at - width * height, width * height); };
  const classes = map(head.classes_wh);
  return { ...head, ...decoded, classes, layers: head.layers.map((layer) => ({ ...layer, values: map(layer.wh) })) };
}

export function release(frame) {
  frame?.bitmap?.close();
}

// What each class id is painted in, from the layers that are on.
export function coloursOf(layers) {
  const colours = new Uint32Array(256);
  for (const { ids, rgb: [red, green, blue], on } of layers) {
    if (on) for (const id of ids) colours[id] = (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
  }
  return colours;
}

// The classes of a frame into a canvas of their size; how many cells each class has.
export function tint(canvas, frame, colours) {
  const [width, height] = frame.classes_wh, ids = frame.classes;
  resize(canvas, width, height);
  const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer), counts = new Uint32Array(256);
  for (let i = 0; i < ids.length; i++) { counts[ids[i]]++; pixels[i] = colours[ids[i]]; }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return counts;
}

// The image, and over it the tints at that opacity; 0 leaves them out.
export function paint(canvas, frame, mask, opacity) {
  const [width, height] = frame.picture_wh, pen = canvas.getContext("2d", { alpha: false });
  resize(canvas, width, height);
  pen.globalAlpha = 1;
  if (frame.pixels) pen.putImageData(frame.pixels, 0, 0);
  else pen.drawImage(frame.bitmap, 0, 0);
  if (!opacity) return;
  pen.globalAlpha = opacity;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(mask, 0, 0, width, height);
}

export function address(camera, more = "") {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  return `${scheme}://${location.host}/feed?camera=${encodeURIComponent(camera)}${more}`;
}

// A duration for people: a figure and its unit.
export function seconds(ms) {
  return ms < 1000 ? [Math.round(ms), "ms"] : ms < 120_000 ? [(ms / 1000).toFixed(1), "s"] : [Math.round(ms / 60_000), "min"];
}

// "lost: unplugged", "ok"
export function words({ state, reason }) {
  return reason ? `${state}: ${reason}` : state;
}
