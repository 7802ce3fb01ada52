// The items on a plane, with oneself among them and what is recommended lit.

import { get, post } from "../api.js";
import { h } from "../dom.js";
import { allSaid, me, model, news, saidOf, title } from "../me.js";
import { actions, failed, link, refresh } from "../rows.js";
import { search } from "../search.js";
import { cut, t } from "../words.js";

const LIT = 20; // recommended items that are lit
const REACH = 12; // pixels from a point at which the pointer still means it
const NAMES = 28;
const LETTERS = 30;
const GAP = 3; // pixels beside a name
const LOOK = 1000; // milliseconds until the next look whether the map is there
let kept = null; // the items of a generation: they do not move

export const mount = (place) => {
  const canvas = h("canvas", { tabIndex: 0, role: "img", "aria-label": t("map_keys") });
  const trouble = h("div.over");
  const card = h("div.card", { hidden: true, "aria-live": "polite" });
  // What is lit takes its colours from the legend, so that the style sheet says them once.
  const legend = ["point", "rated", "lit", "you"].map((kind) => {
    const dot = h(`span.dot.${kind}`);
    return { kind, dot, entry: h("li", {}, dot, t(`legend_${kind}`)) };
  });
  const note = h("p.small");
  const whole = h("button.quiet", { type: "button" }, t("map_whole"));
  const seeMe = h("button.quiet", { type: "button", hidden: true }, t("map_me"));
  place.append(
    h(
      "section.map",
      {},
      h("div.head", {}, h("h1", {}, t("map")), search(t("search"), (item) => seek(item)), whole, seeMe),
      h("ul.legend", {}, ...legend.map(({ entry }) => entry)),
      h("div.stage", {}, canvas, card, trouble),
      note,
    ),
  );

  const pen = canvas.getContext("2d");
  const view = { x: 0, y: 0, scale: 1, width: 1, height: 1 };
  let points = []; // by size, so that the small are not hidden
  let you = null;
  let lit = new Map(); // of what is recommended the rank, by id
  let selected = null;
  let waiting = false;
  let gone = false;

  // -- drawing ---------------------------------------------------------------------------------

  const colours = () => {
    const found = Object.fromEntries(legend.map(({ kind, dot }) => [kind, getComputedStyle(dot).backgroundColor]));
    const style = getComputedStyle(canvas);
    return { ...found, ink: style.color, ground: style.backgroundColor };
  };
  const redraw = () => {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  };
  const screen = ({ x, y }) => [view.width / 2 + (x - view.x) * view.scale, view.height / 2 - (y - view.y) * view.scale];
  const colour = (point, ink) => {
    if (saidOf(point.item)?.state === "rating") return ink.rated;
    return lit.has(String(point.item)) ? ink.lit : ink.point;
  };
  const room = () => Math.min(1, (view.width * view.height) / (950 * 600));

  const disc = (x, y, radius, fill, edge, wide = 1.5) => {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fillStyle = fill;
    pen.fill();
    if (!edge) return;
    pen.strokeStyle = edge;
    pen.lineWidth = wide;
    pen.stroke();
  };
  const draw = () => {
    waiting = false;
    if (gone) return;
    const ratio = devicePixelRatio;
    canvas.width = Math.round(view.width * ratio); // which also clears it
    canvas.height = Math.round(view.height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const ink = colours();
    const small = Math.max(0.6, Math.sqrt(room()));
    pen.globalAlpha = 0.55;
    for (const point of points) {
      const [x, y] = screen(point);
      disc(x, y, point.size * small, ink.point);
    }
    pen.globalAlpha = 1;
    const taken = []; // where no name may stand
    for (const point of points) {
      if (colour(point, ink) === ink.point) continue;
      const [x, y] = screen(point);
      const radius = Math.max(5, point.size * small);
      disc(x, y, radius, colour(point, ink), ink.ground);
      taken.push(around(x, y, radius));
    }
    if (selected) disc(...screen(selected), Math.max(7, selected.size), colour(selected, ink), ink.ink, 2.5);
    if (you) {
      const [x, y] = screen(you);
      disc(x, y, 9, ink.you, ink.ground, 3);
      disc(x, y, 13, "transparent", ink.you, 2);
      taken.push(around(x, y, 14));
      name(t("legend_you"), x, y, 18, ink, taken, "bold ");
    }
    // The selected one carries its name, then what is lit, then the best known, as far as there is room.
    const order = new Set([selected, ...points.filter((point) => lit.has(String(point.item))), ...points]);
    const most = Math.ceil(NAMES * room());
    let named = 0;
    for (const point of order) {
      if (named >= most) break;
      if (point) named += name(title(point), ...screen(point), Math.max(5, point.size) + 4, ink, taken);
    }
    canvas.taken = taken; // for whoever drives the page
  };
  const around = (x, y, radius) => ({ left: x - radius, right: x + radius, top: y - radius, bottom: y + radius });
  const areApart = (a, b) => a.right + GAP <= b.left || b.right + GAP <= a.left || a.bottom <= b.top || b.bottom <= a.top;
  // Write a name beside a point, and whether there was room.
  const name = (text, x, y, away, ink, taken, weight = "") => {
    if (x < 0 || x > view.width || y < 10 || y > view.height - 10) return false;
    pen.font = `${weight}12px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    const short = cut(text, LETTERS);
    const wide = pen.measureText(short).width;
    for (const left of [x + away, x - away - wide]) {
      if (left < 2 || left + wide > view.width - 2) continue;
      const own = { text: short, left, right: left + wide, top: y - 8, bottom: y + 8 };
      if (!taken.every((box) => areApart(box, own))) continue;
      taken.push(own);
      pen.lineWidth = 3.5;
      pen.lineJoin = "round";
      pen.strokeStyle = ink.ground;
      pen.strokeText(short, left, y);
      pen.fillStyle = ink.ink;
      pen.fillText(short, left, y);
      return true;
    }
    return false;
  };

  // -- moving about ----------------------------------------------------------------------------

  const show = (some, least = 0) => {
    const ends = (axis) => [Math.min(...some.map((one) => one[axis])), Math.max(...some.map((one) => one[axis]))];
    const [[left, right], [bottom, top]] = [ends("x"), ends("y")];
    Object.assign(view, { x: (left + right) / 2, y: (bottom + top) / 2 });
    const fit = (pixels, span) => Math.max(pixels - 80, 50) / Math.max(span, least, 1e-3);
    view.scale = Math.min(fit(view.width, right - left), fit(view.height, top - bottom));
    redraw();
  };
  const span = () => Math.max(...points.map((one) => one.x)) - Math.min(...points.map((one) => one.x));
  const near = (point) => show([point], span() / 5);
  const zoom = (factor, x, y) => {
    const [dx, dy] = [(x - view.width / 2) / view.scale, (view.height / 2 - y) / view.scale];
    view.scale *= factor;
    view.x += dx * (1 - 1 / factor);
    view.y += dy * (1 - 1 / factor);
    redraw();
  };
  const pan = (dx, dy) => {
    view.x -= dx / view.scale;
    view.y += dy / view.scale;
    redraw();
  };
  const nearest = (x, y) => {
    let [best, least] = [null, REACH];
    for (const point of points) {
      const [px, py] = screen(point);
      const distance = Math.hypot(px - x, py - y);
      if (distance < least) [best, least] = [point, distance];
    }
    return best;
  };
  const pointers = new Map(); // those that are down: one moves the map, two zoom it
  let moved = 0;
  const apart = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (pointers.size === 0) moved = 0;
    pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const { offsetX: x, offsetY: y } = event;
    const before = pointers.get(event.pointerId);
    if (!before) {
      const over = nearest(x, y);
      canvas.classList.toggle("over-point", over !== null);
      canvas.title = over ? title(over) : "";
      return;
    }
    const wide = pointers.size === 2 ? apart() : 0;
    pointers.set(event.pointerId, { x, y });
    moved += Math.hypot(x - before.x, y - before.y);
    pan((x - before.x) / pointers.size, (y - before.y) / pointers.size);
    if (!wide) return;
    const [a, b] = [...pointers.values()];
    zoom(apart() / wide, (a.x + b.x) / 2, (a.y + b.y) / 2);
    moved = Infinity;
  });
  const release = (event) => {
    if (!pointers.delete(event.pointerId) || pointers.size || event.type !== "pointerup") return;
    if (moved <= 5) select(nearest(event.offsetX, event.offsetY));
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => pan(60, 0),
      ArrowRight: () => pan(-60, 0),
      ArrowUp: () => pan(0, 60),
      ArrowDown: () => pan(0, -60),
      "+": () => zoom(1.3, view.width / 2, view.height / 2),
      "-": () => zoom(1 / 1.3, view.width / 2, view.height / 2),
      0: () => show(points),
      Escape: () => select(null),
    };
    if (!keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
  });
  whole.addEventListener("click", () => points.length && show(points));
  seeMe.addEventListener("click", () => you && near(you));

  // -- what is on it ---------------------------------------------------------------------------

  const select = (point) => {
    selected = point;
    card.hidden = !point;
    if (point) {
      const close = h("button.quiet", { type: "button", onclick: () => select(null) }, t("close"));
      const genres = (point.genres ?? []).join(" · ");
      card.replaceChildren(h("div.row", {}, link(point), close), h("div.genres", {}, genres), actions(point));
      refresh(card, point);
    }
    redraw();
  };
  const seek = (item) => {
    const point = points.find((one) => one.item === item.item);
    if (!point) {
      card.hidden = false;
      card.replaceChildren(h("p.small", {}, t("map_not_on", { title: title(item) })), link(item));
      return;
    }
    select(point);
    near(point);
  };
  const locate = async () => {
    const has = me.user !== null && allSaid("rating").length > 0;
    try {
      const found = has
        ? await Promise.all([post("map/position", { user: me.user }), post("recommend", { user: me.user, k: LIT })])
        : [{ x: null }, { items: [] }];
      you = found[0].x === null ? null : found[0];
      lit = new Map(found[1].items.map((item) => [String(item.item), item.rank]));
      seeMe.hidden = you === null;
      canvas.dataset.lit = String(lit.size);
      canvas.dataset.you = String(you !== null);
      redraw();
    } catch (error) {
      trouble.replaceChildren(failed(error, locate));
    }
  };
  const load = async () => {
    try {
      if (kept?.generation !== model.generation) {
        const { state } = await get("map/state");
        if (gone) return;
        if (state !== "ready") {
          trouble.replaceChildren(h("p.small", { role: "status" }, t(state === "making" ? "map_soon" : "map_none")));
          if (state === "making") setTimeout(load, LOOK);
          return;
        }
        kept = await get("map");
      }
    } catch (error) {
      trouble.replaceChildren(failed(error, load));
      return;
    }
    if (gone) return;
    trouble.replaceChildren();
    const most = Math.max(...kept.items.map((item) => item.n_ratings));
    points = kept.items
      .map((item) => ({ ...item, size: 1.6 + 4.5 * Math.sqrt(item.n_ratings / most) }))
      .sort((a, b) => b.n_ratings - a.n_ratings);
    note.textContent = t("map_note", { n: points.length });
    if (kept.warning) note.append(" ", t("map_poor"), kept.method === "pca" ? ` ${t("map_pca")}` : "");
    show(points);
    await locate();
    canvas.dataset.drawn = "true";
  };

  const size = new ResizeObserver(() => {
    const first = view.width === 1;
    Object.assign(view, { width: canvas.clientWidth, height: canvas.clientHeight });
    if (first && points.length) show(points);
    else redraw();
  });
  size.observe(canvas);
  const dark = new MutationObserver(redraw);
  dark.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  const shown = () => {
    if (selected) refresh(card, selected);
    redraw();
  };
  news.addEventListener("shown", shown);
  news.addEventListener("said", locate);
  news.addEventListener("model", load);
  canvas.place = (item) => screen(points.find((point) => point.item === item)); // for whoever drives the page
  load();
  return () => {
    gone = true;
    size.disconnect();
    dark.disconnect();
    news.removeEventListener("shown", shown);
    news.removeEventListener("said", locate);
    news.removeEventListener("model", load);
  };
};
