"use strict";
/* One sample: pictures, question, answers, verdicts, the prompt as it was asked, and its costs. */

/** The page of a sample; `other` is {run, address, table, position} of the run beside it. */
async function sampleParts(table, position, other) {
  const [[question, response, gold], detail] = await Promise.all(
    [textsAt(table, position), detailAt(table, position)]);
  const flags = table.flags[position];
  return [
    picturesOf(detail),
    element("div", { class: "words" },
      flags & OTHER_PROMPT ? element("p", { class: "warn" },
        "The data at hand are not those that this run was asked: its prompt or picture differed.") : null,
      detail.error ? element("div", { class: "block" }, element("h3", {}, "Error"),
        quoted(detail.error, "wrong-text")) : null,
      question || detail.asked ? block("Question", quoted(question)) : null,
      detail.hint ? block("Hint", quoted(detail.hint)) : null,
      Object.keys(detail.options).length ? block("Options", optionsOf(detail.options, gold)) : null,
      response === null ? null : block("Response", quoted(response, "response-text")),
      detail.final ? block(`Read as (${detail.final[1].join(", ") || "outer blanks"})`,
        quoted(detail.final[0], "response-text")) : null,
      gold.length ? block("Gold", goldOf(gold)) : null,
      detail.verdicts.length ? block("Scores", verdictsOf(detail)) : null,
      other ? await otherAnswer(other) : null,
      detail.asked ? block("Prompt, as asked", promptOf(detail)) : null,
      block("Costs and log", logOf(detail)),
    ),
  ];
}

function block(title, ...content) {
  return element("section", { class: "block" }, element("h3", {}, title), content);
}

function picturesOf(detail) {
  const shown = detail.pictures.map((picture, index) => pictureOf(picture, index));
  if (!shown.length && !detail.asked) shown.push(element("p", { class: "missing" },
    "The data set was not at hand when this report was made, so questions, prompts and pictures are missing. The first page says how to get them."));
  return element("div", { class: "pictures" }, shown);
}

function pictureOf(picture, index, className = "") {
  if (!picture.file) {
    return element("p", { class: "missing" }, `Picture ${index + 1}: ${picture.missing}`);
  }
  const image = element("img", {
    src: picture.file, width: picture.width, height: picture.height, alt: `Picture ${index + 1}`,
  });
  return element("button", {
    class: `picture ${className}`, title: `Enlarge (${picture.width} x ${picture.height})`,
    onclick: () => enlarge(picture, index),
  }, image);
}

function enlarge(picture, index) {
  const dialog = document.getElementById("picture");
  const image = element("img", { src: picture.file, alt: `Picture ${index + 1}`, class: "fitted",
    title: "Click: in its own size, or fitted", onclick: () => image.classList.toggle("fitted") });
  dialog.replaceChildren(
    element("form", { method: "dialog" },
      element("span", {}, `Picture ${index + 1}, ${picture.width} x ${picture.height}`),
      element("button", { autofocus: true }, "Close")),
    element("div", { class: "scroll" }, image));
  dialog.showModal();
}

function optionsOf(options, gold) {
  return element("ol", { class: "options" }, Object.entries(options).map(([letter, text]) =>
    element("li", {}, element("b", {}, letter), " ",
      element("span", { class: "text", dir: "auto" }, text),
      gold.includes(letter) ? element("span", { class: "chip right" }, "gold") : null)));
}

/** Equal gold answers stand once, with how many gave them. */
function goldOf(gold) {
  const numbers = new Map();
  for (const answer of gold) numbers.set(answer, (numbers.get(answer) ?? 0) + 1);
  const sorted = [...numbers].sort((a, b) => b[1] - a[1]);
  return element("ul", { class: "gold" }, sorted.map(([answer, number]) => element("li", {},
    element("span", { class: "text", dir: "auto" }, answer),
    number > 1 ? element("small", {}, ` \u00d7 ${number}`) : null)));
}

function verdictsOf(detail) {
  const rows = detail.verdicts.map(([profile, value, parsed, how], index) => element("tr", {},
    element("th", { scope: "row" }, profile),
    element("td", {}, scoreChip(value, 0)),
    element("td", {}, how === null ? element("span", { class: "quiet" }, "not at hand")
      : parsed === null ? element("span", { class: "chip failed" }, "unparsed")
        : quoted(readable(parsed), index ? "" : "parsed")),
    element("td", {}, how ?? "")));
  const group = detail.group && Object.entries(detail.group)
    .map(([profile, value]) => `${profile} ${grouped(value)}`).join(", ");
  return [
    element("div", { class: "scroll" }, element("table", { class: "verdicts" },
      element("thead", {}, element("tr", {}, ["rules", "score", "parsed answer", "how it was parsed"]
        .map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, rows))),
    group ? element("p", {}, `The whole circular group: ${group}`) : null,
  ];
}

async function otherAnswer({ run, address, table, position }) {
  if (position === undefined) {
    return block(`Beside it: ${run.title}`, element("p", {}, "This run does not have the sample."));
  }
  const [[, response], detail] = await Promise.all(
    [textsAt(table, position), detailAt(table, position)]);
  const [, , parsed, how] = detail.verdicts[0] ?? [null, null, null, null];
  return block(`Beside it: ${run.title}`,
    element("p", { class: "beside" }, scoreChip(table.score[position], table.flags[position]), " ",
      link(address, "open there")),
    response === null ? quoted(detail.error, "wrong-text") : quoted(response, "response-text"),
    how ? element("p", { class: "quiet" }, `parsed: ${parsed === null ? "nothing" : readable(parsed)} (${how})`) : null);
}

function promptOf(detail) {
  const { asked } = detail;
  const piece = (part) => typeof part === "number"
    ? pictureOf(detail.pictures[part], part, "inline")
    : element("span", { class: "text", dir: "auto" }, part);
  return [
    asked.messages.map(([role, pieces]) => element("div", { class: "message" },
      element("span", { class: "role" }, role), element("div", {}, pieces.map(piece)))),
    asked.answer_prefix ? element("div", { class: "message" },
      element("span", { class: "role" }, "assistant"),
      element("div", {}, element("span", { class: "text", dir: "auto" }, asked.answer_prefix),
        element("span", { class: "quiet" }, " (begins so)"))) : null,
    definitions([
      ["at most", `${asked.max_new_tokens} tokens`],
      ["stops at", listed(asked.stop)],
      ["never says", listed(asked.bad_words)],
      ["ranks", listed(asked.candidates)],
    ]),
  ];
}

function listed(texts) {
  return texts.map((text) => JSON.stringify(text)).join(", ");
}

function logOf(detail) {
  const names = { queue_s: "queueing", total_s: "in the run, with queueing" };
  const timings = Object.entries(detail.timings).map(([name, value]) =>
    [names[name] ?? name.replace(/_s$/, "").replaceAll("_", " "), seconds(value)]);
  const categories = Object.entries(detail.breakdown).map(
    ([dimension, names]) => [dimension.replaceAll("_", " "), names.join(", ")]);
  return definitions([
    ...categories,
    ["finish reason", detail.finish_reason],
    ["visual tokens", detail.visual_tokens],
    ["prompt tokens", detail.prompt_tokens],
    ["generated tokens", detail.generated_tokens],
    ...timings,
    ["attempt", detail.attempt > 1 ? detail.attempt : null],
    ["worker", detail.worker],
    ["answered", new Date(1000 * detail.time).toISOString().replace("T", " ").slice(0, 19) + " UTC"],
    ["prompt digest", detail.prompt],
  ]);
}
