"use strict";
/* Where one is: #/run/task/sample?filters; all of it survives a reload and can be sent around. */

const NO_FILTERS = Object.freeze(
  { show: "all", in: "", vs: "", diff: "", q: "", sort: "", desc: "" });

function readAddress() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [run, task, id] = path.split("/").map(decoded);
  const given = Object.fromEntries(new URLSearchParams(query));
  const filters = { ...NO_FILTERS };
  for (const name of Object.keys(filters)) filters[name] = given[name] ?? filters[name];
  return { run, task, id, filters };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a percent sign that somebody typed
  }
}

function addressOf({ run, task, id, filters = NO_FILTERS }) {
  const parts = [run, task, id].filter((part) => part !== undefined).map(encodeURIComponent);
  const changed = Object.entries(filters).filter(([name, value]) => value !== NO_FILTERS[name]);
  const query = new URLSearchParams(changed).toString();
  return `#/${parts.join("/")}${query && `?${query}`}`;
}

/** Say in the address where one is, without a step in the history. */
function writeAddress(place) {
  history.replaceState(null, "", addressOf(place));
}
