"use strict";
(() => {
  const chart = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const main = document.querySelector("main");
  const tip = document.getElementById("tip");
  const hidden = new Set(); // names that the reader has put out in the legend

  const FRAME = 50; // milliseconds
  const IN_TIP = 14; // lines in the tooltip
  const LETTER = 6.4; // pixels, more than one letter of a label takes on average
  const LABEL = 28; // letters in a line of a label
  const ROW = 14; // pixels from one line of a label to the next

  // -- small helpers ---------------------------------------------------------------------------

  // Every text goes in as text: a name full of markup stays a name.
  const element = (tag, className = "", text = "") => {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  };
  const drawn = (tag, attributes = {}, ...inside) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...inside);
    return made;
  };
  const coloured = (made, look) => {
    made.classList.add("own");
    made.style.setProperty("--light", look.light);
    made.style.setProperty("--dark", look.dark);
    return made;
  };
  const number = (value, digits = 5) => {
    const rounded = Number(value.toPrecision(digits));
    const size = Math.abs(rounded);
    return size === 0 || (size >= 1e-4 && size < 1e7) ? String(rounded) : rounded.toExponential().replace("e+", "e");
  };
  const wrapped = (text) => {
    const rows = [""];
    for (const word of text.split(/\s+/)) {
      const longer = `${rows.at(-1)} ${word}`.trim();
      if (longer.length <= LABEL || !rows.at(-1)) rows[rows.length - 1] = longer;
      else rows.push(word);
    }
    return rows;
  };

  // -- looks -----------------------------------------------------------------------------------

  const DASHES = { solid: "", dash: "9 5", dashdot: "11 4 2 4", dot: "2.5 3.5" };
  const polygon = (radii, turn = -0.25) =>
    "M" + radii.map((radius, k) => {
      const angle = 2 * Math.PI * (turn + k / radii.length);
      return `${radius * Math.cos(angle)},${radius * Math.sin(angle)}`;
    }).join("L") + "Z";
  const even = (n, turn) => polygon(Array(n).fill(1.15), turn);
  const plus = (turn) => polygon(Array.from({ length: 12 }, (_, k) => (k % 3 ? 1.25 : 0.5)), turn);
  const MARKERS = {
    circle: "M-1,0a1,1 0 1,0 2,0a1,1 0 1,0 -2,0",
    square: even(4, 1 / 8),
    diamond: even(4, 0),
    "triangle-up": even(3, -0.25),
    "triangle-down": even(3, 0.25),
    "triangle-left": even(3, 0.5),
    "triangle-right": even(3, 0),
    pentagon: even(5, -0.25),
    hexagon: even(6, -0.25),
    star: polygon(Array.from({ length: 10 }, (_, k) => (k % 2 ? 0.55 : 1.35))),
    cross: plus(1 / 8),
    x: plus(0),
  };
  const marker = (shape, x, y, radius, className) =>
    drawn("path", { d: MARKERS[shape], class: className, transform: `translate(${x} ${y}) scale(${radius})`, "vector-effect": "non-scaling-stroke" });

  // -- axes ------------------------------------------------------------------------------------

  const evenTicks = ([low, high], most) => {
    const least = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(least));
    const step = power * [1, 2, 5, 10].find((digit) => digit * power >= least * 0.999);
    const first = Math.ceil(low / step - 1e-9);
    const n = Math.floor(high / step + 1e-9) - first + 1;
    return Array.from({ length: n }, (_, k) => (first + k) * step);
  };
  const logTicks = ([low, high], most) => {
    const decades = Math.log10(high / low);
    if (decades < 0.9) return evenTicks([low, high], most);
    const digits = 3 * decades <= most ? [1, 2, 5] : [1];
    const stride = Math.ceil(decades / most);
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      if (power % stride === 0) ticks.push(...digits.map((digit) => Number(`${digit}e${power}`)));
    }
    return ticks.filter((tick) => low <= tick && tick <= high);
  };
  const axis = (ends, log = false) => {
    const along = log ? Math.log10 : (value) => value;
    const [low, high] = ends.map(along);
    return {
      share: (value) => (along(value) - low) / (high - low),
      value: (share) => (log ? 10 ** (low + share * (high - low)) : low + share * (high - low)),
      ticks: (most) => (log ? logTicks : evenTicks)(ends, Math.max(2, most)),
    };
  };

  // A pair of axes in pixels: { plot, svg, inside, x(value), y(value), ... }, to be filled by its caller.
  const axes = (described, width, height, top) => {
    const [across, up] = [axis(described.xEnds, described.xLog), axis(described.yEnds, described.yLog)];
    const yTicks = up.ticks(Math.round(height / 45));
    const name = (tick) => number(tick, 10);
    const left = 12 + LETTER * 1.1 * Math.max(...yTicks.map((tick) => name(tick).length), 2);
    const [right, bottom] = [14, 24];
    const box = { left, top, width: width - left - right, height };
    const x = (value) => left + box.width * across.share(value);
    const y = (value) => top + height * (1 - up.share(value));
    const svg = drawn("svg", { width, height: top + height + bottom });
    const longest = Math.max(...across.ticks(8).map((tick) => name(tick).length), 2);
    for (const tick of across.ticks(Math.floor(box.width / (LETTER * longest + 26)))) {
      const label = drawn("text", { x: x(tick), y: top + height + 17, "text-anchor": "middle" }, name(tick));
      svg.append(drawn("path", { class: "grid", d: `M${x(tick)},${top}v${height}` }), label);
    }
    for (const tick of yTicks) {
      const label = drawn("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, name(tick));
      svg.append(drawn("path", { class: "grid", d: `M${left},${y(tick)}h${box.width}` }), label);
    }
    svg.append(drawn("path", { class: "axis", fill: "none", d: `M${left},${top}v${height}h${box.width}` }));
    // Nothing is drawn beyond the axes, but markers may stand on their edge.
    const id = `inside${document.querySelectorAll("clipPath").length}${Math.round(1e9 * Math.random())}`;
    svg.append(drawn("clipPath", { id }, drawn("rect", { x: left, y: top - 1, width: box.width + 1, height: height + 2 })));
    const inside = drawn("g", { "clip-path": `url(#${id})` });
    svg.append(inside);
    return { svg, inside, box, x, y, across, up };
  };

  const trace = (xs, ys) => {
    let [path, pen] = ["", "M"];
    xs.forEach((x, k) => {
      if (x === null || ys[k] === null) pen = "M";
      else {
        path += `${pen}${x.toFixed(1)},${ys[k].toFixed(1)}`;
        pen = "L";
      }
    });
    return path;
  };
  const placed = (values, place) => values.map((value) => (value === null ? null : place(value)));

  // -- the legend and the tooltip --------------------------------------------------------------

  const legend = (looks, redraw) => {
    const buttons = looks.map((look) => {
      const button = element("button");
      const swatch = coloured(drawn("svg", { width: 40, height: 14 }), look);
      const width = look.faint ? 1 : 2;
      swatch.append(drawn("path", { class: "line", d: "M0,7h40", "stroke-width": width, "stroke-dasharray": look.faint ? "" : DASHES[look.dash] }));
      if (!look.faint) swatch.append(marker(look.marker, 20, 7, 4.5, "marker"));
      button.append(swatch, element("span", "", look.name));
      button.title = "click: hide or show; double click: this one alone";
      button.onclick = () => toggle((name) => (name === look.name) !== hidden.has(name));
      button.ondblclick = () => toggle((name) => name !== look.name);
      return button;
    });
    const toggle = (hides) => {
      const all = looks.map((look) => look.name).filter(hides);
      hidden.clear();
      if (all.length < looks.length || looks.length === 1) all.forEach((name) => hidden.add(name));
      show();
      redraw();
    };
    const show = () => looks.forEach((look, k) => buttons[k].setAttribute("aria-pressed", String(!hidden.has(look.name))));
    document.getElementById("legend").append(...buttons);
    show();
  };

  const showTip = (event, heading, rows = []) => {
    tip.replaceChildren(element("div", "", heading));
    for (const { name, value, nearest } of rows) {
      const row = element("div", nearest ? "nearest" : "");
      row.append(element("span", "", name), element("span", "", value));
      tip.append(row);
    }
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const beside = event.clientX + 16 + width < innerWidth ? event.clientX + 16 : event.clientX - 16 - width;
    tip.style.left = `${Math.max(4, beside)}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 12, innerHeight - height - 4))}px`;
  };
  const hideTip = () => { tip.hidden = true; };

  // -- lines -----------------------------------------------------------------------------------

  // Labels above a panel that do not touch: each stands above those further right that it reaches over.
  const stacked = (marks, x, box) => {
    const labels = marks.map((mark) => {
      const rows = wrapped(mark.label);
      const width = LETTER * Math.max(...rows.map((row) => row.length));
      const left = Math.max(box.left, Math.min(x(mark.x), box.left + box.width - width));
      return { mark, rows, left, right: left + width, height: ROW * rows.length + 4 };
    });
    labels.forEach((_, k) => {
      const label = labels[labels.length - 1 - k];
      const over = labels.slice(labels.length - k).filter((other) => other.left < label.right + 8);
      label.bottom = Math.max(0, ...over.map((other) => other.bottom + other.height));
    });
    return labels;
  };

  const drawLines = (panel, plot, looks) => {
    const width = Math.max(160, plot.clientWidth);
    const height = Math.min(Math.max(230, 0.62 * width), 560, Math.max(260, 0.7 * innerHeight));
    const above = () => {
      const { x, box } = axes(panel, width, height, 0); // only to know where labels would stand
      return stacked(panel.marks, x, box);
    };
    const labels = above();
    const top = 8 + Math.max(0, ...labels.map((label) => label.bottom + label.height + 4));
    const { svg, inside, x, y, box } = axes(panel, width, height, top);
    const shown = panel.lines.filter((line) => !hidden.has(line.name));
    const points = [];
    for (const line of shown) {
      const look = looks.get(line.name);
      const [xs, ys] = [placed(line.x, x), placed(line.y, y)];
      const group = coloured(drawn("g", { opacity: line.faint ? 0.5 : 1 }), look);
      group.append(drawn("path", {
        class: "line", d: trace(xs, ys), "stroke-width": line.faint ? 1 : 2 + 4 * line.beneath,
        "stroke-dasharray": line.faint ? "" : DASHES[look.dash],
      }));
      for (const k of line.marked) group.append(marker(look.marker, xs[k], ys[k], line.faint ? 2 : 4.5 + 1.5 * line.beneath, "marker"));
      inside.append(group);
      xs.forEach((px, k) => {
        const py = ys[k];
        if (px !== null && py !== null && py >= top && py <= top + height) points.push({ line, k, px, py });
      });
    }
    for (const { mark, rows, left, bottom } of labels) {
      const foot = mark.y === null ? top + height : y(mark.y);
      const end = top - 4 - bottom;
      svg.append(drawn("path", { class: "guide", d: `M${x(mark.x)},${foot}V${end}` }));
      if (mark.y !== null) svg.append(marker("circle", x(mark.x), foot, 5, "ring"));
      rows.forEach((row, k) => {
        svg.append(drawn("text", { class: "label", x: left, y: end - 3 - ROW * (rows.length - 1 - k) }, row));
      });
    }
    const ring = drawn("g");
    svg.append(ring);
    const hover = (event) => {
      const { left, top: above } = svg.getBoundingClientRect();
      const [px, py] = [event.clientX - left, event.clientY - above];
      let [nearest, least] = [null, Infinity];
      for (const point of points) {
        // What is above or below the pointer is meant sooner than what is beside it.
        const distance = 9 * (point.px - px) ** 2 + (point.py - py) ** 2;
        if (distance <= least) [nearest, least] = [point, distance];
      }
      ring.replaceChildren();
      if (!nearest) return hideTip();
      const at = nearest.line.x[nearest.k];
      ring.append(
        drawn("path", { class: "guide", d: `M${nearest.px},${box.top}v${box.height}` }),
        marker("circle", nearest.px, nearest.py, 6, "ring"),
      );
      const same = points.filter((point) => point.line.x[point.k] === at).sort((a, b) => a.py - b.py);
      const first = Math.max(0, Math.min(same.indexOf(nearest) - IN_TIP / 2, same.length - IN_TIP));
      return showTip(event, `${panel.xLabel}: ${number(at)}`, same.slice(first, first + IN_TIP).map((point) => (
        { name: point.line.name, value: number(point.line.y[point.k]), nearest: point === nearest }
      )));
    };
    svg.addEventListener("pointermove", hover);
    svg.addEventListener("pointerdown", hover);
    svg.addEventListener("pointerleave", () => {
      ring.replaceChildren();
      hideTip();
    });
    plot.replaceChildren(svg);
  };

  const lines = () => {
    const looks = new Map(chart.legend.map((look) => [look.name, look]));
    const plots = chart.panels.map((panel) => {
      const section = element("section");
      const plot = element("div", "plot");
      const label = panel.yLabel === panel.title ? [] : [element("p", "", panel.yLabel)];
      section.append(element("h2", "", panel.title), ...label, plot, element("p", "x", panel.xLabel));
      main.append(section);
      return plot;
    });
    const redraw = () => chart.panels.forEach((panel, k) => drawLines(panel, plots[k], looks));
    legend(chart.legend, redraw);
    return redraw;
  };

  // -- bars ------------------------------------------------------------------------------------

  const bars = () => {
    const across = axis(chart.ends);
    const percent = (value) => `${100 * across.share(value)}%`;
    const table = element("div", "bars");
    const track = () => {
      const made = element("div", "track");
      const zero = element("i", "zero");
      zero.style.left = percent(0);
      made.append(zero);
      return made;
    };
    for (const { name, short, value, label, light, dark } of chart.bars) {
      const line = track();
      const bar = coloured(element("i", "bar"), { light, dark });
      bar.style.left = percent(Math.min(value, 0));
      bar.style.width = `${100 * Math.abs(across.share(value) - across.share(0))}%`;
      const text = element("span", "", label);
      text.style.left = percent(value);
      text.style.transform = value < 0 ? "translateX(calc(-100% - 6px))" : "translateX(6px)";
      line.append(bar, text);
      const title = element("div", "name", short);
      for (const part of [line, title]) {
        part.addEventListener("pointermove", (event) => showTip(event, name, [{ name: chart.xLabel, value: number(value) }]));
        part.addEventListener("pointerleave", hideTip);
      }
      table.append(title, line);
    }
    const ticks = element("div", "track ticks");
    table.append(element("div", "name"), ticks, element("p", "x", chart.xLabel));
    main.style.display = "block";
    main.append(table);
    return () => {
      ticks.replaceChildren(...across.ticks(Math.floor(ticks.clientWidth / 70)).map((tick) => {
        const label = element("span", "", number(tick, 10));
        label.style.left = percent(tick);
        return label;
      }));
    };
  };

  // -- a surface and paths across it -----------------------------------------------------------

  const channels = (name) => {
    const colour = getComputedStyle(root).getPropertyValue(name).trim();
    return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  };

  // The heights as shades, each grid point a pixel, to be enlarged.
  const shades = (logs, nx, ny) => {
    const image = document.createElement("canvas");
    [image.width, image.height] = [nx, ny];
    const pen = image.getContext("2d");
    const pixels = pen.createImageData(nx, ny);
    const [low, high] = [chart.levels[0], chart.levels.at(-1)];
    const [valley, hill] = [channels("--valley"), channels("--hill")];
    logs.forEach((log, k) => {
      if (log === null) return;
      const share = Math.min(Math.max((log - low) / (high - low || 1), 0), 1);
      const at = 4 * ((ny - 1 - Math.floor(k / nx)) * nx + (k % nx));
      valley.forEach((value, c) => { pixels.data[at + c] = value + share * (hill[c] - value); });
      pixels.data[at + 3] = 255;
    });
    pen.putImageData(pixels, 0, 0);
    return image;
  };

  // Level lines: where they cross the sides of each square of the grid ("marching squares").
  const drawLevels = (pen, logs, nx, ny, x, y) => {
    const sides = [[0, 1], [1, 3], [3, 2], [2, 0]]; // of the corners (0, 0), (1, 0), (0, 1), (1, 1)
    pen.beginPath();
    for (let row = 0; row < ny - 1; row += 1) {
      for (let column = 0; column < nx - 1; column += 1) {
        const at = row * nx + column;
        const corners = [logs[at], logs[at + 1], logs[at + nx], logs[at + nx + 1]];
        if (corners.includes(null)) continue;
        for (const level of chart.levels) {
          const crossed = sides.filter(([a, b]) => corners[a] < level !== corners[b] < level);
          crossed.forEach(([a, b], k) => {
            const share = (level - corners[a]) / (corners[b] - corners[a]);
            const [dx, dy] = [(a & 1) + share * ((b & 1) - (a & 1)), (a >> 1) + share * ((b >> 1) - (a >> 1))];
            pen[k % 2 ? "lineTo" : "moveTo"](x(column + dx), y(row + dy));
          });
        }
      }
    }
    pen.stroke();
  };

  const surface = () => {
    const { above, paths, moments } = chart;
    const [nx, ny] = [chart.x.length, chart.y.length];
    // The lowest of all has no logarithm: what is lower by a whole level than the first line lies there.
    const bottom = 10 ** (2 * chart.levels[0] - (chart.levels[1] ?? chart.levels[0] + 1));
    const logs = above.map((height) => (height === null ? null : Math.log10(Math.max(height, bottom))));
    const ends = { xEnds: [chart.x[0], chart.x[nx - 1]], yEnds: [chart.y[0], chart.y[ny - 1]] };
    const looks = new Map(chart.legend.map((look) => [look.name, look]));
    const section = element("section", "surface");
    const plot = element("div", "plot");
    const ground = element("canvas");
    const slider = element("input");
    const play = element("button", "", "Play");
    const step = element("output");
    const controls = element("div", "play");
    Object.assign(slider, { type: "range", min: 0, max: moments.length - 1, value: moments.length - 1 });
    slider.setAttribute("aria-label", "step");
    controls.append(play, slider, step);
    section.append(plot, ...(moments.length > 1 ? [controls] : []));
    main.style.display = "block";
    main.append(section);

    let frame; // the axes
    let moving; // what changes from step to step
    const drawPaths = () => {
      const now = moments[slider.value] ?? 0;
      step.textContent = `step ${now}`;
      moving.replaceChildren();
      for (const path of paths) {
        if (hidden.has(path.name)) continue;
        const look = looks.get(path.name);
        const until = path.steps.findLastIndex((k) => k <= now) + 1;
        const [xs, ys] = [placed(path.x.slice(0, until), frame.x), placed(path.y.slice(0, until), frame.y)];
        const group = coloured(drawn("g"), look);
        group.append(drawn("path", { class: "line", d: trace(xs, ys), "stroke-width": 2 + 3 * path.beneath, "stroke-dasharray": DASHES[look.dash] }));
        const last = xs.findLastIndex((px) => px !== null);
        if (last >= 0) group.append(marker(look.marker, xs[last], ys[last], 6, "marker end"));
        if (xs[0] !== null) group.append(marker("circle", xs[0], ys[0], 5, "ring"));
        moving.append(group);
      }
    };
    const redraw = () => {
      // All of it in sight, with the row to play below it.
      const room = innerHeight - (main.getBoundingClientRect().top + scrollY) - 45;
      section.style.maxWidth = "";
      const width = Math.min(Math.max(160, plot.clientWidth), Math.max(320, room));
      section.style.maxWidth = `${width}px`;
      frame = axes(ends, width, width - 60, 8);
      const { left, top, width: wide, height: high } = frame.box;
      const ratio = devicePixelRatio;
      Object.assign(ground, { width: Math.round(wide * ratio), height: Math.round(high * ratio) });
      Object.assign(ground.style, { left: `${left}px`, top: `${top}px`, width: `${wide}px`, height: `${high}px` });
      const pen = ground.getContext("2d");
      pen.scale(ratio, ratio);
      // Grid points lie on the edges: of the outer pixels only the inner halves are in sight.
      const [cellX, cellY] = [wide / (nx - 1), high / (ny - 1)];
      pen.drawImage(shades(logs, nx, ny), -cellX / 2, -cellY / 2, wide + cellX, high + cellY);
      pen.strokeStyle = getComputedStyle(root).getPropertyValue("--level");
      pen.lineWidth = 0.7;
      drawLevels(pen, logs, nx, ny, (column) => column * cellX, (row) => high - row * cellY);
      frame.svg.style.position = "relative";
      frame.svg.querySelectorAll(".grid").forEach((line) => line.remove());
      moving = drawn("g");
      frame.inside.append(moving);
      if (chart.minimum) frame.inside.append(marker("star", frame.x(chart.minimum[0]), frame.y(chart.minimum[1]), 7, "star"));
      frame.svg.addEventListener("pointermove", (event) => {
        const box = frame.svg.getBoundingClientRect();
        const shares = [(event.clientX - box.left - left) / wide, (box.top + top + high - event.clientY) / high];
        if (shares.some((share) => share < 0 || share > 1)) return hideTip();
        const [column, row] = [Math.round(shares[0] * (nx - 1)), Math.round(shares[1] * (ny - 1))];
        const height = above[row * nx + column];
        return showTip(event, `${number(chart.x[column], 4)}, ${number(chart.y[row], 4)}`, [
          { name: "height", value: height === null ? "–" : number(chart.lowest + height, 4) },
        ]);
      });
      frame.svg.addEventListener("pointerleave", hideTip);
      plot.replaceChildren(ground, frame.svg);
      drawPaths();
    };
    let timer = 0;
    const pause = () => {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
    };
    play.onclick = () => {
      if (timer) return pause();
      if (Number(slider.value) === moments.length - 1) slider.value = 0;
      play.textContent = "Pause";
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        drawPaths();
        if (Number(slider.value) === moments.length - 1) pause();
      }, FRAME);
      return drawPaths();
    };
    slider.oninput = () => {
      pause();
      drawPaths();
    };
    legend(chart.legend, drawPaths);
    if (chart.minimum) document.getElementById("legend").append(element("span", "fixed", "★ minimum"));
    return redraw;
  };

  // -- start -----------------------------------------------------------------------------------

  const redraw = { lines, bars, surface }[chart.kind]();
  let width = 0; // what is drawn already; a page that is not in sight yet has none
  const follow = () => {
    if (main.clientWidth === width) return; // the height follows from what is drawn
    width = main.clientWidth;
    redraw();
    root.dataset.drawn = String(width);
  };
  follow();
  new ResizeObserver(follow).observe(main);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => width && redraw());
})();
