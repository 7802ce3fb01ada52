// What orders a list: what somebody is likely to choose or, where the model says both, how they would rate it.

import { h } from "./dom.js";
import { hasBoth, isForAll } from "./me.js";
import { sign } from "./rows.js";
import { t } from "./words.js";

let chosen = "preference"; // kept from visit to visit

// As calls have it; undefined where there is nothing to choose.
export const rankBy = () => (hasBoth() ? chosen : undefined);

// {choice, how}: where it is chosen, null where it cannot be, and what it means. changed: called when it is another one.
export const order = (changed) => {
  const how = h("p.small");
  const show = () => {
    const isByStars = rankBy() === "rating";
    const by = isForAll(rankBy()) ? t("ordered_all") : hasBoth() && t(isByStars ? "ordered_rating" : "ordered_preference");
    how.textContent = [by, hasBoth() && !isByStars && t("sign_means", { sign: sign() })].filter(Boolean).join(" ");
    how.hidden = !how.textContent;
  };
  const onchange = (event) => {
    chosen = event.target.value;
    show();
    changed();
  };
  const choice =
    hasBoth() &&
    h(
      "select",
      { onchange, "aria-label": t("order") },
      h("option", { value: "preference", selected: chosen === "preference" }, t("by_preference")),
      h("option", { value: "rating", selected: chosen === "rating" }, t("by_rating", { sign: sign() })),
    );
  show();
  return { choice, how };
};
