// Light, dark, or as the system says: kept in this browser, set before the page is drawn.
"use strict";
(() => {
  const root = document.documentElement;
  const choices = ["auto", "light", "dark"];
  const kept = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is off: the system decides
    }
  };
  const show = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  show(kept());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const say = () => {
      button.textContent = `Theme: ${root.dataset.theme ?? "auto"}`;
    };
    button.hidden = false;
    say();
    button.addEventListener("click", () => {
      const next = choices[(choices.indexOf(root.dataset.theme ?? "auto") + 1) % choices.length];
      try {
        localStorage.setItem("theme", next);
      } catch {
        // it holds for this page only
      }
      show(next);
      say();
    });
  });
})();
