"use strict";
/* The list of samples: only rows in sight are in the document, however many there are. */

const ROW_HEIGHT = 68;
const MAX_HEIGHT = 8_000_000; // browsers end an element somewhere above 16 million pixels
const SPARE_ROWS = 6;

class SampleList {
  constructor(onpick) {
    this.rows = new Uint32Array(0);
    this.chosen = -1;
    this.onpick = onpick;
    this.sizer = element("div", { class: "sizer" });
    this.node = element("div", {
      class: "list", role: "listbox", tabindex: "0", "aria-label": "Samples",
      onscroll: () => this.draw(),
    }, this.sizer);
    new ResizeObserver(() => this.draw()).observe(this.node);
  }

  /** Show these positions of the table, and keep the chosen one in sight. */
  show(table, rows, position) {
    this.table = table;
    this.rows = rows;
    this.chosen = rows.indexOf(position);
    this.sizer.style.height = `${this.height}px`;
    this.sizer.replaceChildren();
    this.reveal();
  }

  get height() {
    return Math.min(this.rows.length * ROW_HEIGHT, MAX_HEIGHT);
  }

  /** Where the list is scrolled to, in rows; above MAX_HEIGHT a pixel is more than its share. */
  get firstRow() {
    const room = this.height - this.node.clientHeight;
    if (room <= 0) return 0;
    const last = this.rows.length - this.node.clientHeight / ROW_HEIGHT;
    return Math.min(this.node.scrollTop / room, 1) * last;
  }

  scrollToRow(row) {
    const visible = this.node.clientHeight / ROW_HEIGHT;
    const room = this.height - this.node.clientHeight;
    const last = this.rows.length - visible;
    this.node.scrollTop = last > 0 ? (Math.min(row, last) / last) * room : 0;
  }

  reveal() {
    const visible = this.node.clientHeight / ROW_HEIGHT;
    const first = this.firstRow;
    if (this.chosen >= 0 && this.chosen < first) this.scrollToRow(this.chosen);
    else if (this.chosen > first + visible - 1) this.scrollToRow(this.chosen - visible + 1);
    this.draw();
  }

  /** Choose a row by its number in the list. */
  choose(row) {
    if (!this.rows.length) return;
    this.chosen = Math.max(0, Math.min(row, this.rows.length - 1));
    this.reveal();
    this.onpick(this.rows[this.chosen]);
  }

  move(step) {
    this.choose(this.chosen < 0 ? 0 : this.chosen + step);
  }

  draw() {
    if (!this.table) return;
    const first = this.firstRow;
    const start = Math.max(0, Math.floor(first) - SPARE_ROWS);
    const end = Math.min(this.rows.length,
      Math.ceil(first + this.node.clientHeight / ROW_HEIGHT) + SPARE_ROWS);
    const kept = new Map([...this.sizer.children].map((node) => [Number(node.dataset.row), node]));
    for (const [row, node] of kept) if (row < start || row >= end) node.remove();
    for (let row = start; row < end; row += 1) {
      const node = kept.get(row) ?? this.makeRow(row);
      node.style.top = `${this.node.scrollTop + (row - first) * ROW_HEIGHT}px`;
      node.setAttribute("aria-selected", row === this.chosen);
      if (!kept.has(row)) this.sizer.append(node);
    }
    const active = this.chosen >= start && this.chosen < end ? `row-${this.chosen}` : "";
    this.node.setAttribute("aria-activedescendant", active);
  }

  makeRow(row) {
    const { table } = this;
    const position = this.rows[row];
    const question = element("span", { class: "question", dir: "auto" });
    const response = element("bdi");
    const node = element("div", {
      class: "row", role: "option", id: `row-${row}`, "data-row": row,
      "aria-setsize": this.rows.length, "aria-posinset": row + 1,
      onclick: () => this.choose(row),
    },
    element("span", { class: "row-top" },
      element("span", { class: "row-id" }, table.ids[position]),
      scoreChip(table.score[position], table.flags[position])),
    question, element("span", { class: "response" }, response));
    textsAt(table, position).then(([asked, answered]) => {
      question.textContent = excerpt(asked);
      if (answered === null) return; // failed
      response.before("\u2192 ");
      response.textContent = answered === "" ? "(empty)" : excerpt(answered);
    }, (error) => say(error.message));
    return node;
  }
}

function excerpt(text) {
  return text.slice(0, 160).replace(/\s+/g, " ");
}
