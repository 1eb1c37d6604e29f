// The picture with its clock and its buttons: live, or recorded from some instant on.

import { h, iconButton, relabel, say } from "./dom.js";
import { duration } from "./format.js";
import { Live } from "./live.js";
import { Replay } from "./replay.js";
import { canPlay } from "./sink.js";
import { causeWords } from "./words.js";
import { serverNow } from "./api.js";

const TICK = 200;
const SKIP = 10_000;
/** How long an announcement stays. */
const NOTICE = 6000;
const SPEEDS = ["1", "2", "4"];

/**
 * The stage of one camera. `moved(ms, isLive)` tells several times a second which instant is shown; `chose(ms)` that somebody went to it; `link()`
 * that somebody wants its address. */
export class Stage {
  constructor(zone, path, { moved, chose, link }) {
    Object.assign(this, { zone, path, moved, chose, player: null, trouble: null });
    this.video = h("video", { playsinline: true, muted: true, "aria-label": "Camera picture" });
    this.video.muted = true;
    this.clock = h("time", { class: "clock" });
    this.badge = h("span", { class: "badge" });
    this.state = h("p", { class: "stage-state", hidden: true });
    this.notice = h("p", { class: "notice", hidden: true });
    this.frame = h("div", { class: "frame", ondblclick: () => this.#fullScreen() }, this.video,
      h("div", { class: "overlay" }, this.badge, this.clock), this.state, this.notice);
    this.toggle = iconButton("pause", "Pause", () => this.#toggle());
    this.back = iconButton("back", "Back 10 s", () => this.#skip(-SKIP));
    this.ahead = iconButton("ahead", "Ahead 10 s", () => this.#skip(SKIP));
    this.sound = iconButton("mute", "Sound on", () => this.#sound(), { hidden: true });
    this.liveButton = h("button", { type: "button", class: "go-live", onclick: () => this.chose(null) }, h("i", { class: "dot" }), "Live");
    this.speed = h("select", { "aria-label": "Speed", onchange: () => this.player?.speed?.(Number(this.speed.value)) }, SPEEDS.map((value) => h("option", { value }, `${value}×`)));
    this.element = h("section", { class: "stage", "aria-label": "Picture" }, this.frame,
      h("div", { class: "controls" }, this.toggle, this.back, this.ahead, this.liveButton, h("span", { class: "space" }), this.speed, this.sound,
        iconButton("link", "Copy link to this moment", link), iconButton("full", "Full screen", () => this.#fullScreen())));
    this.ticker = setInterval(() => this.#tick(), TICK);
  }

  /** Whether live pictures are shown. */
  get isLive() {
    return this.player instanceof Live;
  }

  /** The instant that is shown, in milliseconds; `null` before the first live picture. */
  wall() {
    return this.player?.wall() ?? null;
  }

  /** Shows live pictures. */
  live() {
    this.#show((tell) => new Live(this.video, `${this.path}/live`, tell));
  }

  /** Shows what was recorded from `ms` on. */
  replay(ms) {
    if (this.player instanceof Replay) {
      this.player.seek(ms);
      this.player.play();
      this.#dress();
      return;
    }
    this.#show((tell) => new Replay(this.video, this.path, ms, { tell, gap: (gap) => this.#jumped(gap) }));
    this.player.speed(Number(this.speed.value));
  }

  /** Ends everything. */
  stop() {
    clearInterval(this.ticker);
    clearTimeout(this.noticed);
    this.player?.stop();
    this.player = null;
  }

  #show(make) {
    this.player?.stop();
    this.player = null;
    this.notice.hidden = true;
    this.video.playbackRate = 1;
    if (!canPlay) {
      this.#told("failed", "this browser cannot play streams: use a player with the stream's address");
      return;
    }
    this.player = make((state, text) => this.#told(state, text));
    this.#dress();
    this.explain(this.trouble);
  }

  #dress() {
    this.badge.textContent = this.isLive ? "Live" : "Recorded";
    this.badge.classList.toggle("on", this.isLive);
    this.#mark();
    this.liveButton.setAttribute("aria-pressed", String(this.isLive));
    this.speed.hidden = this.isLive;
    this.ahead.disabled = this.isLive;
  }

  /** Why no pictures can be expected; `null`: they can. */
  explain(trouble) {
    this.trouble = trouble;
    if (this.frame.dataset.state === "waiting") this.#told("waiting", this.waiting);
  }

  /** What does not play is not live. */
  #mark() {
    this.badge.hidden = this.isLive && this.frame.dataset.state !== "playing";
  }

  #told(state, said) {
    this.frame.dataset.state = state;
    const shown = state !== "playing";
    this.waiting = said;
    const text = state === "waiting" && this.isLive && this.trouble ? this.trouble : said;
    this.state.hidden = !shown;
    this.#mark();
    if (shown && this.state.textContent !== text) {
      this.state.textContent = text;
      say(text);
    }
  }

  #jumped(gap) {
    this.announce(`Jumped over ${duration(gap.to - gap.from)}, ${this.zone.time(gap.from)} to ${this.zone.time(gap.to)}: ${gap.words ?? causeWords(gap.cause)}`);
  }

  /** Shows a text over the picture for a while. */
  announce(text) {
    this.notice.textContent = text;
    this.notice.hidden = false;
    say(text);
    clearTimeout(this.noticed);
    this.noticed = setTimeout(() => {
      this.notice.hidden = true;
    }, NOTICE);
  }

  #tick() {
    const wall = this.wall();
    const held = this.player?.held ?? false;
    this.clock.textContent = wall === null ? "" : this.zone.moment(wall, serverNow());
    if (wall !== null) this.clock.dateTime = new Date(wall).toISOString();
    relabel(this.toggle, held ? "play" : "pause", held ? "Play" : "Pause");
    this.sound.hidden = !this.player?.hasSound();
    this.moved(wall, this.isLive);
  }

  #toggle() {
    if (this.player?.held) this.player.play();
    else this.player?.pause();
    this.#tick();
  }

  #skip(by) {
    const wall = this.wall() ?? serverNow();
    this.chose(wall + by);
  }

  #sound() {
    this.video.muted = !this.video.muted;
    relabel(this.sound, this.video.muted ? "mute" : "sound", this.video.muted ? "Sound on" : "Sound off");
  }

  #fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (this.frame.requestFullscreen) this.frame.requestFullscreen().catch(() => {});
    // Phones that let nothing but a video fill the screen.
    else this.video.webkitEnterFullscreen?.();
  }
}
