// One frame as a PNG: its own masks, however old it is, and below it what it shows, in the words of its file's name.

import { coloursOf, paint, seconds, tint } from "/frame.js";

// `frame` with the layers that are on, `maps` and `zones` over it; `age` is its age in ms, now.
export function saveSnapshot({ frame, hello, camera, layers, maps, zones, opacity, age }) {
  const canvas = document.createElement("canvas"), mask = document.createElement("canvas");
  tint(mask, frame, coloursOf(layers));
  paint(canvas, frame, mask, opacity);
  maps.paint(canvas, frame, opacity);
  zones.paint(canvas);
  const captured = stamp(new Date(Date.now() - age));
  const old = age > hello.stale_after_ms ? [`saved ${seconds(age).join(" ")} later`] : [];
  const words = [camera, hello.source, `frame ${frame.frame}`, captured.replace("T", " "), `mask after ${Math.round(frame.age_ms)} ms`, ...old, `${hello.engine} ${hello.precision}`];
  const name = ["edge", camera, captured.replaceAll(":", "-"), "frame", frame.frame].filter((part) => part !== "").join("-");
  underlined(canvas, words.filter(Boolean).join(" · ")).toBlob((blob) => download(blob, `${name}.png`), "image/png");
}

// A new canvas: the image, and a line of words below it.
function underlined(image, words) {
  const copy = document.createElement("canvas"), pen = copy.getContext("2d"), bar = Math.max(24, Math.round(image.height / 24));
  copy.width = image.width;
  copy.height = image.height + bar;
  pen.drawImage(image, 0, 0);
  pen.fillStyle = "#0a0d11";
  pen.fillRect(0, image.height, copy.width, bar);
  pen.fillStyle = "#e8edf2";
  pen.font = `${Math.round(bar * 0.55)}px system-ui, sans-serif`;
  pen.fillText(words, bar * 0.4, image.height + bar * 0.7, copy.width - bar * 0.8);
  return copy;
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// "2026-11-29T17:20:03", on this browser's clock
function stamp(date) {
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
