"use strict";
/* The first page: what accuracy costs, the board, the tasks, and how the runs were made. */

function showOverview(report) {
  document.title = "vlmbench report";
  const tasks = tasksOf(report);
  const parts = [
    element("h1", {}, "Report"),
    element("p", { class: "quiet" },
      `${report.runs.length === 1 ? "One run" : `${report.runs.length} runs`}, ` +
      `made ${report.made.slice(0, 10)} by vlmbench ${report.vlmbench}. ` +
      "Scores are in percent, with 95 % intervals; ? shows the keys."),
  ];
  if (report.opening?.length) parts.push(opening(report.opening));
  parts.push(board(report, tasks));
  for (const task of tasks) parts.push(taskSection(task, report.costs));
  if (report.plots) parts.push(plots(report));
  parts.push(element("section", {}, element("h2", {}, "How the runs were made"),
    report.runs.map((run, index) => provenance(run, index))));
  document.getElementById("main").replaceChildren(...parts);
  document.getElementById("main").className = "overview";
}

/** Every task that some run has: versions and ways of asking stand apart, as boards must. */
function tasksOf(report) {
  const tasks = new Map();
  report.runs.forEach((run, series) => {
    for (const task of run.tasks) {
      const title = `${task.task}, version ${task.version}, asked as ${task.style}`;
      if (!tasks.has(title)) tasks.set(title, { title, task, entries: [] });
      tasks.get(title).entries.push({ run, series, task });
    }
  });
  return [...tasks.values()];
}

function seriesMark(series) {
  return element("span", { class: `legend mark-${series % 6} series-${series % 6}`, "aria-hidden": "true" });
}

function board(report, tasks) {
  const heads = tasks.map(({ task }) => element("th", { scope: "col" }, task.task,
    element("small", {}, `${task.metric}, v${task.version}`), element("small", {}, task.style)));
  if (report.runs.some(({ mean }) => mean)) {
    heads.push(element("th", { scope: "col" }, "mean", element("small", {}, "of the tasks")));
  }
  const known = report.costs.filter(([key]) => report.runs.some(({ costs: own }) => own?.[key]));
  heads.push(...known.map(costHead));
  const rows = report.runs.map((run, series) => element("tr", {},
    element("th", { scope: "row" }, seriesMark(series), ` ${run.title}`,
      run.title.includes(run.name) ? null : element("small", {}, run.name),
      run.complete ? null : element("small", { class: "warn" }, "stopped before its end")),
    tasks.map(({ entries }) => {
      const found = entries.find((entry) => entry.run === run);
      return element("td", {}, found ? boardCell(run, found.task) : "");
    }),
    run.mean ? element("td", {}, element("b", {}, percent(run.mean.score)),
      element("small", {}, `${percent(run.mean.low)} .. ${percent(run.mean.high)}`)) : null,
    known.map(([key]) => element("td", { class: "number" }, run.costs?.[key] ?? "\u2013"))));
  return element("section", {}, element("h2", {}, "Board"),
    element("div", { class: "scroll" }, element("table", { class: "board" },
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "run"), heads)),
      element("tbody", {}, rows))));
}

function opening(drawn) {
  return element("section", {}, element("h2", {}, "What accuracy costs"),
    element("div", { class: "plots" }, drawn.map(figureLink)));
}

function figureLink([file, title]) {
  return element("a", { href: file }, element("img", { src: file, alt: title }));
}

/** A cost's symbol with its unit, and the scenario in which it was measured. */
function costHead([, symbol, unit, scenario]) {
  return element("th", { scope: "col", class: "number" }, unit ? `${symbol}, ${unit}` : symbol,
    element("small", {}, scenario));
}

function boardCell(run, task) {
  const open = { href: addressOf({ run: run.name, task: task.task }) };
  if (task.score === null) return element("a", open, "samples", counts(task));
  return element("a", open, element("strong", {}, percent(task.score)),
    element("small", {}, `${percent(task.interval[0])} .. ${percent(task.interval[1])}`),
    counts(task));
}

function counts(task) {
  const parts = [`n ${grouped(task.n ?? task.samples)}`, `${grouped(task.failed)} failed`];
  if (task.score !== null) parts.push(`${grouped(task.unparsed)} unparsed`);
  if (task.missing) parts.push(`${grouped(task.missing)} not run`);
  if (task.reading) parts.push(task.reading);
  if (task.remark) parts.push(task.remark);
  return element("small", {}, parts.join(", "));
}

function plots({ plots: drawn, left_out: reasons }) {
  return element("section", {}, element("h2", {}, "Plots"),
    element("div", { class: "plots" }, drawn.map(figureLink)),
    reasons.length ? element("details", {}, element("summary", {}, "Plots that are left out"),
      element("ul", {}, reasons.map((reason) => element("li", {}, reason)))) : null);
}

function taskSection({ title, task, entries }, heads) {
  const parts = [element("h2", {}, title)];
  if (task.mini) {
    parts.push(element("p", { class: "warn" },
      "The embedded stand-in: its scores say nothing of the real benchmark."));
  }
  for (const { run, task: own } of entries) {
    if (own.note) parts.push(element("p", { class: "warn" }, `${run.title}: ${own.note}`));
  }
  parts.push(element("p", { class: "actions" }, entries.map(({ run, series, task: own }) => [
    element("a", { class: "button", href: addressOf({ run: run.name, task: own.task }) },
      seriesMark(series), ` ${grouped(own.samples)} samples of ${run.title}`),
  ])));
  parts.push(profiles(entries), costs(entries, heads));
  for (const [dimension] of Object.entries(task.breakdown)) {
    parts.push(categories(dimension, entries));
  }
  parts.push(logged(entries));
  return element("section", {}, parts);
}

function profiles(entries) {
  const scored = entries.filter(({ task }) => task.score !== null);
  if (!scored.length) {
    return element("p", {}, "The answers of this split are not public, so there is no score.");
  }
  const rows = scored.flatMap(({ run, series, task }) =>
    Object.entries(task.profiles).map(([profile, found]) => element("tr", {},
      element("th", { scope: "row" }, seriesMark(series), ` ${run.title}`),
      element("td", {}, profile),
      figureCells(found, series),
      element("td", { class: "number" }, grouped(found.unparsed)))));
  return chart(["run", "scoring rules", "score", "0 to 100", "95 % interval", "n", "unparsed"], rows);
}

function figureCells(found, series) {
  const interval = found.interval ? found.interval.map(percent).join(" .. ") : "\u2013";
  return [
    element("td", { class: "number" }, percent(found.score)),
    element("td", { class: "bar" }, intervalBar(found.score, found.interval, series)),
    element("td", { class: "number" }, interval),
    element("td", { class: "number" }, grouped(found.n)),
  ];
}

const NUMBERS = new Set(
  ["score", "95 % interval", "n", "unparsed", "mean", "p10", "median", "p90", "p99"]);

/** What the runs cost on a task, beside its scores. */
function costs(entries, heads) {
  const known = heads.filter(([key]) => entries.some(({ task }) => task.costs[key]));
  if (!known.length) return null;
  const rows = entries.map(({ run, series, task }) => element("tr", {},
    element("th", { scope: "row" }, seriesMark(series), ` ${run.title}`,
      task.alone ? element("small", {}, `latency: ${task.alone}`) : null),
    known.map(([key]) => element("td", { class: "number" }, task.costs[key] ?? "\u2013"))));
  return element("div", { class: "scroll" }, element("table", { class: "chart costs" },
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "costs"),
      known.map(costHead))),
    element("tbody", {}, rows)));
}

function chart(heads, rows) {
  const cells = heads.map((head) =>
    element("th", { scope: "col", class: NUMBERS.has(head) ? "number" : null }, head));
  return element("div", { class: "scroll" }, element("table", { class: "chart" },
    element("thead", {}, element("tr", {}, cells)),
    element("tbody", {}, rows)));
}

function categories(dimension, entries) {
  const names = new Set(entries.flatMap(({ task }) => Object.keys(task.breakdown[dimension] ?? {})));
  const rows = [...names].flatMap((name) => entries
    .filter(({ task }) => task.breakdown[dimension]?.[name])
    .map(({ run, series, task }, index) => element("tr", { class: index ? "" : "group" },
      element("th", { scope: "row" }, index ? "" : categoryLink(run, task, dimension, name)),
      element("td", {}, seriesMark(series), entries.length > 1 ? ` ${run.title}` : ""),
      figureCells(task.breakdown[dimension][name], series))));
  return element("details", { open: names.size <= 12 },
    element("summary", {}, `By ${dimension.replaceAll("_", " ")} (${names.size})`),
    chart([dimension.replaceAll("_", " "), "run", "score", "0 to 100", "95 % interval", "n"], rows));
}

function categoryLink(run, task, dimension, name) {
  if (!task.categories.some((known) => known[0] === dimension && known[1] === name)) return name;
  const filters = { ...NO_FILTERS, in: `${dimension}:${name}` };
  return link(addressOf({ run: run.name, task: task.task, filters }), name);
}

/** What the log says sample by sample; its times grow with the number of samples. */
function logged(entries) {
  const lines = entries.map(({ run, series, task }) => {
    const { spreads, device, dtype } = task.log;
    const rows = spreads.map(([label, unit, found]) => element("tr", {},
      element("th", { scope: "row" }, label),
      ["mean", "p10", "p50", "p90", "p99", "n"].map((name) =>
        element("td", { class: "number" }, measured(found[name], name === "n" ? "" : unit)))));
    return element("div", {},
      element("h3", {}, seriesMark(series), ` ${run.title}`),
      rows.length ? chart(["per sample", "mean", "p10", "median", "p90", "p99", "n"], rows) : null,
      definitions([["device", device], ["numbers", dtype]]));
  });
  return element("details", {},
    element("summary", {}, "From the log: tokens, and times with the run's own queueing"), lines);
}

function measured(value, unit) {
  switch (unit) {
    case "s": return seconds(value);
    default: return `${grouped(Number(value.toPrecision(5)))} ${unit}`.trim();
  }
}

function provenance(run, series) {
  const { manifest } = run;
  const data = run.tasks.map((task) => [`data of ${task.task}`,
    Object.entries(task.data).map(([name, value]) => `${name} ${readable(value)}`).join(", ")]);
  const asked = run.tasks.slice(0, 1).map((task) => ["prompt", nested(task.prompt)]);
  const { command, model, generation, ...rest } = manifest;
  return element("details", { open: run.tasks.length === 1 },
    element("summary", {}, seriesMark(series), ` ${run.title}`),
    element("pre", { class: "text command" }, command.map(shellWord).join(" ")),
    definitions([["folder", run.folder], ["model", nested(model)],
      ["generation", nested(generation)], ...asked, ...data,
      ...Object.entries(rest).map(([name, value]) => [name.replaceAll("_", " "), nested(value)])]));
}

function nested(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    return value === null ? "" : readable(value);
  }
  return Object.entries(value).filter(([, part]) => part !== null && part !== "")
    .map(([name, part]) => `${name}: ${nested(part)}`).join("; ");
}

function shellWord(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
