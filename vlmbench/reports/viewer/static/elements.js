"use strict";
/* Building blocks of the page. Text enters as text nodes only, so that no data becomes markup. */

/** An element: `properties` are attributes, or listeners where the name starts with "on". */
function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** Text of a data set or a model, with its line breaks, in its own direction. */
function quoted(text, className = "") {
  if (text === "") return element("p", { class: "quiet" }, "(empty)");
  return element("pre", { class: `text ${className}`, dir: "auto" }, text);
}

function link(address, ...children) {
  return element("a", { href: address }, ...children);
}

/** A drop-down: `choices` are [value, label] or {group, choices}. */
function dropdown(label, choices, value, onchange) {
  const option = ([key, name]) =>
    element("option", { value: key, selected: key === value }, name);
  const options = choices.map((choice) =>
    Array.isArray(choice)
      ? option(choice)
      : element("optgroup", { label: choice.group }, choice.choices.map(option)));
  const select = element("select", { onchange: () => onchange(select.value) }, options);
  return element("label", { class: "field" }, element("span", {}, label), select);
}

function definitions(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", { class: "facts" }, shown.map(([name, value]) =>
    element("div", {}, element("dt", {}, name),
      element("dd", {}, value instanceof Node ? value : readable(value)))));
}

/** Any JSON value as text. */
function readable(value) {
  if (typeof value === "string") return value;
  if (typeof value === "number") return grouped(value);
  return JSON.stringify(value);
}

function grouped(number) {
  return number.toLocaleString("en", { maximumFractionDigits: 4 });
}

function percent(value) {
  return value === null || value === undefined ? "\u2013" : value.toFixed(2);
}

function seconds(value) {
  return value < 1 ? `${(1000 * value).toPrecision(3)} ms` : `${value.toPrecision(3)} s`;
}

/** A bar from 0 to 100 with the interval as a band and the mean as a mark of the run's own shape. */
function intervalBar(score, interval, series) {
  if (score === null) return element("span", { class: "interval" });
  const band = element("span", { class: "band" });
  band.style.left = `${interval[0]}%`;
  band.style.width = `${interval[1] - interval[0]}%`;
  const mean = element("span", { class: `mean mark-${series % 6}` });
  mean.style.left = `${score}%`;
  return element("span", { class: `interval series-${series % 6}`, "aria-hidden": "true" },
    band, mean);
}

const FAILED = 1, UNPARSED = 2, CUT_OFF = 4, OTHER_PROMPT = 8;

/** What a sample's score looks like: never by colour alone. */
function scoreChip(score, flags) {
  if (flags & FAILED) return element("span", { class: "chip failed" }, "! failed");
  if (Number.isNaN(score) || score === null) {
    return element("span", { class: "chip" }, "\u2013 no score");
  }
  const shown = String(Math.round(score * 1000) / 1000);
  if (score >= 1) return element("span", { class: "chip right" }, `\u2713 ${shown}`);
  if (score > 0) return element("span", { class: "chip partly" }, `\u25d0 ${shown}`);
  return element("span", { class: "chip wrong" }, `\u2717 ${shown}`);
}

function say(message) {
  document.getElementById("status").textContent = message;
}
