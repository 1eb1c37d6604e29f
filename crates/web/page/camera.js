// One camera: its picture, its day, what it is doing and how to watch it elsewhere.

import { call, cameraPath, serverNow } from "./api.js";
import { addresses, copyText } from "./address.js";
import { Clip } from "./clip.js";
import { h, iconButton } from "./dom.js";
import { duration, Zone } from "./format.js";
import { foundPath, isTight, keptWords, linkWords, list, notes, notices, pill, safeWords, silenceWords, streamWords, troubleWords } from "./facts.js";
import { repeat, report } from "./repeat.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";
import { rowWords } from "./words.js";

const REFRESH = 3000;
const COVERAGE = 6000;
const MOST_GAPS = 200;

/** The page of camera `id`, live, or at the instant `at` (milliseconds). */
export async function camera(id, at, me) {
  const path = cameraPath(id);
  const first = await call("GET", path);
  const view = new View(first, path, me);
  await view.start(at);
  return { title: first.title, element: view.element, stop: () => view.stop() };
}

class View {
  constructor(camera, path, me) {
    Object.assign(this, { camera, path, shownState: null });
    this.zone = new Zone(camera.timezone);
    this.heading = h("h1", { tabindex: "-1" }, camera.title);
    this.pills = h("span", { class: "pills" });
    this.stage = new Stage(this.zone, path, { moved: (ms, isLive) => this.#moved(ms, isLive), chose: (ms) => this.#go(ms), link: () => this.#copyLink() });
    this.timeline = new Timeline(this.zone, { play: (ms) => this.#go(ms) });
    this.clip = new Clip(this.zone, path, (length) => (this.stage.isLive ? null : this.stage.wall()) ?? serverNow() - length);
    this.facts = h("div", {});
    this.gaps = h("div", { class: "gaps" });
    this.dayName = h("span", { class: "day-name" });
    this.date = h("input", { type: "date", "aria-label": "Day", onchange: () => this.date.value && this.#day(this.date.value).catch(report) });
    this.previous = iconButton("left", "Day before", () => this.#day(Zone.shift(this.date.value, -1)).catch(report));
    this.next = iconButton("right", "Day after", () => this.#day(Zone.shift(this.date.value, 1)).catch(report));
    this.element = h("div", { class: "camera" },
      h("div", { class: "head" }, h("a", { href: "/", "data-link": true, class: "up" }, "Cameras"), this.heading, this.pills),
      h("div", { class: "columns" },
        h("div", { class: "left" }, this.stage.element,
          h("section", { class: "day", "aria-label": "Recordings" },
            h("div", { class: "day-head" }, h("div", { class: "picker" }, this.previous, this.date, this.next), this.dayName),
            this.timeline.element, this.gaps)),
        h("div", { class: "right" }, h("section", { class: "panel" }, this.facts), this.clip.element, addresses(camera, me))));
  }

  async start(at) {
    this.#state(this.camera);
    this.#go(at, false);
    // A store that does not answer takes the day away, and not the live picture.
    await this.#day(this.zone.date(at ?? serverNow())).catch(report);
    this.stops = [repeat(() => this.#refresh(), REFRESH), repeat(() => this.#midnight() ?? this.#coverage(), COVERAGE)];
  }

  stop() {
    this.stops?.forEach((stop) => stop());
    this.stage.stop();
    this.timeline.stop();
    this.clip.stop();
  }

  async #refresh() {
    this.camera = await call("GET", this.path);
    this.#state(this.camera);
  }

  #state(camera) {
    const now = serverNow();
    const silence = silenceWords(camera, this.zone, now);
    const kept = keptWords(camera);
    const said = camera.status?.said.map(([key, value]) => `${key} ${value}`).join(", ");
    const link = camera.status?.link;
    const pairs = [
      ["Connection", linkWords(camera, this.zone, now)],
      ["Stream", streamWords(camera)],
      ["Path", foundPath(camera)],
      ["Recording", safeWords(camera, this.zone, now)],
      ["Kept", isTight(camera) ? h("span", { class: "tight" }, kept) : kept],
      ["Place", camera.site],
      ["Clock", camera.timezone],
      ["From", link?.state === "up" && link.peer ? link.peer : null],
      ["Camera says", said],
    ];
    const key = JSON.stringify([pairs.map(([, value]) => (typeof value === "string" ? value : kept)), silence, camera.notes, camera.status?.notices, camera.enabled]);
    if (key === this.shownState) return;
    this.shownState = key;
    this.stage.explain(troubleWords(camera));
    this.pills.replaceChildren(pill(camera));
    this.facts.replaceChildren(h("h2", {}, "Now"), ...(silence ? [h("p", { class: "note bad" }, silence)] : []), ...notes(camera), ...notices(camera, this.zone, now), list(pairs));
  }

  /** Shows a day's coverage. */
  async #day(date) {
    const today = this.zone.date(serverNow());
    const shown = date > today ? today : date;
    this.date.value = shown;
    this.date.max = today;
    this.date.min = this.zone.date(Date.parse(this.camera.created) - 86400e3);
    this.next.disabled = shown >= today;
    const from = this.zone.dayStart(shown);
    const to = this.zone.dayStart(Zone.shift(shown, 1));
    this.range = { from, to };
    this.dayName.textContent = this.zone.dayName((from + to) / 2);
    // Today's keyboard begins and zoom looks at what is live, also before its first picture is there.
    this.timeline.setDay(from, to, this.stage.wall() ?? (shown === today ? serverNow() : from + 12 * 3600e3));
    await this.#coverage(true);
  }

  /** The page may stay open over midnight: there is another day to choose, and who watches live has come into it. */
  #midnight() {
    const [today, last] = [this.zone.date(serverNow()), this.date.max];
    if (today === last) return;
    if (this.stage.isLive && this.date.value === last) return this.#day(today);
    this.date.max = today;
    this.next.disabled = this.date.value >= today;
  }

  async #coverage(always = false) {
    const { from, to } = this.range;
    // A day that is over does not change any more.
    if (!always && to < serverNow() - 3600e3) return;
    const query = new URLSearchParams({ from: new Date(from).toISOString(), to: new Date(to).toISOString() });
    const coverage = await call("GET", `${this.path}/coverage?${query}`);
    if (this.range.from !== from) return;
    this.timeline.setRows(coverage.rows, Date.parse(coverage.now));
    this.#gapList();
  }

  #gapList() {
    const gaps = this.timeline.gaps();
    const isEmpty = this.timeline.isEmpty();
    const key = JSON.stringify([isEmpty, gaps.map((gap) => [gap.from, gap.open ? 0 : gap.to, gap.cause])]);
    if (key === this.shownGaps) return;
    this.shownGaps = key;
    const open = this.gaps.querySelector("details")?.open ?? false;
    const items = gaps.slice(-MOST_GAPS).map((gap) => h("li", {},
      h("button", { type: "button", class: "quiet", onclick: () => this.#go(Math.max(this.range.from, gap.from - 5000)) }, `${this.zone.time(gap.from)} to ${gap.open ? "now" : this.zone.time(gap.to)}`),
      ` ${gap.open ? "" : `(${duration(gap.to - gap.from)}) `}${rowWords(gap)}`));
    const none = isEmpty ? "Nothing was recorded on this day" : "No gaps on this day";
    const summary = gaps.length === 0 ? none : `${gaps.length} ${gaps.length === 1 ? "gap" : "gaps"} on this day`;
    this.gaps.replaceChildren(gaps.length === 0 ? h("p", { class: "small" }, summary) : h("details", { open }, h("summary", {}, summary), h("ul", {}, items)));
  }

  /** Plays from an instant, or live where it is `null` or not yet. */
  #go(ms, remember = true) {
    const isLive = ms === null || ms >= serverNow() - 1000;
    if (isLive) this.stage.live();
    else this.stage.replay(Math.round(ms));
    if (remember) history.replaceState(null, "", this.#address(isLive ? null : ms));
    if (remember && this.range) {
      const date = this.zone.date(isLive ? serverNow() : ms);
      if (date !== this.date.value) this.#day(date).catch(report);
    }
  }

  #address(ms) {
    const camera = `/?camera=${encodeURIComponent(this.camera.id)}`;
    return ms === null ? camera : `${camera}&t=${new Date(Math.round(ms)).toISOString()}`;
  }

  #moved(ms, isLive) {
    this.timeline.setPlayhead(isLive ? Math.min(ms ?? serverNow(), serverNow()) : ms);
  }

  async #copyLink() {
    const link = location.origin + this.#address(this.stage.wall() ?? serverNow());
    this.stage.announce(await copyText(link) ? "The link to this moment is copied" : link);
  }
}
