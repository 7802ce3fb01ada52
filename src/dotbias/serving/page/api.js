// Calls of the service.

import { ask, h } from "./dom.js";
import { t } from "./words.js";

const KEY = "dotbias-key";

// What the service said against a call: its status and reason.
class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
  // Whether it may work in a while.
  get passes() {
    return this.status === 503 || this.status === 429 || this.status === 0;
  }
}

let asking = null;
// Calls that are refused at the same time ask once.
const askForKey = () => {
  const field = h(
    "label.field",
    {},
    t("key"),
    h("input", { name: "key", type: "password", required: true, autocomplete: "off" }),
  );
  asking ??= ask(t("key_title"), t("key_body"), { yes: t("key_use"), no: t("cancel"), field }).then((form) => {
    asking = null;
    // Of a header nothing else is taken; a key that had more in it is refused, and asked for again.
    if (form) sessionStorage.setItem(KEY, form.get("key").replace(/[^\x21-\x7e]/g, ""));
    return form !== null;
  });
  return asking;
};

const send = async (method, path, body, key) => {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(`v1/${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Refused(0, t("away"));
  }
};

export const call = async (method, path, body) => {
  let key, answer;
  do {
    key = sessionStorage.getItem(KEY);
    answer = await send(method, path, body, key);
    // Another call may have asked since.
  } while (answer.status === 401 && (key !== sessionStorage.getItem(KEY) || (await askForKey())));
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const said = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, said.detail ?? answer.statusText);
};
export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);
export const id = encodeURIComponent;
