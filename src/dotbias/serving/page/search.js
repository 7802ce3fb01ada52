// Finds items by what is typed; arrow keys walk through them.

import { get } from "./api.js";
import { h } from "./dom.js";
import { title } from "./me.js";
import { t } from "./words.js";

let count = 0;

// chosen: called with the item.
export const search = (label, chosen) => {
  const name = `matches-${(count += 1)}`;
  let found = [];
  let marked = -1;
  let asked = 0;
  const list = h("ul.matches", { id: name, role: "listbox", "aria-label": t("matches"), hidden: true });
  const input = h("input", {
    type: "search",
    role: "combobox",
    autocomplete: "off",
    placeholder: label,
    "aria-label": label,
    "aria-expanded": "false",
    "aria-controls": name,
    "aria-autocomplete": "list",
  });
  const close = () => {
    list.hidden = true;
    marked = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = (at) => {
    chosen(found[at]);
    input.value = "";
    close();
  };
  const mark = (at) => {
    marked = at;
    [...list.children].forEach((row, place) => row.setAttribute("aria-selected", String(place === at)));
    input.setAttribute("aria-activedescendant", `${name}-${at}`);
    list.children[at].scrollIntoView({ block: "nearest" });
  };
  const show = () => {
    const rows = found.map((item, at) =>
      h(
        "li",
        {
          id: `${name}-${at}`,
          role: "option",
          "aria-selected": "false",
          // Before the input loses the focus, which closes the list.
          onpointerdown: (event) => event.preventDefault(),
          onclick: () => choose(at),
        },
        title(item),
      ),
    );
    list.replaceChildren(...(rows.length ? rows : [h("li.none", { role: "option", "aria-disabled": "true" }, t("no_match"))]));
    list.hidden = false;
    marked = -1;
    input.setAttribute("aria-expanded", "true");
  };
  const suggest = async () => {
    const query = input.value.trim();
    const turn = (asked += 1);
    if (!query) return close();
    try {
      const { items } = await get(`items?limit=12&query=${encodeURIComponent(query)}`);
      if (turn !== asked) return;
      found = items;
      show();
    } catch {
      if (turn === asked) close();
    }
  };
  input.addEventListener("input", suggest);
  input.addEventListener("focus", suggest);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (list.hidden || !found.length) return;
    if (event.key === "ArrowDown") mark((marked + 1) % found.length);
    else if (event.key === "ArrowUp") mark((marked - 1 + found.length) % found.length);
    else if (event.key === "Enter") choose(Math.max(marked, 0));
    else return;
    event.preventDefault();
  });
  return h("div.search", {}, input, list);
};
