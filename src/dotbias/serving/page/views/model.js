// What the model is, and how good it was on ratings that it had not seen.

import { barChart, lineChart } from "../chart.js";
import { h } from "../dom.js";
import { isForAll, model, news } from "../me.js";
import { number, percent, t } from "../words.js";

const facts = (rows) =>
  h("dl.facts", {}, ...rows.filter(([, value]) => value !== null).map(([name, value]) => h("div.fact", {}, h("dt", {}, name), h("dd", {}, value))));

const what = () => {
  const parts = [[model.model, model.settings], [model.preference?.model, model.preference?.settings]].filter(([name]) => name);
  const names = parts.map(([name, settings]) => (settings?.n_factors ? t("of_factors", { name, n: settings.n_factors }) : name));
  const when = new Date(model.fitted_at);
  return facts([
    [t("fact_model"), names.join(" + ")],
    [t("fact_data"), t(`data_${model.kind}`, { n: model.n_ratings, users: model.n_users, items: model.n_items })],
    [t("fact_scale"), model.scale ? `${number(model.scale.low)} – ${number(model.scale.high)}` : null],
    [t("fact_fitted"), model.fitted_at ? when.toLocaleDateString(document.documentElement.lang, { dateStyle: "long" }) : null],
    [t("fact_generation"), String(model.generation)],
  ]);
};

const errors = (held) => {
  const rows = [
    { name: t("error_model"), value: held.rmse, own: true },
    { name: t("error_biases"), value: held.baseline_rmse },
    { name: t("error_mean"), value: held.mean_rmse },
  ].filter(({ value }) => typeof value === "number");
  return [
    h("h2", {}, t("error_title")),
    h("p.small", {}, t("error_what", { n: held.n_rows, share: percent(held.test_size) })),
    barChart(rows, { digits: 3, better: t("less_is_better") }),
  ];
};

const lists = (held) => {
  // Both measured on the same choices: all held-out items, or those that were liked.
  const relevant = (ranking) => ranking.relevant_from ?? null;
  const all = held.rankings ?? [held.ranking, held.popularity].filter(Boolean);
  const popular = all.find((ranking) => ranking.by === "popularity");
  if (!popular) return [];
  const same = all.filter((ranking) => relevant(ranking) === relevant(popular));
  const names = { preference: "lists_preference", rating: "lists_rating", popularity: "lists_popular" };
  const own = model.preference || model.kind !== "ratings" ? "preference" : "rating";
  const rows = same.map((ranking) => ({ name: t(names[ranking.by]), value: ranking.ndcg, own: ranking.by === own }));
  const k = popular.k;
  return [
    h("h2", {}, t("lists_title")),
    h("p.small", {}, t("lists_what", { k, n: popular.n_users })),
    barChart(rows.sort((a, b) => b.value - a.value), { digits: 3, better: t("more_is_better") }),
  ];
};

const learning = () => {
  const { epochs } = model.history;
  if (epochs.length < 2) return [];
  const line = (name, key, kind) => ({ name: t(name), values: epochs.map((epoch) => epoch[key]).filter((value) => value !== null), kind });
  const lines = [line("learning_train", "train_rmse", "own"), line("learning_validation", "validation_rmse", "second")];
  return [
    h("h2", {}, t("learning_title")),
    lineChart(
      t("learning_title"),
      lines.filter(({ values }) => values.length > 1),
      { x: t("learning_x"), y: model.kind === "ratings" ? "RMSE" : t("learning_y") },
    ),
  ];
};

export const mount = (place) => {
  const body = h("section.single.model");
  place.append(body);
  const show = () => {
    const held = model.held_out;
    body.replaceChildren(
      h("h1", {}, t("model")),
      h("p", {}, t(isForAll() ? "for_all" : "model_what")),
      what(),
      ...(held?.rmse ? errors(held) : []),
      ...(held ? lists(held) : [h("p.small", {}, t("not_measured"))]),
      ...learning(),
    );
  };
  show();
  news.addEventListener("model", show);
  return () => news.removeEventListener("model", show);
};
