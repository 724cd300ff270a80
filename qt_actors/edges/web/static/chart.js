/* The equity curve: a line through the newest reading of every step, a band from its lowest to its highest. */
import { $, children, put } from "./dom.js";
import { clock, hour, span, usd } from "./format.js";

const HEIGHT = 190, BELOW = 20, ABOVE = 8, NS = "http://www.w3.org/2000/svg";
const MINUTE = 60_000, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const STEPS = [1, 2, 5, 10, 30].map(n => n * MINUTE).concat([1, 2, 3, 6, 12].map(n => n * HOUR), [1, 2, 7, 14, 30, 90].map(n => n * DAY));
let told = null, pointed = null;

const svg = (tag, about, text) => {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(about)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
};

function stepOf(wide, most) {
  const rough = wide / most, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map(n => n * power).find(step => step >= rough);
}

const moment = (ms, step) => step >= DAY || ms % DAY === 0 ? new Date(ms).toLocaleDateString("en", { month: "short", day: "numeric", timeZone: "UTC" }) : new Date(ms).toISOString().slice(11, 16);

export function chart(answer) {
  told = answer;
  draw();
}

function draw() {
  const box = $("chart"), points = told ? told.equity : [];
  if (points.length < 2) {
    put("chart-sub", "");
    const line = document.createElement("div");
    line.className = "soft";
    line.textContent = "The curve begins with the second measurement.";
    return children(box, [line]);
  }
  const first = points[0].now_ms, last = points.at(-1).now_ms, low = told.low_usd, high = told.high_usd;
  put("chart-sub", `${hour(first)} to ${hour(last)} UTC, ${span((last - first) / 1000)} of market time · low ${usd(low)} · high ${usd(high)}`);
  const step = stepOf(Math.max(high - low, 0.04), 4), bottom = Math.floor(low / step) * step, top = Math.max(Math.ceil(high / step), bottom / step + 1) * step;
  const digits = step < 0.1 ? 2 : step < 1 ? 1 : 0, labels = [];
  for (let y = bottom; y <= top + step / 2; y += step) labels.push(y);
  const margin = 12 + 6.6 * Math.max(...labels.map(y => usd(y, digits).length)), width = Math.max(260, box.clientWidth), right = width - 4, floor = HEIGHT - BELOW;
  const X = ms => margin + (ms - first) / (last - first) * (right - margin), Y = v => floor - (v - bottom) / (top - bottom) * (floor - ABOVE);
  const at = (ms, v) => `${X(ms).toFixed(1)},${Y(v).toFixed(1)}`;
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": `Equity from ${clock(first)} to ${clock(last)}: now ${usd(points.at(-1).equity_usd)}, lowest ${usd(low)}, highest ${usd(high)}` });
  for (const y of labels) drawn.append(svg("line", { class: "grid", x1: margin, x2: right, y1: Y(y), y2: Y(y) }), svg("text", { x: margin - 6, y: Y(y) + 4, "text-anchor": "end" }, usd(y, digits)));
  const tick = STEPS.find(s => (last - first) / s <= (right - margin) / 80) || STEPS.at(-1);
  for (let ms = Math.ceil(first / tick) * tick; ms <= last; ms += tick) drawn.append(svg("line", { class: "grid", x1: X(ms), x2: X(ms), y1: floor, y2: floor + 4 }), svg("text", { x: Math.min(X(ms), right - 16), y: HEIGHT - 4, "text-anchor": "middle" }, moment(ms, tick)));
  drawn.append(svg("polygon", { class: "range", points: [...points.map(p => at(p.now_ms, p.high_usd)), ...points.map(p => at(p.now_ms, p.low_usd)).reverse()].join(" ") }));
  drawn.append(svg("polyline", { class: "line", points: points.map(p => at(p.now_ms, p.equity_usd)).join(" ") }));
  if (pointed !== null) {
    const ms = first + (pointed * width - margin) / (right - margin) * (last - first), near = points.reduce((a, p) => Math.abs(p.now_ms - ms) < Math.abs(a.now_ms - ms) ? p : a);
    const x = X(near.now_ms), end = x > width / 2;
    drawn.append(svg("line", { class: "at", x1: x, x2: x, y1: ABOVE, y2: floor }), svg("text", { x: end ? x - 6 : x + 6, y: ABOVE + 8, "text-anchor": end ? "end" : "start" }, `${hour(near.now_ms)} · ${usd(near.equity_usd)}`));
  }
  children(box, [drawn]);
}

$("chart").addEventListener("pointermove", event => { const box = $("chart").getBoundingClientRect(); pointed = (event.clientX - box.left) / box.width; draw(); });
$("chart").addEventListener("pointerleave", () => { pointed = null; draw(); });
addEventListener("resize", draw);
