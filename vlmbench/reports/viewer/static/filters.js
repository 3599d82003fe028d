"use strict";
/* Which samples are listed, and in which order. */

const SHOW = [
  ["all", "all samples"],
  ["wrong", "wrong (score 0)"],
  ["partly", "partly right"],
  ["right", "right (score 1)"],
  ["unparsed", "unparsed"],
  ["failed", "failed"],
  ["cut", "cut off at the token limit"],
];

const SORTS = [
  ["", "id"],
  ["score", "score"],
  ["length", "response length"],
  ["latency", "time in the run, with queueing"],
];

const DIFFERENCES = [
  ["answer", "answer differs"],
  ["better", "this run scores higher"],
  ["worse", "the other scores higher"],
];

function isShown(table, position, show) {
  const score = table.score[position];
  const flags = table.flags[position];
  switch (show) {
    case "wrong": return score === 0;
    case "partly": return score > 0 && score < 1;
    case "right": return score >= 1;
    case "unparsed": return Boolean(flags & UNPARSED);
    case "failed": return Boolean(flags & FAILED);
    case "cut": return Boolean(flags & CUT_OFF);
    default: return true;
  }
}

function differs(table, position, other, kind) {
  const there = positionOf(other, table.ids[position]);
  if (there === undefined) return false;
  const score = table.score[position];
  const otherScore = other.score[there];
  switch (kind) {
    case "better": return score > otherScore;
    case "worse": return score < otherScore;
    default: return !Object.is(table.answer[position], other.answer[there]);
  }
}

/** Positions that pass every filter, sorted; `found` says which ones the search has found. */
function selected(table, filters, other, found) {
  const wanted = table.task.categories.findIndex(
    ([dimension, name]) => `${dimension}:${name}` === filters.in);
  const rows = [];
  for (let position = 0; position < table.count; position += 1) {
    if (!isShown(table, position, filters.show)) continue;
    if (filters.in && !table.categories[position].includes(wanted)) continue;
    if (other && filters.diff && !differs(table, position, other, filters.diff)) continue;
    if (found && !found[position]) continue;
    rows.push(position);
  }
  const column = { score: table.score, length: table.length, latency: table.latency }[filters.sort];
  const sign = filters.desc ? -1 : 1;
  if (column) {
    rows.sort((a, b) => sign * (column[a] - column[b]) || missingLast(column[a], column[b]));
  } else if (filters.desc) rows.reverse();
  return Uint32Array.from(rows);
}

function missingLast(a, b) {
  return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
}

/** Marks the samples whose id, question, response or gold answers hold the text.
    Calls `progress` now and then with what is found so far; stops where that returns false. */
async function search(table, text, progress) {
  const wanted = text.toLowerCase();
  const found = new Uint8Array(table.count);
  const size = table.task.chunks.sizes.text;
  let told = performance.now();
  for (let start = 0; start < table.count; start += size) {
    const texts = await load(`${table.task.folder}/text-${start / size}`);
    texts.forEach(([question, response, gold], index) => {
      const fields = [table.ids[start + index], question, response ?? "", ...gold];
      found[start + index] = fields.some((field) => field.toLowerCase().includes(wanted));
    });
    if (performance.now() - told > 250) {
      told = performance.now();
      if (!progress(found, (start + texts.length) / table.count)) return;
    }
  }
  progress(found, 1);
}
