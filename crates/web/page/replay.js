// Recorded pictures: from any instant on, across segments and gaps, reading a little ahead.

import { openPictures, whyClosed } from "./socket.js";
import { Sink, stepOver } from "./sink.js";

const TICK = 200;
/** Seconds of pictures to hold ahead, at normal speed. */
const AHEAD = 12;
/** Fragments asked for at once: each is up to 2 s. */
const MORE = 4;
const RETRY = 3000;
/** A recording that begins later than this after the instant that was asked for is said to. */
const LATER = 1500;

/** Plays from `from` (milliseconds). `tell(state, text)`: `waiting`, `playing`, `edge`, `failed`; `gap(gap)`: one was jumped over. */
export class Replay {
  constructor(video, path, from, { tell, gap }) {
    Object.assign(this, { video, path, from, tell, gap, rate: 1, held: false, stopped: false, told: null });
    this.ticker = setInterval(() => this.#tick(), TICK);
    this.#connect(from);
  }

  /** The camera's clock at the picture shown; where playing will begin before there is one. */
  wall() {
    return this.sought ?? this.sink?.wallAt(this.video.currentTime) ?? this.from;
  }

  hasSound() {
    return this.sink?.track?.audio ?? false;
  }

  pause() {
    this.held = true;
    this.video.pause();
  }

  play() {
    this.held = false;
    this.#start();
  }

  speed(rate) {
    this.rate = rate;
    this.video.playbackRate = rate;
  }

  /** Goes to another instant: at once if it is held, else by asking for it. */
  seek(wall) {
    const position = this.sink?.positionOf(wall) ?? null;
    if (position === null) {
      this.#connect(wall);
    } else {
      this.video.currentTime = position;
    }
  }

  stop() {
    this.stopped = true;
    clearInterval(this.ticker);
    clearTimeout(this.retry);
    this.#disconnect();
  }

  #connect(from) {
    this.#disconnect();
    clearTimeout(this.retry);
    this.from = from;
    this.sought = from;
    this.credit = 0;
    this.pending = null;
    this.atEdge = false;
    this.refusal = null;
    this.tell("waiting", "looking for the recording");
    const sink = new Sink(this.video, {
      behind: 60,
      failed: (text) => {
        this.#disconnect();
        this.tell("failed", text);
      },
    });
    this.sink = sink;
    this.pictures = openPictures(`${this.path}/play?from=${encodeURIComponent(new Date(from).toISOString())}`, {
      init: (mime, bytes) => sink.init(mime, bytes),
      fragment: (bytes, wall) => {
        this.credit -= 1;
        this.atEdge = false;
        sink.fragment(bytes, wall, this.pending);
        this.pending = null;
      },
      gap: (gap) => {
        this.pending = this.pending ? { ...gap, from: this.pending.from } : gap;
      },
      end: () => {
        this.atEdge = true;
      },
      error: (title) => {
        this.refusal = title;
      },
      closed: () => this.#lost(),
    });
    this.pictures.onopen(() => this.#ask());
  }

  #disconnect() {
    this.pictures?.close();
    this.pictures = null;
    this.sink?.close();
    this.sink = null;
  }

  #lost() {
    if (this.stopped) return;
    const at = this.wall();
    this.#disconnect();
    if (this.refusal) {
      this.tell("failed", this.refusal);
      return;
    }
    this.tell("waiting", `${whyClosed()}; trying again`);
    this.retry = setTimeout(() => this.#connect(at), RETRY);
  }

  #ask() {
    const full = this.sink && this.sink.ahead() + this.sink.work.length * 2 > AHEAD * Math.max(1, this.rate);
    if (!this.pictures || full || this.credit > 0) return;
    this.credit = MORE;
    this.pictures.want(MORE);
  }

  #tick() {
    const { video, sink } = this;
    if (!sink) return;
    this.#ask();
    if (sink.places.length === 0 || video.readyState < 1) return;
    if (this.sought !== null) this.#settle();
    stepOver(video);
    const place = sink.placeAt(video.currentTime);
    if (place?.note && place !== this.told) {
      this.told = place;
      this.gap(place.note);
    }
    const starved = video.readyState < 3 && sink.ahead() < 0.3;
    if (starved && this.atEdge) this.tell("edge", "this is the end of what is recorded so far");
    else if (starved) this.tell("waiting", "reading");
    else if (video.readyState >= 2) this.tell("playing", "");
    video.playbackRate = this.rate;
    this.#start();
  }

  /** The stream begins at the key frame before the instant that was asked for: the player begins at the instant itself. */
  #settle() {
    const { sink, video } = this;
    const position = sink.positionOf(this.sought);
    const [first] = sink.places;
    const passed = sink.places.at(-1).wall > this.sought;
    if (first.wall > this.sought + LATER) this.gap({ from: this.sought, to: first.wall, words: "nothing was recorded there" });
    if (position !== null) video.currentTime = position;
    if (position !== null || passed || this.atEdge) this.sought = null;
  }

  #start() {
    if (!this.held && this.sought === null && this.video.paused && this.video.readyState >= 2) this.video.play().catch(() => {});
  }
}
