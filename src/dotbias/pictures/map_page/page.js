"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const n = data.labels.length;
  const everyPoint = Array.from(data.labels.keys());
  const root = document.documentElement;
  const find = (id) => document.getElementById(id);
  const canvas = find("points");
  const pen = canvas.getContext("2d");

  const IN_TIP = 5; // neighbours in the tooltip
  const MATCHES = 10;
  const MOST_NAMES = 30;
  const LETTERS = 32; // of a name on the map
  const REACH = 10; // pixels from a point at which the pointer still means it
  const SQUARE = n > 10_000; // small points of a large map: a square takes half the time of a disc
  const FONT = "11px system-ui, sans-serif";

  // What the reader has chosen; -1 stands for none.
  const state = { colouring: 0, sized: true, theme: "light", selected: -1, group: -1, hovered: -1 };
  // What is in sight: the place in the middle, pixels per unit of the coordinates, and pixels of the canvas.
  const view = { x: 0, y: 0, scale: 1, width: 1, height: 1 };

  // -- small helpers ---------------------------------------------------------------------------

  // Every text goes in as text: a title full of markup stays a title.
  const element = (tag, text = "", className = "") => {
    const made = document.createElement(tag);
    made.textContent = text;
    made.className = className;
    return made;
  };
  const title = (point) => data.labels[point] || "(no title)";
  // A year at the end stays whole.
  const shortened = (text) => {
    if (text.length <= LETTERS) return text;
    const [year] = text.match(/ \(\d{4}\)$/) ?? [""];
    return `${text.slice(0, LETTERS - 1 - year.length).trimEnd()}…${year}`;
  };
  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const searched = data.labels.map(plain);
  const colours = () => data.themes[state.theme];
  const neighboursOf = (point) => data.neighbours[point].filter((other) => other >= 0);
  const similarity = (value) => value.toFixed(2);

  const between = (from, to, share) => {
    const channel = (colour, at) => parseInt(colour.slice(at, at + 2), 16);
    const mixed = [1, 3, 5].map((at) => Math.round(channel(from, at) * (1 - share) + channel(to, at) * share));
    return "#" + mixed.map((value) => value.toString(16).padStart(2, "0")).join("");
  };

  // -- colours and sizes -----------------------------------------------------------------------

  const scaleColour = (share) => {
    const [low, middle, high] = colours().scale;
    return share < 0.5 ? between(low, middle, 2 * share) : between(middle, high, 2 * share - 1);
  };
  const groupColour = (group) => colours().groups[group] ?? colours().grey;

  const pointColours = () => {
    const { ofPoint, share } = data.colourings[state.colouring];
    if (ofPoint) return ofPoint.map(groupColour);
    const steps = Array.from({ length: 64 }, (_, step) => scaleColour(step / 63));
    return share.map((value) => (value === null ? colours().grey : steps[Math.round(63 * value)]));
  };

  // How large the canvas is beside that of a usual window: a small one has room for less.
  const room = () => Math.min(1, (view.width * view.height) / (950 * 700));
  // Smaller where there are more: points of a large map would cover each other.
  const diameters = () => {
    const smallest = Math.min(8, 60 / Math.sqrt(n) + 2.2) * Math.max(0.4, Math.sqrt(room()));
    return data.sizes.map((share) => smallest * (state.sized ? Math.sqrt(1 + 9 * share) : 1.4));
  };

  // The points that stand out: a selected one with its neighbours, or a group; null for all.
  const standing = () => {
    if (state.selected >= 0) return new Set([state.selected, ...neighboursOf(state.selected)]);
    if (state.group < 0) return null;
    const { members } = data.colourings[state.colouring];
    return new Set(everyPoint.filter((point) => members[point].includes(state.group)));
  };

  // -- drawing ---------------------------------------------------------------------------------

  // The order of drawing, so that the small are not hidden, and of names.
  const bySize = [...everyPoint].sort((a, b) => data.sizes[b] - data.sizes[a] || a - b);
  let looks; // colour and diameter of each point, and which stand out: worked out when they change
  let waiting = false;

  // Everything that changes what a point looks like.
  const restyle = () => {
    looks = { colours: pointColours(), diameters: diameters(), standsOut: standing() };
    const faded = between(colours().ground, colours().grey, 0.25);
    looks.shown = looks.colours.map((own, point) => (!looks.standsOut || looks.standsOut.has(point) ? own : faded));
    redraw();
  };
  const redraw = () => {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  };

  const measure = () => {
    view.width = canvas.clientWidth;
    view.height = canvas.clientHeight;
    restyle();
  };
  const screenX = (point) => view.width / 2 + (data.x[point] - view.x) * view.scale;
  const screenY = (point) => view.height / 2 - (data.y[point] - view.y) * view.scale;
  const onScreen = (point) => [screenX(point), screenY(point)];

  const draw = () => {
    waiting = false;
    const ratio = devicePixelRatio;
    canvas.width = Math.round(view.width * ratio); // which also clears it
    canvas.height = Math.round(view.height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.globalAlpha = 0.8;
    const { standsOut } = looks;
    if (standsOut) drawPoints(bySize.filter((point) => !standsOut.has(point)));
    drawPoints(standsOut ? bySize.filter((point) => standsOut.has(point)) : bySize);
    pen.globalAlpha = 1;
    if (state.selected >= 0) drawSelection();
    drawNames();
  };

  const drawPoints = (points) => {
    const edge = 20;
    for (const point of points) {
      const [x, y, diameter] = [screenX(point), screenY(point), looks.diameters[point]];
      if (x < -edge || y < -edge || x > view.width + edge || y > view.height + edge) continue;
      pen.fillStyle = looks.shown[point];
      if (SQUARE && diameter < 4) {
        pen.fillRect(x - diameter / 2, y - diameter / 2, diameter, diameter);
      } else {
        pen.beginPath();
        pen.arc(x, y, diameter / 2, 0, 2 * Math.PI);
        pen.fill();
      }
    }
  };

  const drawSelection = () => {
    const from = onScreen(state.selected);
    pen.strokeStyle = colours().ink;
    pen.lineWidth = 1;
    for (const other of neighboursOf(state.selected)) {
      pen.beginPath();
      pen.moveTo(...from);
      pen.lineTo(...onScreen(other));
      pen.stroke();
    }
    for (const point of [...neighboursOf(state.selected), state.selected]) {
      const chosen = point === state.selected;
      pen.beginPath();
      pen.arc(...onScreen(point), Math.max(looks.diameters[point], 8) / 2 + (chosen ? 2 : 0), 0, 2 * Math.PI);
      pen.fillStyle = looks.colours[point];
      pen.fill();
      pen.lineWidth = chosen ? 3 : 1.5;
      pen.stroke();
    }
  };

  // The largest points in sight carry their names where there is room, a selection before all others.
  const drawNames = () => {
    const { width, height } = view;
    const { standsOut } = looks;
    const first = state.selected < 0 ? [] : [state.selected, ...neighboursOf(state.selected)];
    const taken = [];
    pen.font = FONT;
    pen.textBaseline = "middle";
    pen.lineWidth = 3;
    pen.lineJoin = "round";
    pen.strokeStyle = colours().ground;
    pen.fillStyle = colours().ink;
    const most = Math.ceil(MOST_NAMES * room());
    for (const point of [...first, ...bySize.filter((point) => !first.includes(point))]) {
      if (taken.length === most) return;
      if (standsOut && !standsOut.has(point)) continue;
      const [x, y] = onScreen(point);
      if (x < 0 || x > width || y < 8 || y > height - 8) continue;
      const text = shortened(title(point));
      const long = pen.measureText(text).width;
      const away = Math.max(looks.diameters[point], first.includes(point) ? 12 : 0) / 2 + 3;
      for (const left of [x + away, x - away - long]) {
        if (left < 2 || left + long > width - 2) continue;
        if (taken.some((t) => t.left < left + long + 4 && left < t.right + 4 && Math.abs(t.y - y) < 13)) continue;
        taken.push({ left, right: left + long, y });
        pen.strokeText(text, left, y);
        pen.fillText(text, left, y);
        break;
      }
    }
  };

  // -- moving about ----------------------------------------------------------------------------

  // The smallest view of some points, with a margin.
  const show = (points, least = 0) => {
    const ends = (axis) => points.reduce(([a, b], p) => [Math.min(a, axis[p]), Math.max(b, axis[p])], [Infinity, -Infinity]);
    const [[left, right], [bottom, top]] = [ends(data.x), ends(data.y)];
    view.x = (left + right) / 2;
    view.y = (bottom + top) / 2;
    const margin = 40;
    const fit = (pixels, span) => Math.max(pixels - 2 * margin, 50) / Math.max(span, least, 1e-3);
    view.scale = Math.min(fit(view.width, right - left), fit(view.height, top - bottom));
    redraw();
  };
  const whole = () => show(everyPoint);

  const zoom = (factor, x, y) => {
    const [dx, dy] = [(x - view.width / 2) / view.scale, (view.height / 2 - y) / view.scale];
    const scale = Math.min(Math.max(view.scale * factor, 50), 1e6);
    view.x += dx * (1 - view.scale / scale); // what is under the pointer stays there
    view.y += dy * (1 - view.scale / scale);
    view.scale = scale;
    redraw();
  };
  const pan = (dx, dy) => {
    view.x -= dx / view.scale;
    view.y += dy / view.scale;
    redraw();
  };

  const nearestTo = (x, y) => {
    let best = -1;
    let least = REACH;
    for (const point of everyPoint) {
      const [dx, dy] = [screenX(point) - x, screenY(point) - y];
      const distance = Math.sqrt(dx * dx + dy * dy) - looks.diameters[point] / 2;
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
    if (!before) return hover(x, y, event);
    const span = pointers.size === 2 ? apart() : 0;
    pointers.set(event.pointerId, { x, y });
    moved += Math.hypot(x - before.x, y - before.y);
    pan((x - before.x) / pointers.size, (y - before.y) / pointers.size);
    if (span) {
      const [a, b] = [...pointers.values()];
      zoom(apart() / span, (a.x + b.x) / 2, (a.y + b.y) / 2);
      moved = Infinity;
    }
    if (moved > 4) hideTip();
  });
  const release = (event) => {
    const { offsetX: x, offsetY: y } = event;
    if (!pointers.delete(event.pointerId) || pointers.size || event.type !== "pointerup") return;
    if (moved <= 4) select(nearestTo(x, y));
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => hideTip());
  canvas.addEventListener("dblclick", whole);
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      hideTip();
      zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    const step = 60;
    const [middle, centre] = [view.width / 2, view.height / 2];
    const keys = {
      ArrowLeft: () => pan(step, 0),
      ArrowRight: () => pan(-step, 0),
      ArrowUp: () => pan(0, step),
      ArrowDown: () => pan(0, -step),
      "+": () => zoom(1.3, middle, centre),
      "-": () => zoom(1 / 1.3, middle, centre),
      0: whole,
    };
    if (!keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
  });

  const hover = (x, y, event) => {
    state.hovered = nearestTo(x, y);
    canvas.style.cursor = state.hovered < 0 ? "grab" : "pointer";
    if (state.hovered < 0) hideTip();
    else showTip(state.hovered, event.clientX, event.clientY);
  };

  // -- what is said of a point -----------------------------------------------------------------

  const factsOf = (point) => {
    const list = element("dl");
    for (const [name, values] of Object.entries(data.facts)) {
      if (values[point] === null || values[point] === "") continue;
      list.append(element("dt", name), element("dd", String(values[point])));
    }
    return list;
  };

  const showTip = (point, x, y) => {
    const tip = find("tip");
    const near = element("ol");
    neighboursOf(point)
      .slice(0, IN_TIP)
      .forEach((other, at) => {
        const row = element("li");
        row.append(element("span", title(other)), element("span", similarity(data.similarities[point][at])));
        near.append(row);
      });
    tip.replaceChildren(element("h2", title(point)), factsOf(point));
    if (near.children.length) tip.append(element("div", "nearest in the embedding:", "small"), near);
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, x + 14 + width > innerWidth ? x - 14 - width : x + 14)}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - height - 4))}px`;
  };
  const hideTip = () => (find("tip").hidden = true);

  const showSelected = () => {
    const panel = find("selected");
    panel.hidden = state.selected < 0;
    if (panel.hidden) return;
    const list = element("ol");
    neighboursOf(state.selected).forEach((other, at) => {
      const row = element("li");
      const go = element("button", title(other));
      go.type = "button";
      go.append(element("span", similarity(data.similarities[state.selected][at]), "count"));
      go.addEventListener("click", () => select(other, { sought: true }));
      row.append(go);
      list.append(row);
    });
    const end = element("button", "Close");
    end.type = "button";
    end.addEventListener("click", () => select(-1));
    panel.replaceChildren(
      element("h2", title(state.selected)),
      factsOf(state.selected),
      element("div", "Nearest in the embedding, by cosine:", "small"),
      list,
      end,
    );
  };

  const select = (point, { sought = false } = {}) => {
    state.selected = point;
    state.group = -1;
    hideTip();
    showSelected();
    showLegend();
    restyle();
    if (sought) approach(point);
  };

  // Near enough to tell the nearer half of the neighbours apart; the others may be anywhere.
  const approach = (point) => {
    const away = (other) => Math.hypot(data.x[other] - data.x[point], data.y[other] - data.y[point]);
    const near = neighboursOf(point).sort((a, b) => away(a) - away(b));
    show([point, ...near.slice(0, Math.ceil(near.length / 2))], 0.05);
  };

  // -- legend ----------------------------------------------------------------------------------

  const showLegend = () => {
    const colouring = data.colourings[state.colouring];
    const legend = find("legend");
    legend.replaceChildren(element("h2", `Colour: ${colouring.name}`));
    if (!colouring.groups) {
      const bar = element("div", "", "bar");
      bar.style.background = `linear-gradient(to right, ${colours().scale.join(", ")})`;
      const ends = element("div", "", "ends");
      ends.append(...colouring.ends.map((end) => element("span", String(end))));
      legend.append(bar, ends);
      if (colouring.log) legend.append(element("div", "logarithmic scale", "small"));
      return;
    }
    const counts = colouring.groups.map(() => 0);
    colouring.members.forEach((own) => own.forEach((group) => (counts[group] += 1)));
    colouring.groups.forEach((name, group) => {
      const entry = element("button");
      entry.type = "button";
      entry.setAttribute("aria-pressed", String(state.group === group));
      const swatch = element("span", "", "swatch");
      swatch.style.background = groupColour(group);
      entry.append(swatch, element("span", name), element("span", counts[group].toLocaleString("en"), "count"));
      entry.addEventListener("click", () => {
        state.group = state.group === group ? -1 : group;
        state.selected = -1;
        showSelected();
        showLegend();
        legend.querySelectorAll("button")[group].focus();
        restyle();
      });
      legend.append(entry);
    });
    legend.append(element("div", "Choose one to see where it is.", "small"));
  };

  // -- search ----------------------------------------------------------------------------------

  const search = find("search");
  const matches = find("matches");
  let found = [];
  let marked = -1;

  const closeSearch = () => {
    matches.hidden = true;
    marked = -1;
    search.setAttribute("aria-expanded", "false");
    search.removeAttribute("aria-activedescendant");
  };
  const choose = (at) => {
    search.value = title(found[at]);
    select(found[at], { sought: true });
    closeSearch();
  };
  const mark = (at) => {
    marked = at;
    [...matches.children].forEach((row, place) => row.setAttribute("aria-selected", String(place === at)));
    search.setAttribute("aria-activedescendant", `match-${at}`);
  };
  const suggest = () => {
    const wanted = plain(search.value.trim());
    if (!wanted) return closeSearch();
    // Titles that begin so come first, and the better known before the others.
    const all = bySize.filter((point) => searched[point].includes(wanted));
    const begin = all.filter((point) => searched[point].startsWith(wanted));
    found = [...begin, ...all.filter((point) => !searched[point].startsWith(wanted))].slice(0, MATCHES);
    const rows = found.map((point, at) => {
      const row = element("li", title(point));
      row.id = `match-${at}`;
      row.setAttribute("role", "option");
      // Before the search box loses the focus, which closes the list.
      row.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        choose(at);
      });
      return row;
    });
    matches.replaceChildren(...(rows.length ? rows : [element("li", "no title matches", "none")]));
    matches.hidden = false;
    search.setAttribute("aria-expanded", "true");
    marked = -1;
  };
  search.addEventListener("input", suggest);
  search.addEventListener("focus", suggest);
  search.addEventListener("blur", closeSearch);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      if (!matches.hidden) event.stopPropagation(); // the first Escape closes the list alone
      closeSearch();
    }
    if (matches.hidden || !found.length) return;
    if (event.key === "ArrowDown") mark((marked + 1) % found.length);
    else if (event.key === "ArrowUp") mark((marked - 1 + found.length) % found.length);
    else if (event.key === "Enter") choose(Math.max(marked, 0));
    else return;
    event.preventDefault();
  });

  // -- controls --------------------------------------------------------------------------------

  const setTheme = (theme) => {
    state.theme = theme;
    root.dataset.theme = theme;
    find("theme").textContent = theme === "dark" ? "Light" : "Dark";
  };
  data.colourings.forEach((colouring, at) => {
    const option = element("option", colouring.name);
    option.value = String(at);
    find("colour").append(option);
  });
  find("colour").addEventListener("change", (event) => {
    state.colouring = Number(event.target.value);
    state.group = -1;
    showLegend();
    restyle();
  });
  find("sized").addEventListener("change", (event) => {
    state.sized = event.target.checked;
    restyle();
  });
  find("whole").addEventListener("click", whole);
  find("theme").addEventListener("click", () => {
    setTheme(state.theme === "dark" ? "light" : "dark");
    showLegend();
    restyle();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") select(-1);
  });

  new ResizeObserver(measure).observe(canvas);

  setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  showLegend();
  measure();
  whole();
  canvas.place = onScreen; // where a point is drawn, for whoever drives the page from outside
  requestAnimationFrame(() => requestAnimationFrame(() => (root.dataset.drawn = String(Math.round(performance.now())))));
})();
