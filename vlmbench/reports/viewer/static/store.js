"use strict";
/* Data on demand. A page opened from disk may not fetch files, but may load scripts: each data
   file is a script that calls `deliver` with its own name and its content. */

const store = { waiting: new Map(), chunks: new Map(), tables: new Map() };

const KEPT_CHUNKS = 400;

function deliver(name, content) {
  store.waiting.get(name)?.(content);
}

/** The content of data/NAME.js; the last few hundred are kept. */
function load(name) {
  const known = store.chunks.get(name);
  if (known) {
    store.chunks.delete(name);
    store.chunks.set(name, known);
    return known;
  }
  const content = new Promise((resolve, reject) => {
    store.waiting.set(name, resolve);
    const script = element("script", { src: `data/${name}.js` });
    const done = () => {
      store.waiting.delete(name);
      script.remove();
      reject(new Error(`data/${name}.js is missing from the report's folder, or is damaged`));
    };
    script.addEventListener("load", done); // a promise that was kept cannot be broken any more
    script.addEventListener("error", done);
    document.head.append(script);
  });
  store.chunks.set(name, content);
  for (const oldest of store.chunks.keys()) {
    if (store.chunks.size <= KEPT_CHUNKS) break;
    store.chunks.delete(oldest);
  }
  return content;
}

/** The columns of a run's task: what filters and sorting need of every sample. */
function openTable(task) {
  if (!store.tables.has(task.folder)) store.tables.set(task.folder, readTable(task));
  return store.tables.get(task.folder);
}

async function readTable(task) {
  const parts = await Promise.all(numbered(task.chunks.index).map(
    (number) => load(`${task.folder}/index-${number}`)));
  const count = task.samples;
  const table = {
    task, count, ids: [], categories: [],
    score: new Float64Array(count), latency: new Float64Array(count),
    flags: new Uint8Array(count), length: new Uint32Array(count),
    answer: new Float64Array(count), positions: null,
  };
  let start = 0;
  for (const part of parts) {
    for (const id of part.id) table.ids.push(id);
    for (const categories of part.categories) table.categories.push(categories);
    for (const name of ["score", "latency", "flags", "length", "answer"]) {
      const column = table[name];
      part[name].forEach((value, index) => { column[start + index] = value ?? NaN; });
    }
    start += part.id.length;
  }
  return table;
}

/** Where the sample stands in the table; undefined: it is not in this run. */
function positionOf(table, id) {
  table.positions ??= new Map(table.ids.map((known, position) => [known, position]));
  return table.positions.get(id);
}

function numbered(count) {
  return Array.from({ length: count }, (_, number) => number);
}

const chunkOf = (kind, task, position) => {
  const size = task.chunks.sizes[kind];
  return [`${task.folder}/${kind}-${Math.floor(position / size)}`, position % size];
};

/** [question, response, gold answers] of a sample. */
async function textsAt(table, position) {
  const [name, place] = chunkOf("text", table.task, position);
  return (await load(name))[place];
}

/** Everything else of a sample. */
async function detailAt(table, position) {
  const [name, place] = chunkOf("detail", table.task, position);
  return (await load(name))[place];
}
