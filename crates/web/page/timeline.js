// One camera's day as a bar: what is recorded, what is missing and why. A slider for mouse, finger and keyboard.

import { h, iconButton } from "./dom.js";
import { duration } from "./format.js";
import { KINDS, kindOf, rowWords } from "./words.js";

/** Lengths of the window, in milliseconds. The whole day comes first. */
const ZOOMS = [["Day", Infinity], ["6 h", 6 * 3600e3], ["1 h", 3600e3], ["10 min", 600e3]];
/** Distances of two ticks, in milliseconds. */
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360].map((minutes) => minutes * 60e3);
/** CSS pixels from one tick to the next, at least. */
const TICK_WIDTH = 74;
/** CSS pixels that a tick's label takes: nearer to the end of the bar it would be cut off. */
const LABEL_WIDTH = 43;
/** A recording that began less than this ago is not to be seen on a bar of a whole day. */
const YOUNG = 40 * 60e3;
/** What was taken less than this ago is still on its way to the disk. */
const JUST = 20e3;

/** The bar. `play(ms)` is called when somebody chooses an instant. */
export class Timeline {
  constructor(zone, { play }) {
    this.zone = zone;
    this.play = play;
    this.rows = [];
    this.now = 0;
    this.playhead = null;
    this.zoom = 0;
    this.layer = h("div", { class: "rows" });
    this.head = h("div", { class: "playhead", hidden: true });
    this.mark = h("div", { class: "cursor", hidden: true });
    this.bar = h("div", {
      class: "bar", role: "slider", tabindex: "0", "aria-label": "Time of day; Enter plays from there", "aria-describedby": "timeline-keys",
      onpointerdown: (event) => this.#grab(event), onpointermove: (event) => this.#hover(event), onpointerup: (event) => this.#drop(event),
      onpointerleave: () => this.#leave(), onkeydown: (event) => this.#key(event), onblur: () => this.#leave(), onfocus: () => this.#show(this.cursor),
    }, this.layer, this.head, this.mark);
    this.ticks = h("div", { class: "ticks", "aria-hidden": "true" });
    this.told = h("p", { class: "told" });
    this.legend = h("ul", { class: "legend", "aria-label": "Colours" });
    this.zooms = ZOOMS.map(([name], index) => h("button", { type: "button", onclick: () => this.#zoomTo(index) }, name));
    this.earlier = iconButton("left", "Earlier", () => this.#pan(-1));
    this.later = iconButton("right", "Later", () => this.#pan(1));
    this.element = h("div", { class: "timeline" },
      h("div", { class: "timeline-head" }, this.told, h("div", { class: "zoom", role: "group", "aria-label": "Length of the bar" }, this.earlier, ...this.zooms, this.later)),
      this.bar, this.ticks, this.legend,
      h("p", { id: "timeline-keys", class: "keys" }, "Click the bar to play from there. Keys: arrows 1 min (with Shift 10 s), Page up and down 1 h, Home and End, Enter plays, + and − zoom."));
    this.sizes = new ResizeObserver(() => this.#draw());
    this.sizes.observe(this.bar);
  }

  /** Shows a day; `cursor` is where the keyboard begins. */
  setDay(from, to, cursor) {
    Object.assign(this, { from, to, rows: [], fresh: true });
    this.cursor = Math.max(from, Math.min(cursor, to - 1000));
    this.zoom = 0;
    this.#window(this.cursor);
  }

  /** Shows its coverage; `now` is the server's clock. */
  setRows(rows, now) {
    this.rows = rows.map((row) => ({ ...row, from: Date.parse(row.from), to: Date.parse(row.to), shade: kindOf(row) }));
    this.now = now;
    const first = this.rows.find((row) => row.kind === "recorded")?.from;
    // A recording that has just begun would be too narrow to click: the bar zooms in once, unless somebody has chosen a length.
    if (this.fresh && first !== undefined) {
      if (now < this.to && now - first < YOUNG) {
        this.zoom = now - first < 7 * 60e3 ? 3 : 2;
        this.#window(now);
      }
      this.fresh = false;
    }
    this.#legend();
    this.#draw();
  }

  /** Shows where the pictures are that are played; the window follows. */
  setPlayhead(ms) {
    const left = this.playhead !== null && ms !== null && this.playhead < this.end && ms >= this.end && ms < this.to;
    this.playhead = ms;
    if (ms !== null && !this.bar.matches(":focus-visible")) this.cursor = Math.max(this.from, Math.min(ms, this.to - 1000));
    if (left && this.zoom > 0) this.#window(ms + (this.end - this.begin) * 0.4);
    this.#at(this.head, ms);
    if (!this.busy) this.#value(this.cursor);
  }

  /** Whether nothing is known of the day: the camera was not there yet. */
  isEmpty() {
    return this.rows.length === 0;
  }

  /** The stretches without media. */
  gaps() {
    return this.rows.filter((row) => row.kind === "gap" || row.kind === "unexplained");
  }

  /** Lets go of everything. */
  stop() {
    this.sizes.disconnect();
  }

  #window(centre) {
    const length = Math.min(ZOOMS[this.zoom][1], this.to - this.from);
    this.begin = Math.max(this.from, Math.min(centre - length / 2, this.to - length));
    this.end = this.begin + length;
    this.zooms.forEach((button, index) => button.setAttribute("aria-pressed", String(index === this.zoom)));
    this.earlier.disabled = this.begin <= this.from;
    this.later.disabled = this.end >= this.to;
    this.#draw();
  }

  #zoomTo(index) {
    this.fresh = false;
    this.zoom = Math.max(0, Math.min(index, ZOOMS.length - 1));
    this.#window(this.cursor);
  }

  #pan(direction) {
    this.#window((this.begin + this.end) / 2 + direction * (this.end - this.begin) * 0.8);
  }

  #draw() {
    if (!this.to) return;
    const scale = 100 / (this.end - this.begin);
    const shown = this.rows.filter((row) => row.to > this.begin && row.from < this.end);
    this.layer.replaceChildren(...shown.map((row) => {
      const from = Math.max(row.from, this.begin);
      const piece = h("i", { class: `row ${row.shade}` });
      piece.style.left = `${(from - this.begin) * scale}%`;
      piece.style.width = `${(Math.min(row.to, this.end) - from) * scale}%`;
      return piece;
    }));
    if (this.now && this.now < this.end) {
      const future = h("i", { class: "row future" });
      future.style.left = `${Math.max(0, this.now - this.begin) * scale}%`;
      future.style.right = "0";
      this.layer.append(future);
    }
    this.#at(this.head, this.playhead);
    this.#ticks(scale);
    this.#value(this.cursor);
  }

  #ticks(scale) {
    const room = Math.max(2, Math.floor(this.bar.clientWidth / TICK_WIDTH));
    const step = STEPS.find((step) => (this.end - this.begin) / step <= room) ?? STEPS.at(-1);
    const labels = [];
    const last = 100 - (100 * LABEL_WIDTH) / Math.max(this.bar.clientWidth, TICK_WIDTH);
    for (let at = this.from + Math.ceil((this.begin - this.from) / step) * step; at <= this.end && (at - this.begin) * scale < last; at += step) {
      const label = h("span", {}, this.zone.minute(at));
      label.style.left = `${(at - this.begin) * scale}%`;
      labels.push(label);
    }
    this.ticks.replaceChildren(...labels);
  }

  #legend() {
    const used = new Set(this.rows.map((row) => row.shade));
    this.legend.replaceChildren(...Object.entries(KINDS).filter(([kind]) => used.has(kind)).map(([kind, name]) => h("li", {}, h("i", { class: `swatch ${kind}` }), name)));
  }

  #at(element, ms) {
    const inside = ms !== null && ms !== undefined && ms >= this.begin && ms <= this.end;
    element.hidden = !inside;
    if (inside) element.style.left = `${((ms - this.begin) / (this.end - this.begin)) * 100}%`;
  }

  #words(ms) {
    const isNow = Math.abs(ms - this.now) < JUST;
    // A gap that goes on has no end yet.
    const row = this.rows.find((row) => ms >= row.from && (ms < row.to || (row.open && isNow)));
    const time = this.zone.time(ms);
    if (!row && isNow) return `${time} now`;
    if (!row) return `${time} ${this.now && ms >= this.now ? "not yet" : "nothing was recorded"}`;
    const stretch = row.kind === "gap" ? ` (${this.zone.time(row.from)} to ${row.open ? "now" : this.zone.time(row.to)}, ${duration(row.to - row.from)})` : "";
    return `${time} ${rowWords(row)}${stretch}`;
  }

  #value(ms) {
    this.told.textContent = this.#words(ms);
    const attributes = { min: this.from, max: this.to, now: Math.round(ms), text: this.told.textContent };
    for (const [name, value] of Object.entries(attributes)) this.bar.setAttribute(`aria-value${name}`, value);
  }

  #show(ms) {
    this.busy = true;
    this.#at(this.mark, ms);
    this.#value(ms);
  }

  #leave() {
    if (this.bar.matches(":focus-visible") || this.held) return;
    this.busy = false;
    this.mark.hidden = true;
    this.#value(this.cursor);
  }

  #instant(event) {
    const box = this.bar.getBoundingClientRect();
    const part = Math.max(0, Math.min((event.clientX - box.left) / box.width, 1));
    return Math.min(this.begin + part * (this.end - this.begin), this.to - 1);
  }

  #grab(event) {
    if (event.button !== 0) return;
    this.held = true;
    this.bar.setPointerCapture(event.pointerId);
    this.#show(this.#instant(event));
  }

  #hover(event) {
    this.#show(this.#instant(event));
  }

  #drop(event) {
    if (!this.held) return;
    this.held = false;
    this.cursor = this.#instant(event);
    if (event.pointerType !== "mouse") this.#leave();
    this.#choose();
  }

  #choose() {
    if (!this.now || this.cursor < this.now) this.play(this.cursor);
  }

  #key(event) {
    const steps = {
      ArrowLeft: -60e3, ArrowRight: 60e3, ArrowDown: -60e3, ArrowUp: 60e3, PageUp: -3600e3, PageDown: 3600e3, Home: -Infinity, End: Infinity,
    };
    if (event.key in steps) {
      const step = event.shiftKey ? Math.sign(steps[event.key]) * 10e3 : steps[event.key];
      const last = Math.min(this.to, this.now || this.to) - 1000;
      this.cursor = Math.max(this.from, Math.min(this.cursor + step, last));
      if (this.cursor < this.begin || this.cursor > this.end) this.#window(this.cursor);
      this.#show(this.cursor);
    } else if (event.key === "Enter" || event.key === " ") this.#choose();
    else if (event.key === "+") this.#zoomTo(this.zoom + 1);
    else if (event.key === "-") this.#zoomTo(this.zoom - 1);
    else return;
    event.preventDefault();
  }
}
