// Ratings of a file: reading what other programs write, and writing what this page reads.

import { post } from "./api.js";
import { cut, t } from "./words.js";

const plain = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
const COLUMNS = {
  item: ["item", "itemid", "movieid", "isbn", "asin", "productid"],
  id: ["id", "const", "tmdbid"], // of this service or of another one: a title beside it is surer
  title: ["title", "name", "movie", "movietitle", "book", "booktitle", "标题", "片名", "名称"],
  year: ["year", "年份"],
  rating: ["rating", "yourrating", "myrating", "stars", "score", "评分", "count", "plays"],
  state: ["state"],
};
const STATES = ["rating", "wish", "not-interested"];
const MOST_NAMES = 500;

// UTF-8, else what Chinese and what Western programs write; null of an archive, a spreadsheet and the like.
export const decoded = (bytes, language) => {
  if (new Uint8Array(bytes).includes(0)) return null;
  for (const encoding of ["utf-8", language === "zh" ? "gb18030" : "windows-1252"]) {
    try {
      return new TextDecoder(encoding, { fatal: true }).decode(bytes);
    } catch {
      // the next one
    }
  }
  return new TextDecoder().decode(bytes);
};

// Rows of fields with the number of the line on which each begins.
const parsed = (text) => {
  const head = text.slice(0, text.search(/[\r\n]|$/));
  const count = (sign) => head.split(sign).length;
  const separator = [",", ";", "\t"].sort((a, b) => count(b) - count(a))[0];
  const rows = [];
  let [fields, field, quoted, line, begins] = [[], "", false, 1, 1];
  const end = () => {
    fields.push(field);
    if (fields.some((one) => one.trim())) rows.push({ line: begins, fields: fields.map((one) => one.trim()) });
    [fields, field, begins] = [[], "", line + 1];
  };
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at];
    if (quoted) {
      if (sign === '"' && text[at + 1] === '"') field += text[(at += 1)];
      else if (sign === '"') quoted = false;
      else field += sign;
    } else if (sign === '"' && !field.trim()) [quoted, field] = [true, ""];
    else if (sign === separator) [fields, field] = [[...fields, field], ""];
    else if (sign === "\n") end();
    else if (sign !== "\r") field += sign;
    if (sign === "\n") line += 1;
  }
  if (field || fields.length) end();
  return rows;
};

// Which column holds what; without a header the item comes first and the rating next.
const columnsOf = ({ fields }) => {
  const names = fields.map(plain);
  const found = {};
  for (const [what, known] of Object.entries(COLUMNS)) {
    const at = names.findIndex((name) => known.includes(name));
    if (at >= 0) found[what] = at;
  }
  const isHeader = ["item", "id", "title"].some((what) => what in found);
  return isHeader ? { columns: found, isHeader } : { columns: { item: 0, title: 0, rating: 1 }, isHeader };
};

const numberIn = (text) => {
  const bare = text.replace(",", ".");
  return /^[-+]?(\d+\.?\d*|\.\d+)$/.test(bare) ? Number(bare) : null;
};

// What a row says, or why it says nothing: {state, rating} or {why}.
const saidIn = (cell, { kind, scale }) => {
  const state = cell("state") ?? "rating";
  if (!STATES.includes(state)) return { why: t("bad_state", { value: cut(state) }) };
  if (state !== "rating") return { state, rating: null };
  if (kind === "events") return { state, rating: null };
  const text = cell("rating");
  const rating = text === null && kind === "counts" ? 1 : numberIn(text ?? "");
  if (rating === null) return { why: text ? t("bad_number", { value: cut(text) }) : t("bad_missing") };
  if (scale && (rating < scale.low || rating > scale.high))
    return { why: t("bad_scale", { value: rating, low: scale.low, high: scale.high }) };
  if (!scale && rating <= 0) return { why: t("bad_number", { value: text }) };
  return { state, rating };
};

const matched = async (names) => {
  const found = new Map();
  for (let from = 0; from < names.length; from += MOST_NAMES) {
    const some = names.slice(from, from + MOST_NAMES);
    const { items } = await post("items/match", { names: some });
    some.forEach((name, at) => found.set(name, items[at]));
  }
  return found;
};

// What a file says: {rows, bad}, where rows are {item, state, rating} and bad are {line, text, why}.
export const understood = async (text, model) => {
  const lines = parsed(text.replace(/^\uFEFF/, ""));
  if (!lines.length) return { rows: [], bad: [] };
  const { columns, isHeader } = columnsOf(lines[0]);
  const read = lines.slice(isHeader ? 1 : 0).map(({ line, fields }) => {
    const cell = (what) => fields[columns[what]] || null;
    const titled = cell("title");
    const year = cell("year");
    const names = [cell("item"), titled && year && `${titled} (${year})`, titled, cell("id")].filter(Boolean);
    const said = names.length ? saidIn(cell, model) : { why: t("bad_no_item") };
    return { line, text: cut(fields.join(", ")), names: names.map((name) => name.slice(0, 500)), ...said };
  });
  const names = [...new Set(read.filter((one) => !one.why).flatMap((one) => one.names))];
  const known = await matched(names);
  const rows = new Map();
  const bad = [];
  for (const one of read) {
    const item = one.why ? null : one.names.map((name) => known.get(name)).find(Boolean);
    if (one.why) bad.push(one);
    else if (!item) bad.push({ ...one, why: t("bad_unknown", { value: cut(one.names[0]) }) });
    else if (rows.has(item.item)) bad.push({ ...one, why: t("bad_twice") });
    else rows.set(item.item, { item: item.item, state: one.state, rating: one.rating });
  }
  return { rows: [...rows.values()], bad };
};

const quoted = (value) => {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
export const written = (rows) =>
  [["item", "title", "state", "rating", "at"], ...rows.map((one) => [one.item, one.title, one.state, one.rating, one.at])]
    .map((fields) => `${fields.map(quoted).join(",")}\r\n`)
    .join("");

export const download = (name, type, text) => {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
};
