// Rating on one side, the list that follows on the other.

import { get, post } from "../api.js";
import { h, keep } from "../dom.js";
import { allSaid, isForAll, isSaving, me, model, news, noticed, saidOf, saved } from "../me.js";
import { order, rankBy } from "../order.js";
import { failed, fill, refresh, row } from "../rows.js";
import { search } from "../search.js";
import { number, t } from "../words.js";

const STEP = 20;
const MOST = 100;
const STARTERS = 12;
const NOTHING = { items: [] };
const MOST_TOLD = 500; // of more it takes longer to tell than to wait until they are kept
const wanted = { well_known: 0, genre: "", year_from: "", year_to: "", k: STEP }; // kept from visit to visit
let picked = []; // found by the search, the last first

export const mount = (place) => {
  // -- what to rate ----------------------------------------------------------------------------

  const toRate = h("ol.items");
  const count = h("p.small");
  let starters = [];
  let n = STARTERS;
  const showToRate = () => {
    // What was rated here stays in its place until the page is left, so that nothing jumps under the finger.
    const own = new Set(picked.map((item) => item.item));
    keep(
      toRate,
      [...picked, ...starters.filter((item) => !own.has(item.item)).slice(0, n)],
      (item) => item.item,
      row,
      (li, item) => fill(li, item),
    );
    more.hidden = n >= starters.length;
    const said = allSaid("rating").length;
    const rated = isForAll(rankBy()) ? "n_rated_all" : "n_rated";
    count.textContent = said ? t(rated, { n: said }) : t("start_why");
  };
  const more = h("button.quiet", { type: "button", onclick: () => ((n += STARTERS), showToRate()) }, t("more"));
  const pick = (item) => {
    picked = [item, ...picked.filter((other) => other.item !== item.item)].slice(0, 20);
    showToRate();
    toRate.firstElementChild.querySelector("star-rating, button")?.focus();
  };
  const loadStart = async () => {
    try {
      // Those that are rated already tell nothing new.
      starters = (await get("start?n=120")).items.filter((item) => !saidOf(item.item));
      showToRate();
    } catch (error) {
      toRate.replaceChildren(failed(error, loadStart));
    }
  };

  // -- the list --------------------------------------------------------------------------------

  const list = h("ol.items.ranked", { "aria-label": t("for_you") });
  const basis = h("p.small", { "aria-live": "polite" });
  const trouble = h("div");
  let asked = 0;
  const ask = async () => {
    if (me.said.size > MOST_TOLD) await saved();
    const has = allSaid("rating").length > 0;
    const body = { k: wanted.k, well_known: wanted.well_known, rank_by: rankBy(), reasons: has ? 2 : 0 };
    // A list waits for no disk: it follows what was said while that is still being kept.
    if (me.user !== null && (!isSaving() || me.said.size > MOST_TOLD)) body.user = me.user;
    else {
      const said = [...me.said.values()];
      body.ratings = said.filter(({ state }) => state === "rating").map(({ item, rating }) => ({ item, rating }));
      body.not_interested = said.filter(({ state }) => state === "not-interested").map(({ item }) => item);
    }
    if (wanted.genre) body.genres = [wanted.genre];
    for (const end of ["year_from", "year_to"]) if (wanted[end] !== "") body[end] = Number(wanted[end]);
    // What is remembered needs no recommending.
    body.exclude = allSaid("wish").map((item) => item.item);
    return post("recommend", body);
  };
  const isReversed = () =>
    wanted.year_from !== "" && wanted.year_to !== "" && Number(wanted.year_from) > Number(wanted.year_to);
  const refill = async () => {
    const turn = (asked += 1);
    try {
      const found = isReversed() ? NOTHING : await ask();
      if (turn !== asked) return;
      if (found !== NOTHING) noticed(found);
      trouble.replaceChildren();
      const held = list.contains(document.activeElement)
        ? [...list.children].findIndex((li) => li.contains(document.activeElement))
        : -1;
      keep(list, found.items, (item) => item.item, row, (li, item) => fill(li, item, { numbered: true }));
      // An item that was rated has left the list: go on with the one in its place.
      if (held >= 0 && !list.contains(document.activeElement))
        list.children[Math.min(held, list.children.length - 1)]?.querySelector("star-rating, button")?.focus();
      if (isForAll(rankBy())) basis.textContent = t("for_all");
      else basis.textContent = found.basis === "neither" ? t("for_anybody") : t("for_you_from", { n: found.n_ratings });
      if (!found.items.length) basis.textContent = t(isReversed() ? "years_reversed" : "list_empty");
      longer.hidden = found.items.length < wanted.k || wanted.k >= MOST;
      list.dataset.filled = String(turn); // for whoever drives the page
    } catch (error) {
      if (turn === asked) trouble.replaceChildren(failed(error, refill));
    }
  };
  const longer = h("button.quiet", { type: "button", hidden: true, onclick: () => ((wanted.k += STEP), refill()) }, t("more"));

  const change = (name) => (event) => {
    wanted[name] = name === "well_known" ? Number(event.target.value) : event.target.value;
    wanted.k = STEP;
    refill();
  };
  const { choice, how } = order(() => {
    wanted.k = STEP;
    showToRate();
    refill();
  });
  const year = (name) =>
    h("input.year", {
      type: "number",
      inputMode: "numeric",
      min: 0,
      max: 9999,
      value: wanted[name],
      placeholder: t(name),
      "aria-label": t(name),
      onchange: change(name),
    });
  const genres = h("select", { onchange: change("genre"), "aria-label": t("genre") }, h("option", { value: "" }, t("all_genres")));
  genres.append(...model.genres.map(({ genre }) => h("option", { value: genre }, genre)));
  genres.value = wanted.genre;
  const known = h("input", {
    type: "range",
    min: -1,
    max: 1,
    step: 0.1,
    value: wanted.well_known,
    "aria-label": t("well_known"),
    onchange: change("well_known"),
  });
  known.addEventListener("input", () => known.setAttribute("aria-valuetext", number(Number(known.value))));
  const filters = h(
    "div.filters",
    {},
    choice,
    h("label.known", {}, h("span", { "aria-hidden": "true" }, t("hidden")), known, h("span", { "aria-hidden": "true" }, t("known"))),
    model.genres.length > 0 && genres,
    model.titles && h("span.years", {}, year("year_from"), "–", year("year_to")),
  );

  // -- both ------------------------------------------------------------------------------------

  place.append(
    h(
      "div.columns",
      {},
      h("section.rate", {}, h("h1", {}, t("rate_title")), search(t("search"), pick), count, toRate, more),
      h("section.list", {}, h("div.head", {}, h("h1", {}, t("your_list")), basis), filters, how, trouble, list, longer),
    ),
  );
  const shown = () => {
    showToRate();
    for (const li of list.children) refresh(li, { item: li.dataset.key });
    refill();
  };
  news.addEventListener("shown", shown);
  loadStart();
  refill();
  return () => {
    picked = [];
    news.removeEventListener("shown", shown);
  };
};
