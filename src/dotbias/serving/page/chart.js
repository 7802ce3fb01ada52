// Lines and bars, as few as the page needs.

import { h, svg } from "./dom.js";
import { number } from "./words.js";

const [WIDTH, HEIGHT] = [560, 220];
const MARGIN = { left: 48, right: 12, top: 10, bottom: 28 };

// Round numbers between two ends.
const ticks = (low, high) => {
  const rough = (high - low) / 4;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * unit).find((size) => size >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(at);
  return found;
};

// lines: [{name, values, kind}], one value for each step from 1 on; kind is a class of the style sheet.
export const lineChart = (label, lines, { x, y }) => {
  const values = lines.flatMap((line) => line.values);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const n = Math.max(...lines.map((line) => line.values.length));
  const right = WIDTH - MARGIN.right;
  const bottom = HEIGHT - MARGIN.bottom;
  const atX = (step) => MARGIN.left + ((right - MARGIN.left) * step) / Math.max(1, n - 1);
  const atY = (value) => bottom - ((bottom - MARGIN.top) * (value - low)) / (high - low || 1);
  const words = (text, settings) => svg("text", settings, text);
  const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: "chart" });
  for (const value of ticks(low, high)) {
    drawn.append(
      svg("line", { x1: MARGIN.left, x2: right, y1: atY(value), y2: atY(value), class: "grid" }),
      words(number(value), { x: MARGIN.left - 6, y: atY(value) + 4, "text-anchor": "end" }),
    );
  }
  drawn.append(
    words("1", { x: atX(0), y: HEIGHT - 8, "text-anchor": "middle" }),
    words(String(n), { x: atX(n - 1), y: HEIGHT - 8, "text-anchor": "end" }),
    words(x, { x: (MARGIN.left + right) / 2, y: HEIGHT - 8, "text-anchor": "middle" }),
  );
  for (const line of lines) {
    const points = line.values.map((value, step) => `${atX(step)},${atY(value)}`).join(" ");
    drawn.append(svg("polyline", { points, class: `line ${line.kind}` }));
  }
  const legend = lines.map((line) => h("span.legend", {}, h(`span.dash.${line.kind}`), line.name));
  return h("figure", {}, h("figcaption", {}, y, ...legend), drawn);
};

// rows: [{name, value, own}]; the bars begin at 0.
export const barChart = (rows, { digits, better }) => {
  const most = Math.max(...rows.map((row) => row.value));
  return h(
    "table.parts",
    {},
    h("caption", {}, better),
    h(
      "tbody",
      {},
      ...rows.map(({ name, value, own }) => {
        const bar = h(own ? "span.bar" : "span.bar.other");
        bar.style.setProperty("--share", `${(100 * value) / most}%`);
        return h(
          "tr",
          {},
          h("th", { scope: "row" }, name),
          h("td.bars", { "aria-hidden": "true" }, bar),
          h("td.number", {}, number(value, digits)),
        );
      }),
    ),
  );
};
