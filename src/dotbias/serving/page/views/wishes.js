// What somebody wants to remember.

import { post } from "../api.js";
import { h, keep } from "../dom.js";
import { allSaid, me, news } from "../me.js";
import { fill, row } from "../rows.js";
import { t } from "../words.js";

export const mount = (place) => {
  const list = h("ol.items");
  const none = h("p.small", {}, t("wishes_none"));
  place.append(h("section.single", {}, h("h1", {}, t("wishes")), none, list));
  let predicted = new Map();
  const show = () => {
    const wishes = allSaid("wish");
    none.hidden = wishes.length > 0;
    keep(list, wishes, (item) => item.item, row, (li, item) => fill(li, { ...item, ...predicted.get(String(item.item)) }));
  };
  const predict = async () => {
    const pairs = allSaid("wish").map((item) => ({ user: me.user, item: item.item }));
    if (!pairs.length) return;
    const { predictions } = await post("predict", { pairs });
    predicted = new Map(
      predictions.filter((one) => one.basis !== "user").map(({ item, prediction, preference, std }) => [String(item), { prediction, preference, std }]),
    );
    show();
  };
  const said = () => predict().catch(() => {}); // what is predicted is an extra here
  show();
  said();
  news.addEventListener("shown", show);
  news.addEventListener("said", said);
  return () => {
    news.removeEventListener("shown", show);
    news.removeEventListener("said", said);
  };
};
