// Before anything is drawn: light or dark, as it was chosen on this browser, else as the system prefers.

{
  const prefersLight = matchMedia("(prefers-color-scheme: light)");
  const chosen = () => {
    try { return localStorage.getItem("edge.theme"); } catch { return null; } // storage may be forbidden
  };
  const apply = () => {
    const theme = chosen();
    document.documentElement.dataset.theme = theme === "light" || theme === "dark" ? theme : prefersLight.matches ? "light" : "dark";
    window.dispatchEvent(new Event("themechange"));
  };
  prefersLight.addEventListener("change", apply);
  window.addEventListener("storage", apply); // chosen in another tab
  window.addEventListener("themechosen", apply);
  apply();
}
