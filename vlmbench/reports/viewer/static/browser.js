"use strict";
/* The samples of one task of a run: filters above, the list at the side, one sample beside it. */

class Browser {
  constructor(report, run, task, place) {
    this.report = report;
    this.run = run;
    this.task = task;
    this.place = place;
    this.list = new SampleList((position) => this.pick(position));
    this.count = element("p", { class: "count", role: "status" });
    this.bar = element("div", { class: "filters", role: "search" });
    this.pane = element("article", { class: "sample", tabindex: "-1" });
    this.drawn = 0;
    this.isFiltered = false; // by hand, since the list was last shown
    this.searched = { text: "", found: null };
    this.node = element("div", { class: "browser" },
      element("div", { class: "side" }, this.bar, this.count, this.list.node), this.pane);
  }

  async open() {
    document.getElementById("main").replaceChildren(this.node);
    document.getElementById("main").className = "samples";
    document.title = `${this.task.task} \u00b7 ${this.run.title} \u00b7 vlmbench report`;
    this.drawBar();
    this.count.textContent = "Reading the index ...";
    this.table = await openTable(this.task);
    await this.apply();
  }

  /** Go where an address of this run and task says. */
  async goTo(place) {
    const changed = JSON.stringify(place.filters) !== JSON.stringify(this.place.filters);
    this.place = place;
    if (!this.table) return;
    if (changed) {
      this.drawBar();
      await this.apply();
    } else this.showPlace();
  }

  /** Other runs that have this task. */
  get others() {
    return this.report.runs.flatMap((run) => run === this.run ? [] : run.tasks
      .filter((task) => task.task === this.task.task).map((task) => ({ run, task })));
  }

  get other() {
    return this.others.find(({ run }) => run.name === this.place.filters.vs);
  }

  set(filters) {
    this.place = { ...this.place, filters: { ...this.place.filters, ...filters } };
    if (!this.place.filters.vs) this.place.filters.diff = "";
    this.isFiltered = true;
    writeAddress(this.place);
    if (!("q" in filters)) this.drawBar();
    this.apply();
  }

  drawBar() {
    const { filters } = this.place;
    const dimensions = new Set(this.task.categories.map(([dimension]) => dimension));
    const groups = [...dimensions].map((dimension) => ({
      group: dimension.replaceAll("_", " "),
      choices: this.task.categories.filter(([known]) => known === dimension)
        .map(([, name]) => [`${dimension}:${name}`, name])
        .sort((a, b) => a[1].localeCompare(b[1])),
    }));
    const focused = document.activeElement?.closest(".field")?.firstChild.textContent;
    const searchBox = element("input", {
      type: "search", id: "search", placeholder: "question, response, gold, id",
      oninput: () => {
        clearTimeout(this.typing);
        this.typing = setTimeout(() => this.set({ q: searchBox.value }), 150);
      },
    });
    searchBox.value = filters.q;
    const parts = [
      element("label", { class: "field wide" }, element("span", {}, "search"), searchBox),
      dropdown("show", SHOW, filters.show, (show) => this.set({ show })),
      groups.length
        ? dropdown("category", [["", "every category"], ...groups], filters.in,
          (category) => this.set({ in: category })) : null,
      this.others.length
        ? dropdown("beside", [["", "no other run"], ...this.others.map(
          ({ run }) => [run.name, run.title])], filters.vs, (vs) => this.set({ vs })) : null,
      this.other
        ? dropdown("compare", [["", "all"], ...DIFFERENCES], filters.diff,
          (diff) => this.set({ diff })) : null,
      dropdown("sort by", SORTS, filters.sort, (sort) => this.set({ sort })),
      dropdown("order", [["", "ascending"], ["1", "descending"]], filters.desc,
        (desc) => this.set({ desc })),
    ];
    this.bar.replaceChildren(...parts.filter(Boolean));
    if (focused) {
      [...this.bar.children].find((field) => field.firstChild.textContent === focused)
        ?.lastChild.focus();
    }
  }

  /** Filter and sort anew; a search shows what it has found so far. */
  async apply() {
    const { filters } = this.place;
    if (!this.table) return;
    const other = this.other && await openTable(this.other.task);
    if (filters.q && this.searched.text !== filters.q) {
      await search(this.table, filters.q, (found, share) => {
        if (this.place.filters.q !== filters.q) return false; // somebody typed on
        if (share === 1) this.searched = { text: filters.q, found };
        this.showRows(other, found, share);
        return true;
      });
    } else this.showRows(other, filters.q ? this.searched.found : null, 1);
  }

  showRows(other, found, share) {
    const rows = selected(this.table, this.place.filters, other, found);
    const of = `of ${grouped(this.table.count)} samples`;
    this.count.textContent = share < 1
      ? `${grouped(rows.length)} ${of}, searching: ${Math.round(100 * share)} %`
      : `${grouped(rows.length)} ${of}`;
    this.rows = rows;
    if (this.isFiltered && share === 1) this.leaveHidden();
    this.showPlace();
  }

  /** A sample that a new filter hides is no longer the one to show. */
  leaveHidden() {
    this.isFiltered = false;
    const position = this.place.id === undefined ? undefined : positionOf(this.table, this.place.id);
    if (position === undefined || this.rows.includes(position)) return;
    this.place = { ...this.place, id: undefined };
    writeAddress(this.place);
  }

  /** Show the sample of the address; on wide screens the first one where it names none. */
  showPlace() {
    const { id } = this.place;
    let position = id === undefined ? undefined : positionOf(this.table, id);
    if (id !== undefined && position === undefined) say(`This run has no sample ${id}.`);
    if (position === undefined && !isNarrow()) position = this.rows[0];
    this.list.show(this.table, this.rows, position ?? -1);
    this.node.classList.toggle("has-sample", position !== undefined);
    if (position === undefined) {
      this.drawn += 1; // a sample still on its way would hide this
      this.pane.replaceChildren(element("p", { class: "quiet" },
        this.rows.length ? "Choose a sample." : "No sample passes these filters."));
    } else this.drawSample(position);
  }

  /** Somebody chose a sample in the list. */
  pick(position) {
    this.place = { ...this.place, id: this.table.ids[position] };
    writeAddress(this.place);
    this.node.classList.add("has-sample");
    this.drawSample(position);
  }

  async drawSample(position) {
    const id = this.table.ids[position];
    const turn = ++this.drawn;
    try {
      const parts = await sampleParts(this.table, position, await this.otherSample(id));
      if (turn !== this.drawn) return; // a later choice was quicker
      this.pane.replaceChildren(this.sampleHead(id, position), ...parts);
      this.pane.scrollTop = 0;
      say("");
    } catch (error) {
      say(error.message);
    }
  }

  async otherSample(id) {
    if (!this.other) return null;
    const { run, task } = this.other;
    const table = await openTable(task);
    const filters = { ...this.place.filters, vs: this.run.name };
    return { run, table, position: positionOf(table, id),
      address: addressOf({ run: run.name, task: task.task, id, filters }) };
  }

  sampleHead(id, position) {
    const flags = this.table.flags[position];
    const badge = (flag, text) => flags & flag
      ? element("span", { class: "chip failed" }, text) : null;
    const step = (label, by) =>
      element("button", { "aria-label": by < 0 ? "previous" : "next", onclick: () => this.list.move(by) }, label);
    return element("header", { class: "sample-head" },
      element("button", { class: "back", onclick: () => this.back() }, "\u2190 list"),
      element("h2", {}, link(addressOf({ ...this.place, id }), id)),
      scoreChip(this.table.score[position], flags),
      badge(UNPARSED, "unparsed"), badge(CUT_OFF, "cut off"),
      element("span", { class: "steps" }, step("\u2191", -1), step("\u2193", 1)));
  }

  /** To the list on narrow screens, else to the first page. */
  back() {
    if (isNarrow() && this.node.classList.contains("has-sample")) {
      this.place = { ...this.place, id: undefined };
      writeAddress(this.place);
      this.node.classList.remove("has-sample");
      this.list.reveal();
      this.list.node.focus();
    } else location.hash = "#/";
  }
}

function isNarrow() {
  return matchMedia("(max-width: 800px)").matches;
}
