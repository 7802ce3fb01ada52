// All that somebody has said; bringing along, taking along, deleting.

import { ask, h, keep, toast } from "../dom.js";
import { decoded, download, understood, written } from "../files.js";
import { allSaid, erase, exported, me, model, news, sayMany } from "../me.js";
import { failed, fill, row } from "../rows.js";
import { language, t } from "../words.js";

const SHOWN = 50; // lines that were not understood

export const mount = (place) => {
  const report = h("div.report", { "aria-live": "polite" });
  const file = h("input", { type: "file", accept: ".csv,.tsv,.txt,text/csv", id: "file", onchange: () => bring(file.files[0]) });
  const bring = async (chosen) => {
    if (!chosen) return;
    report.replaceChildren(h("p", {}, t("reading")));
    try {
      const text = decoded(await chosen.arrayBuffer(), language);
      file.value = ""; // so that the same file can be chosen again
      if (text === null) {
        report.replaceChildren(h("p", { role: "alert" }, t("no_text")));
        return;
      }
      const { rows, bad } = await understood(text, model);
      if (rows.length) await sayMany(rows);
      report.replaceChildren(h("p", {}, t("imported", { n: rows.length })));
      if (bad.length) report.append(h("p", {}, t("not_understood", { n: bad.length })), listOf(bad));
    } catch (error) {
      report.replaceChildren(failed(error, () => bring(chosen)));
    }
  };
  const listOf = (bad) =>
    h(
      "ul.bad",
      {},
      ...bad.slice(0, SHOWN).map(({ line, text, why }) => h("li", {}, h("b", {}, t("line", { n: line })), ` ${text} — ${why}`)),
      bad.length > SHOWN && h("li", {}, t("and_more", { n: bad.length - SHOWN })),
    );
  const take = (make) => async () => {
    try {
      const all = await exported();
      make(all);
    } catch (error) {
      toast(error.message, t("again"), take(make), { stays: true });
    }
  };
  const asCsv = take(({ ratings }) => download("ratings.csv", "text/csv", `\uFEFF${written(ratings)}`));
  const asJson = take((all) => download("ratings.json", "application/json", JSON.stringify(all, null, 2)));
  const remove = async () => {
    const sure = await ask(t("delete_title"), t("delete_body"), { yes: t("delete_yes"), no: t("cancel"), danger: true });
    if (!sure) return;
    try {
      await erase();
      report.replaceChildren();
      toast(t("deleted"));
    } catch (error) {
      toast(t("not_deleted", { why: error.message }), t("again"), remove, { stays: true });
    }
  };
  const taking = h(
    "div",
    {},
    h("h2", {}, t("export")),
    h(
      "div.row",
      {},
      h("button", { type: "button", onclick: asCsv }, t("export_csv")),
      h("button", { type: "button", onclick: asJson }, t("export_json")),
      h("button.danger", { type: "button", onclick: remove }, t("delete")),
    ),
  );
  const groups = [
    ["rating", model.scale ? "your_ratings" : "your_things"],
    ["not-interested", "refused_items"],
  ].map(([state, name]) => ({ state, head: h("h2"), list: h("ol.items"), name }));
  const none = h("p.small", {}, t("yours_none"));
  place.append(
    h(
      "section.single",
      {},
      h("h1", {}, t("yours")),
      h(
        "div.panel",
        {},
        h("h2", {}, t("import")),
        h("p.small", {}, t("import_what")),
        h("label.button", { htmlFor: "file" }, t("choose_file")),
        file,
        report,
        taking,
      ),
      none,
      ...groups.flatMap(({ head, list }) => [head, list]),
    ),
  );
  const show = () => {
    for (const { state, head, list, name } of groups) {
      const rows = allSaid(state);
      head.textContent = t(name, { n: rows.length });
      head.hidden = !rows.length;
      keep(list, rows, (item) => item.item, row, (li, item) => fill(li, item));
    }
    none.hidden = me.said.size > 0;
    taking.hidden = me.user === null;
  };
  show();
  news.addEventListener("shown", show);
  return () => news.removeEventListener("shown", show);
};
