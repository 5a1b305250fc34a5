// A pause button for users whom movement disturbs, and a choice of theme: inside Airflow's frame the page cannot find
// out which theme Airflow uses.

import { make, setText } from "./dom.js";

const THEMES = ["system", "light", "dark"];

function remembered() {
  try {
    const theme = localStorage.getItem("theme");
    return THEMES.includes(theme) ? theme : "system";
  } catch {
    return "system"; // storage is forbidden
  }
}

function remember(theme) {
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // Without storage the theme is kept for this page only.
  }
}

export function addTools(pausedNow) {
  const pause = make("button", "", "Pause updates");
  pause.type = "button";
  let paused = false;
  pause.onclick = () => {
    paused = !paused;
    setText(pause, paused ? "Resume updates" : "Pause updates");
    pausedNow(paused);
  };
  let theme = remembered();
  const button = make("button");
  button.type = "button";
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    setText(button, `Theme: ${theme}`);
  };
  button.onclick = () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remember(theme);
    show();
  };
  show();
  document.querySelector("header").append(make("div", "tools", pause, button));
}
