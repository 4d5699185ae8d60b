// Dark and light theme: the colours of style.css for drawing on canvases.

const ORDER = { "": "light", light: "dark", dark: "" };
const WORDS = { light: "☀ Light", dark: "☾ Dark" };
const root = document.documentElement;
let seen = null;

/** Switch from the setting of the system to light, to dark, and back. */
export function nextTheme() {
  const next = ORDER[root.dataset.theme ?? ""];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
}

export const themeText = () => WORDS[root.dataset.theme] ?? "◐ Auto";

export function pageColours() {
  const key = `${root.dataset.theme} ${matchMedia("(prefers-color-scheme: dark)").matches}`;
  if (seen?.key === key) return seen;
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue(name).trim();
  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  seen = {
    key,
    background: read("--panel"),
    rgb: rgb(read("--panel")),
    text: read("--text"),
    faint: read("--faint"),
    edge: read("--edge"),
    axes: [read("--h"), read("--k"), read("--l")],
    hatch: [read("--hatch-0"), read("--hatch-1")],
    hatchRgb: rgb(read("--hatch-1")),
    font: getComputedStyle(document.body).fontFamily,
  };
  return seen;
}
