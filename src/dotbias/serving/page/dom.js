// Making elements, and keeping those that stay.

// Every text goes in as text: a title full of markup stays a title.
export const h = (name, settings = {}, ...children) => {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(settings)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && !key.includes("-") && key !== "list") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
};

// Fill a list so that rows of the same key stay the elements that they are: nothing loses the focus.
export const keep = (list, things, keyOf, make, update) => {
  const before = new Map([...list.children].map((row) => [row.dataset.key, row]));
  const rows = things.map((thing, place) => {
    const key = String(keyOf(thing));
    const row = before.get(key) ?? make(thing);
    row.dataset.key = key;
    update(row, thing, place);
    return row;
  });
  const wanted = new Set(rows);
  for (const row of [...list.children]) if (!wanted.has(row)) row.remove();
  rows.forEach((row, place) => {
    if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
  });
};

const SVG = "http://www.w3.org/2000/svg";
export const svg = (tag, settings = {}, ...children) => {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(settings)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

// The place where short messages appear, with one thing to do about them.
let hiding;
export const toast = (text, action, does, { stays = false } = {}) => {
  const place = document.getElementById("toast");
  clearTimeout(hiding);
  const hide = () => (place.hidden = true);
  place.replaceChildren(h("span", {}, text));
  const act = () => {
    hide();
    does();
  };
  if (action) place.append(h("button", { type: "button", onclick: act }, action));
  place.classList.toggle("problem", stays);
  place.hidden = false;
  if (!stays) hiding = setTimeout(hide, 8000);
};
export const untoast = () => (document.getElementById("toast").hidden = true);

// Ask in a dialog; what the form holds, or null where it was called off.
export const ask = (title, body, { yes, no, danger = false, field = null }) =>
  new Promise((answer) => {
    const dialog = document.getElementById("ask");
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: "ask-title" }, title),
      h("p", {}, body),
      field,
      h(
        "div.row",
        {},
        // No submit: the Enter key would take the first one of these.
        h("button", { type: "button", onclick: () => dialog.close("no") }, no),
        h(danger ? "button.danger" : "button.main", { type: "submit", value: "yes" }, yes),
      ),
    );
    dialog.setAttribute("aria-labelledby", "ask-title");
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => answer(dialog.returnValue === "yes" ? new FormData(form) : null), {
      once: true,
    });
    dialog.returnValue = "";
    dialog.showModal();
    const first = dialog.querySelector("input");
    if (first) first.focus();
  });
