// Live pictures: close to now, and back again after whatever interrupts them.

import { openPictures, whyClosed } from "./socket.js";
import { Sink, stepOver } from "./sink.js";

/** Seconds behind the newest picture: more is caught up by playing a little faster, … */
const RELAXED = 1.5;
/** … and more than this by a jump to … */
const LATE = 3;
/** … so many seconds before the newest picture. */
const EDGE = 0.4;
const TICK = 250;
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15_000;
/** Pictures that stop coming for this long are reported. */
const QUIET = 6000;

/** Plays a camera live in `video`. `tell(state, text)`: `waiting`, `playing`, `lost`, `failed`. */
export class Live {
  constructor(video, path, tell) {
    this.video = video;
    this.path = path;
    this.tell = tell;
    this.wait = FIRST_WAIT;
    this.stopped = false;
    this.ticker = setInterval(() => this.#tick(), TICK);
    this.#connect();
  }

  /** The camera's clock at the picture shown. */
  wall() {
    return this.sink?.wallAt(this.video.currentTime) ?? null;
  }

  /** Whether the stream has sound. */
  hasSound() {
    return this.sink?.track?.audio ?? false;
  }

  pause() {
    this.held = true;
    this.video.pause();
  }

  play() {
    this.held = false;
    this.#jump();
    this.#start();
  }

  stop() {
    this.stopped = true;
    clearInterval(this.ticker);
    clearTimeout(this.retry);
    this.#disconnect();
  }

  #connect() {
    this.#disconnect();
    this.tell("waiting", "waiting for the first picture");
    this.refusal = null;
    this.last = null;
    this.sink = new Sink(this.video, {
      behind: 10,
      placed: () => {
        this.last = performance.now();
        this.wait = FIRST_WAIT;
      },
      failed: (text, final) => {
        this.refusal = text;
        if (!final) return this.#lost();
        this.#disconnect();
        return this.tell("failed", text);
      },
    });
    const sink = this.sink;
    this.pictures = openPictures(this.path, {
      init: (mime, bytes) => sink.init(mime, bytes),
      fragment: (bytes, wall) => sink.fragment(bytes, wall),
      error: (title) => {
        this.refusal = title;
      },
      closed: () => this.#lost(),
    });
  }

  #disconnect() {
    this.pictures?.close();
    this.pictures = null;
    this.sink?.close();
    this.sink = null;
  }

  #lost() {
    this.#disconnect();
    if (this.stopped) return;
    const wait = this.wait * (0.75 + Math.random() / 2);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    this.tell("lost", `${this.refusal ?? whyClosed()}; trying again`);
    this.retry = setTimeout(() => this.#connect(), wait);
  }

  #tick() {
    const { video, sink } = this;
    if (!sink || this.last === null) return;
    if (performance.now() - this.last > QUIET) this.tell("waiting", "no pictures come at the moment");
    else if (video.readyState >= 2) this.tell("playing", "");
    if (this.held) return;
    if (!stepOver(video) && sink.ahead() > LATE) this.#jump();
    video.playbackRate = sink.ahead() > RELAXED ? 1.1 : 1;
    this.#start();
  }

  #jump() {
    const { buffered } = this.video;
    if (buffered.length === 0) return;
    const last = buffered.length - 1;
    this.video.currentTime = Math.max(buffered.start(last), buffered.end(last) - EDGE);
  }

  #start() {
    // A browser may refuse to play with sound before anybody has touched the page; the page begins muted.
    if (this.video.paused && this.video.readyState >= 2) this.video.play().catch(() => {});
  }
}
