// One list for two people.

import { post } from "../api.js";
import { h, keep, toast } from "../dom.js";
import { me, news } from "../me.js";
import { order, rankBy } from "../order.js";
import { failed, fill, row } from "../rows.js";
import { number, t } from "../words.js";

const KEPT = "dotbias-other";

export const mount = (place) => {
  const list = h("ol.items.ranked", { "aria-label": t("together") });
  const said = h("p.small", { "aria-live": "polite" });
  const own = h("output.code");
  const copy = h(
    "button",
    {
      type: "button",
      onclick: async () => {
        await navigator.clipboard.writeText(String(me.user));
        toast(t("copied"));
      },
    },
    t("copy"),
  );
  const code = h("input", { name: "code", required: true, autocomplete: "off", value: localStorage.getItem(KEPT) ?? "" });
  const showOwn = () => {
    own.textContent = me.user ?? t("no_code");
    copy.hidden = me.user === null || !navigator.clipboard;
  };
  const fetchList = async () => {
    const other = code.value.trim();
    if (me.user === null || !other) return;
    localStorage.setItem(KEPT, other);
    try {
      const found = await post("recommend/group", { users: [me.user, other], rank_by: rankBy(), k: 30 });
      const unknown = found.basis.length < 2 ? "same_code" : found.basis[1] === "neither" ? "unknown_code" : null;
      said.textContent = t(unknown ?? "together_how");
      keep(list, found.items, (item) => item.item, row, (li, item) => {
        const { predictions, preferences } = item;
        // Of a code of which nothing is known there is nothing to show.
        fill(li, unknown ? { ...item, prediction: predictions?.[0], preference: preferences?.[0] } : item, { numbered: true });
        const each = predictions ?? preferences;
        const words = unknown ? "" : t("each", { you: number(each[0], 1), other: number(each[1], 1) });
        li.querySelector(".why").textContent = words;
      });
    } catch (error) {
      list.replaceChildren(failed(error, fetchList));
    }
  };
  const { choice, how } = order(() => fetchList());
  const submitted = (event) => {
    event.preventDefault();
    if (me.user === null) said.textContent = t("no_code");
    else fetchList();
  };
  place.append(
    h(
      "section.single",
      {},
      h("h1", {}, t("together")),
      h("p", {}, t("together_what")),
      h(
        "form.codes",
        { onsubmit: submitted },
        h("div.field", {}, h("span", {}, t("own_code")), h("span.row", {}, own, copy)),
        h("label.field", {}, t("other_code"), h("span.row", {}, code, h("button.main", { type: "submit" }, t("make_list")))),
      ),
      h("div.filters", {}, choice, said),
      how,
      list,
    ),
  );
  const shown = () => {
    showOwn();
    fetchList();
  };
  shown();
  news.addEventListener("said", shown);
  return () => news.removeEventListener("said", shown);
};
