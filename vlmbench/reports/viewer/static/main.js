"use strict";
/* From an address to a page, and the keyboard. */

let browser = null;

async function start() {
  try {
    const report = await load("report");
    tellApart(report.runs);
    addEventListener("hashchange", () => route(report));
    addEventListener("keydown", onKey);
    for (const dialog of document.querySelectorAll("dialog")) {
      dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    }
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault(); // the fragment is taken: it is the address
      document.getElementById("main").focus();
    });
    await route(report);
  } catch (error) {
    say(error.message);
  }
}

/** Runs that are titled alike get their names into their titles. */
function tellApart(runs) {
  const titles = runs.map(({ title }) => title);
  for (const run of runs) {
    if (titles.indexOf(run.title) !== titles.lastIndexOf(run.title)) run.title += ` (${run.name})`;
  }
}

async function route(report) {
  const place = readAddress();
  const run = report.runs.find(({ name }) => name === place.run);
  const task = run?.tasks.find((known) => known.task === place.task);
  say("");
  if (!task) {
    browser = null;
    if (place.run) say(`This report has no task ${place.task ?? ""} of a run ${place.run}.`);
    drawTop(report);
    showOverview(report);
    return;
  }
  if (browser?.run === run && browser?.task === task) {
    await browser.goTo(place);
    return;
  }
  drawTop(report, run, task);
  browser = new Browser(report, run, task, place);
  try {
    await browser.open();
  } catch (error) {
    say(error.message);
  }
}

/** The way back, and the other tasks and runs. */
function drawTop(report, run, task) {
  const parts = [element("a", { href: "#/", class: "home" }, "vlmbench report")];
  if (run) {
    const go = (name, taskName) => {
      const known = report.runs.find((other) => other.name === name);
      const same = known.tasks.find((other) => other.task === taskName) ?? known.tasks[0];
      location.hash = addressOf({ run: name, task: same.task });
    };
    parts.push(
      dropdown("run", report.runs.map(({ name, title }) => [name, title]), run.name,
        (name) => go(name, task.task)),
      dropdown("task", run.tasks.map((known) => [known.task, known.task]), task.task,
        (name) => go(run.name, name)));
  }
  parts.push(element("button", { class: "help", title: "Keyboard", "aria-label": "Keyboard",
    onclick: showHelp }, "?"));
  document.getElementById("top").replaceChildren(...parts);
}

function showHelp() {
  document.getElementById("help").showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return; // which takes Esc itself
  const field = event.target.closest?.("input, select, textarea");
  if (event.key === "Escape") {
    if (field) field.blur();
    else browser?.back();
    return;
  }
  if (field) return;
  const action = keyAction(event.key);
  if (action) {
    event.preventDefault();
    action();
  }
}

function keyAction(key) {
  if (key === "?") return showHelp;
  if (!browser?.table) return undefined;
  const { list } = browser;
  const page = Math.max(1, Math.floor(list.node.clientHeight / ROW_HEIGHT) - 1);
  const focusedList = document.activeElement === list.node;
  switch (key) {
    case "j": case "ArrowDown": return () => list.move(1);
    case "k": case "ArrowUp": return () => list.move(-1);
    case "PageDown": return focusedList ? () => list.move(page) : undefined;
    case "PageUp": return focusedList ? () => list.move(-page) : undefined;
    case "Home": return focusedList ? () => list.choose(0) : undefined;
    case "End": return focusedList ? () => list.choose(list.rows.length - 1) : undefined;
    case "/": return () => document.getElementById("search").select();
    case "w": return () => browser.set(
      { show: browser.place.filters.show === "wrong" ? "all" : "wrong" });
    case "p": return () => document.querySelector(".pictures .picture")?.click();
    default: return undefined;
  }
}

start();
