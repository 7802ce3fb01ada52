// The page: which view is shown, in which language and theme.

import { h } from "./dom.js";
import { canUndo, learnModel, learnSaid, news, undo } from "./me.js";
import { failed } from "./rows.js";
import { other, speak, t } from "./words.js";

import * as forYou from "./views/for-you.js";
import * as item from "./views/item.js";
import * as map from "./views/map.js";
import * as modelView from "./views/model.js";
import * as together from "./views/together.js";
import * as wishes from "./views/wishes.js";
import * as yours from "./views/yours.js";

const VIEWS = { "for-you": forYou, map, together, wishes, yours, model: modelView, item };
const NAMES = { "for-you": "for_you", map: "map", together: "together", wishes: "wishes", yours: "yours", model: "model" };
const THEME = "dotbias-theme";
const find = (id) => document.getElementById(id);
const root = document.documentElement;

const plain = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // an address that somebody has typed
  }
};

let leave = null;
const show = ({ moved = false } = {}) => {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const route = VIEWS[name] ? name : "for-you";
  leave?.();
  const main = find("main");
  main.replaceChildren();
  document.title = NAMES[route] ? `${t(NAMES[route])} · dotbias` : "dotbias";
  for (const link of document.querySelectorAll("nav a")) {
    link.removeAttribute("aria-current");
    if (link.hash === `#${route}`) link.setAttribute("aria-current", "page");
  }
  leave = VIEWS[route].mount(main, plain(rest.join("/")));
  root.dataset.view = route;
  if (moved) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
};

// -- language and theme ------------------------------------------------------------------------

const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const label = () => {
  document.querySelectorAll("[data-t]").forEach((place) => (place.textContent = t(place.dataset.t)));
  document.querySelectorAll("[data-label]").forEach((place) => place.setAttribute("aria-label", t(place.dataset.label)));
  find("language").textContent = t("other_language");
  find("language").lang = other() === "zh" ? "zh-Hans" : "en";
  find("theme").textContent = t(isDark() ? "light" : "dark");
  find("undo").disabled = !canUndo();
};
const kept = localStorage.getItem(THEME);
if (kept) root.dataset.theme = kept;

find("language").addEventListener("click", async () => {
  await speak(other());
  label();
  show();
});
find("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  localStorage.setItem(THEME, root.dataset.theme);
  label();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);

// -- undo --------------------------------------------------------------------------------------

find("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input:not([type=range]), select, textarea");
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing) {
    undo();
    event.preventDefault();
  }
});
news.addEventListener("said", () => (find("undo").disabled = !canUndo()));

// -- beginning ---------------------------------------------------------------------------------

const begin = async () => {
  try {
    await Promise.all([learnModel(), learnSaid()]);
  } catch (error) {
    find("main").replaceChildren(h("section.single", {}, failed(error, begin)));
    return;
  }
  label();
  show();
  root.dataset.ready = "true";
};
window.addEventListener("hashchange", () => show({ moved: true }));
await speak();
label();
await begin();
