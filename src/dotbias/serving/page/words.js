// What the page says, in the language of the browser or the one that was chosen.

const LANGUAGES = ["en", "zh"];
const KEPT = "dotbias-language";
let words = {};
export let language = "en";

const wished = () => {
  const kept = localStorage.getItem(KEPT);
  if (LANGUAGES.includes(kept)) return kept;
  const known = navigator.languages.map((name) => name.slice(0, 2)).find((name) => LANGUAGES.includes(name));
  return known ?? "en";
};

export const speak = async (wish) => {
  if (wish) localStorage.setItem(KEPT, wish);
  language = wish ?? wished();
  words = await (await fetch(`page/${language}.json`)).json();
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
};
// Making one takes as long as using it twenty times, and a list uses hundreds.
const made = new Map();
const formatter = (kind, settings) => {
  const key = `${kind} ${language} ${JSON.stringify(settings)}`;
  if (!made.has(key)) made.set(key, new Intl[kind](language, settings));
  return made.get(key);
};
export const other = () => LANGUAGES.find((name) => name !== language);

// A text by its name; {name} in it is filled in, and of several forms the one that goes with n is taken.
export const t = (name, values = {}) => {
  let said = words[name];
  if (typeof said === "object") said = said[formatter("PluralRules").select(values.n)] ?? said.other;
  return said.replace(/\{(\w+)\}/g, (_, key) => (typeof values[key] === "number" ? number(values[key]) : values[key]));
};
export const number = (value, digits) =>
  formatter("NumberFormat", { minimumFractionDigits: digits, maximumFractionDigits: digits ?? 2 }).format(value);
export const percent = (value) => formatter("NumberFormat", { style: "percent" }).format(value);
export const listed = (texts) => formatter("ListFormat", { type: "conjunction" }).format(texts);

// What stands in somebody's file or title may be of any length.
export const cut = (text, letters = 80) => (text.length > letters ? `${text.slice(0, letters - 1)}…` : text);

// A rating in words: stars where there are stars.
export const rated = (value, scale) => (scale.stars ? t("n_stars", { n: value }) : number(value));
