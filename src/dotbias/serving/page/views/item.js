// All that is known of one item, why it is where it is, and what is like it.

import { get, id, post } from "../api.js";
import { h, keep } from "../dom.js";
import { allSaid, me, model, news, title } from "../me.js";
import { actions, failed, fill, prediction, reason, refresh, row } from "../rows.js";
import { number, t } from "../words.js";

// Parts of an explanation that are not the user's own.
const PARTS = {
  "global mean": "part_mean",
  "user bias": "part_user",
  "item bias": "part_item",
  "what the fit left": "part_left",
  "assumed of everyone": "part_assumed",
  "cut off": "part_cut",
};
const SEEN = 5e-4;

const inWords = (part, of) => {
  if (PARTS[part.part]) return t(PARTS[part.part]);
  if (part.item === null || part.item === undefined) return t("part_others");
  if (part.part === "not interested") return t("part_no", { title: title(part) });
  return reason(part, of);
};

const bars = (why) => {
  const parts = why.parts.filter((part) => Math.abs(part.contribution) >= SEEN);
  const digits = why.of === "rating" ? 2 : 3;
  // The mean is where a rating begins; the bars are what moves it from there.
  const largest = Math.max(...parts.filter((part) => part.part !== "global mean").map((part) => Math.abs(part.contribution)));
  return h(
    "table.parts",
    {},
    h("caption", {}, t(why.of === "rating" ? "why_rating" : "why_preference", { n: number(why.prediction, digits) })),
    h(
      "tbody",
      {},
      ...parts.map((part) => {
        const moves = part.part !== "global mean";
        const bar = moves && h(part.contribution < 0 ? "span.bar.less" : "span.bar");
        if (bar) bar.style.setProperty("--share", `${(100 * Math.abs(part.contribution)) / largest}%`);
        const sign = part.contribution > 0 && moves ? "+" : "";
        return h(
          "tr",
          {},
          h("th", { scope: "row" }, inWords(part, why.of)),
          h("td.bars", { "aria-hidden": "true" }, bar),
          h("td.number", {}, sign + number(part.contribution, digits)),
        );
      }),
    ),
  );
};

export const mount = (place, name) => {
  const body = h("section.single");
  place.append(body);
  let item;
  const why = h("div");
  const expected = h("span.how");

  const explain = async () => {
    if (!allSaid("rating").length) return why.replaceChildren(h("p.small", {}, t("why_nothing")));
    const ways = model.preference ? ["preference", "rating"] : [undefined];
    try {
      const found = await Promise.all(ways.map((of) => post("explain", { user: me.user, item: item.item, of, k: 6 })));
      why.replaceChildren(...found.map(bars));
    } catch (error) {
      why.replaceChildren(failed(error, explain));
    }
  };
  const predict = async () => {
    if (me.user === null) return;
    const { predictions } = await post("predict", { pairs: [{ user: me.user, item: item.item }] });
    const how = prediction(predictions[0]);
    expected.replaceChildren(...(how ? [how] : []));
  };
  const follow = () => {
    explain();
    predict().catch(() => {}); // the explanation says what is wrong
  };
  const fact = (label, value) => value !== null && value !== undefined && h("div.fact", {}, h("dt", {}, label), h("dd", {}, value));
  const show = async () => {
    try {
      item = await get(`items/${id(name)}`);
    } catch (error) {
      body.replaceChildren(failed(error, show));
      return;
    }
    document.title = `${title(item)} · dotbias`;
    const similar = h("ol.items");
    keep(similar, item.similar, (one) => one.item, row, (li, one) => fill(li, one));
    const bias = item.bias === undefined ? null : (item.bias > 0 ? "+" : "") + number(item.bias, 2);
    const counted = model.kind === "ratings" ? "fact_ratings" : "fact_chosen";
    body.replaceChildren(
      h("div.head", {}, h("h1", {}, title(item)), expected),
      h("p.small", {}, (item.genres ?? []).join(" · ")),
      h("div.own", {}, actions(item)),
      h(
        "dl.facts",
        {},
        fact(t(counted), number(item.n_ratings)),
        fact(t("fact_mean"), item.mean_rating === undefined ? null : number(item.mean_rating, 2)),
        fact(t("fact_bias"), bias),
        fact(t("fact_id"), String(item.item)),
      ),
      h("h2", {}, t("why")),
      why,
      h("h2", {}, t("similar")),
      item.similar.length ? similar : h("p.small", {}, t("similar_none")),
    );
    shown();
    follow();
  };
  const shown = () => {
    if (!item) return;
    refresh(body.querySelector(".own"), item);
    body.querySelectorAll("li.item").forEach((li) => refresh(li, { item: li.dataset.key }));
  };
  news.addEventListener("shown", shown);
  news.addEventListener("said", follow);
  show();
  return () => {
    news.removeEventListener("shown", shown);
    news.removeEventListener("said", follow);
  };
};
