// An item as it stands in lists: its title, what can be said of it, and what the list says.

import { h } from "./dom.js";
import { model, ownMean, rate, saidOf, title, toggle } from "./me.js";
import { stars } from "./stars.js";
import { listed, number, rated, t } from "./words.js";

const YEAR = /^(.*\S)\s*\((\d{4})\)\s*$/;

const split = (item) => YEAR.exec(title(item))?.slice(1) ?? [title(item), null];

// Where an item has its page.
export const link = (item) => {
  const [name, year] = split(item);
  return h("a.title", { href: `#item/${encodeURIComponent(item.item)}` }, name, year && h("span.year", {}, ` ${year}`));
};

// Stars, or where there are none a button "have it".
const rater = (item) => {
  const said = saidOf(item.item);
  if (model.scale) {
    const value = said?.state === "rating" ? said.rating : null;
    return stars(model.scale, value, title(item), (chosen) => rate(item, chosen));
  }
  return toggler(item, "rating", "✓", "have");
};
const toggler = (item, state, sign, word) => {
  const made = h(
    "button.toggle",
    { type: "button", onclick: () => toggle(item, state), "aria-label": `${t(word)}: ${title(item)}`, title: t(word) },
    h("span", { "aria-hidden": "true" }, sign),
    state === "rating" && ` ${t(word)}`,
  );
  made.dataset.state = state;
  return made;
};
const isOn = (item, state) => saidOf(item.item)?.state === state;

export const actions = (item) =>
  h("div.actions", {}, rater(item), toggler(item, "wish", "♥", "wish"), toggler(item, "not-interested", "✕", "no_interest"));

// What has been said of the item since.
export const refresh = (place, item) => {
  const own = place.querySelector("star-rating");
  const said = saidOf(item.item);
  if (own) own.value = said?.state === "rating" ? said.rating : null;
  for (const button of place.querySelectorAll("button.toggle"))
    button.setAttribute("aria-pressed", String(isOn(item, button.dataset.state)));
};

export const row = (item) =>
  h(
    "li.item",
    {},
    h("div.what", {}, h("div.name", {}, link(item)), h("div.genres"), h("div.why")),
    h("div.how"),
    actions(item),
  );

// One's own rating of an item, in words: {liked, known, chosen} say it where it is no lower than one's mean, where
// it is, and where there are no stars. To a list by preference a low rating is a choice like any other, and no praise.
const own = (one, { liked, known, chosen }) => {
  const [name] = split(one);
  if (one.rating === null || !model.scale) return t(chosen, { title: name });
  return t(one.rating < ownMean() ? known : liked, { title: name, rating: rated(one.rating, model.scale) });
};
const because = (one) => own(one, { liked: "because_rated", known: "because_known", chosen: "because_have" });
// As a part of a sum; of: "preference" or "rating".
export const reason = (one, of) => own(one, { liked: "reason", known: of === "rating" ? "reason" : "reason_known", chosen: "reason_known" });

// What stands before a predicted rating.
export const sign = () => (model.scale?.stars ? "★" : "≈");

// Predicted stars and how sure they are; where there are no stars, how well it fits.
export const prediction = (item) => {
  if (item.prediction !== null && item.prediction !== undefined)
    return h(
      "span.prediction",
      { title: t("predicted") },
      h("span.star", { "aria-hidden": "true" }, sign()),
      h("span.hidden", {}, `${t("predicted")} `),
      number(item.prediction, 1),
      item.std ? h("span.std", { title: t("sure") }, ` ± ${number(item.std, 1)}`) : null,
    );
  if (item.preference === null || item.preference === undefined) return null;
  const bar = h("span.fit", { role: "img", "aria-label": `${t("fits")} ${number(item.preference)}`, title: t("fits") });
  bar.style.setProperty("--share", `${100 * Math.min(1, Math.max(0, item.preference))}%`);
  return bar;
};

export const fill = (place, item, { numbered = false } = {}) => {
  place.querySelector(".genres").textContent = (item.genres ?? []).join(" · ");
  const how = prediction(item);
  place.querySelector(".how").replaceChildren(...(how ? [how] : []));
  const why = item.reasons ?? [];
  place.querySelector(".why").textContent = why.length ? t("because", { reasons: listed(why.map(because)) }) : "";
  if (numbered) place.dataset.rank = item.rank;
  refresh(place, item);
};

// What a list says where it could not be had, with the way to try again.
export const failed = (error, again) =>
  h(
    "div.failed",
    { role: "alert" },
    h("p", {}, error.passes ? t("not_now", { why: error.message }) : error.message),
    h("button", { type: "button", onclick: again }, t("again")),
  );
