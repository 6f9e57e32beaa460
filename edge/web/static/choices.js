// What a person chose on this browser, kept for the next time: layers, opacity, camera, theme.

const KEY = "edge.page", THEME = "edge.theme";

function read(key) {
  try { return localStorage.getItem(key); } catch { return null; } // storage may be forbidden
}

function write(key, value) {
  try { localStorage.setItem(key, value); } catch { /* then it holds until the page is left */ }
}

function all() {
  try { return JSON.parse(read(KEY)) ?? {}; } catch { return {}; }
}

// What was chosen for `name`, or else `usual`.
export function remembered(name, usual) {
  return all()[name] ?? usual;
}

export function remember(name, value) {
  write(KEY, JSON.stringify({ ...all(), [name]: value }));
}

// A select with auto, light and dark.
export function themeChoice(select) {
  select.value = read(THEME) ?? "auto";
  select.addEventListener("change", () => {
    write(THEME, select.value);
    window.dispatchEvent(new Event("themechosen"));
  });
}
