// Who uses the page, what they have said, and what the model is about.

import { call, get, id, post } from "./api.js";
import { toast, untoast } from "./dom.js";
import { rated, t } from "./words.js";

const KEPT = "dotbias-user";
const stored = localStorage.getItem(KEPT);

// user: an id, or null until something is said. said: by the item's id as text.
export const me = { user: stored === null ? null : JSON.parse(stored), said: new Map() };
// kind, scale, whether there are titles, genres...
export const model = {};
// "shown": something was said, or taken back. "said": the service knows it. "model": another generation answers.
export const news = new EventTarget();
const tell = (what) => news.dispatchEvent(new Event(what));

const key = (item) => String(item);
export const saidOf = (item) => me.said.get(key(item));
export const allSaid = (state) => [...me.said.values()].filter((one) => one.state === state).reverse();
export const ownMean = () => {
  const ratings = allSaid("rating").map(({ rating }) => rating);
  return ratings.reduce((sum, rating) => sum + rating, 0) / ratings.length;
};
export const title = (item) => item.title ?? String(item.item);

// Whether there are lists by predicted ratings beside those by preference.
export const hasBoth = () => model.preference !== null;
// Whether lists are the same for everybody; by: whose scores order them.
export const isForAll = (by) => Boolean((hasBoth() && by === "preference" ? model.preference : model).solver?.startsWith("MostRated("));

// The scale of ratings: its ends, its step, and whether it is shown as stars.
const scaleOf = ({ levels, model: { kind, scale } }) => {
  if (kind !== "ratings") return null;
  const [low, high] = scale;
  const gaps = levels.slice(1).map((level, at) => level - levels[at]);
  const step = levels.length > 1 ? Math.min(...gaps) : (high - low) / 100;
  const whole = [0.5, 1].includes(step) && Number.isInteger(high);
  return { low, high, step, stars: whole && low >= 0 && high <= 10 };
};

export const learnModel = async () => {
  const about = await get("model");
  Object.assign(model, about.model, { about, scale: scaleOf(about), generation: about.generation });
  model.genres = (await get("genres")).genres;
};

// Answers say which generation they are of: with a new one, what the page knows of the model is old.
export const noticed = (answer) => {
  if (answer.generation === model.generation) return;
  model.generation = answer.generation;
  learnModel().then(() => tell("model"));
};

const remember = (rows) => (me.said = new Map(rows.map((one) => [key(one.item), one])));
export const learnSaid = async () => {
  if (me.user === null) return;
  const rows = (await get(`users/${id(me.user)}/ratings`)).ratings;
  remember(rows.sort((a, b) => (a.at ?? "").localeCompare(b.at ?? "")));
};

const become = async () => {
  if (me.user !== null) return;
  me.user = (await post("users")).user;
  localStorage.setItem(KEPT, JSON.stringify(me.user));
};
const forget = () => {
  localStorage.removeItem(KEPT);
  Object.assign(me, { user: null, said: new Map() });
  done.length = 0;
};

const put = (item, said) => {
  me.said.delete(key(item.item));
  if (said) me.said.set(key(item.item), { item: item.item, title: item.title, genres: item.genres, ...said });
};
const write = async (item, said) => {
  await become();
  const path = `users/${id(me.user)}/ratings/${id(item.item)}`;
  if (said) await call("PUT", path, { state: said.state, rating: said.rating });
  else await call("DELETE", path);
};

const done = []; // what can be undone, the last at the end
export const canUndo = () => done.length > 0;
let writing = Promise.resolve(); // one after the other, in the order of the clicks
let unsaved = 0;
export const isSaving = () => unsaved > 0;
export const saved = () => writing;
const counting = (by) => {
  unsaved += by;
  document.documentElement.toggleAttribute("data-saving", isSaving()); // for whoever drives the page
};

const inWords = (item, said) => {
  if (!said) return t("said_nothing", { title: title(item) });
  if (said.state !== "rating") return t(said.state === "wish" ? "said_wish" : "said_no", { title: title(item) });
  if (!model.scale) return t("said_have", { title: title(item) });
  return t("said_rating", { title: title(item), rating: rated(said.rating, model.scale) });
};

// Say something of an item, or take back (null) what was said. It is shown at once, and gone again where it
// could not be kept.
const say = (item, said, { undoing = false } = {}) => {
  const before = saidOf(item.item) ?? null;
  put(item, said);
  untoast(); // whose button would undo what was before
  counting(1);
  tell("shown");
  writing = writing.then(async () => {
    try {
      await write(item, said);
      counting(-1);
    } catch (error) {
      counting(-1);
      put(item, before);
      tell("shown");
      const again = () => say(item, said, { undoing });
      toast(t(error.passes ? "not_saved" : "refused", { why: error.message }), t("again"), again, { stays: true });
      return;
    }
    if (!undoing) done.push({ item, before });
    if (!undoing) toast(inWords(item, said), t("undo"), undo);
    tell("said");
  });
  return writing;
};
export const undo = async () => {
  await writing; // what is on its way is the last thing that was said
  const last = done.pop();
  if (last) say(last.item, last.before, { undoing: true });
};

export const rate = (item, rating) => say(item, rating === null ? null : { state: "rating", rating });
// One more click takes it back.
export const toggle = (item, state) => {
  const is = saidOf(item.item)?.state === state;
  const rating = state === "rating" && model.kind === "counts" ? 1 : null;
  say(item, is ? null : { state, rating });
};

const AT_ONCE = 2000;
export const sayMany = async (rows) => {
  await become();
  for (let from = 0; from < rows.length; from += AT_ONCE) {
    const ratings = rows.slice(from, from + AT_ONCE);
    remember((await post(`users/${id(me.user)}/ratings`, { ratings })).ratings);
  }
  tell("shown");
  tell("said");
};
export const exported = () => get(`users/${id(me.user)}/export`);
export const erase = async () => {
  await call("DELETE", `users/${id(me.user)}`);
  forget();
  tell("shown");
  tell("said");
};
