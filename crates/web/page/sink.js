// Fragments into a <video> through MediaSource (ManagedMediaSource where the browser has only that, as iPhones do).
//
// The fragments of one sink follow each other without a hole on the video's own time line, whatever was skipped between them; `wallAt`
// gives the camera's clock for any position of it. Everything is appended in order, one thing at a time; what lies far behind is dropped.

import { readFragment, readInit } from "./boxes.js";

const Source = globalThis.ManagedMediaSource ?? globalThis.MediaSource;
/** Two fragments that part or overlap by less follow each other: sound and picture never end at the same instant. */
const JITTER = 0.25;
/** What is trimmed away at once, at least: trimming has its cost. */
const TRIM = 5;

/** Whether this browser can show pictures at all. */
export const canPlay = Boolean(Source);

class Unplayable extends Error {}

/** Pictures of one stream. `failed(text, final)` says that it cannot go on, `final` that trying again is of no use; `placed(place)` comes after each fragment. */
export class Sink {
  constructor(video, { behind, placed = () => {}, failed = () => {} }) {
    this.video = video;
    this.behind = behind;
    this.placed = placed;
    this.failed = failed;
    this.work = [];
    this.places = [];
    this.track = null;
    this.mime = null;
    this.offset = 0;
    this.end = 0;
    this.closed = false;
    this.source = new Source();
    this.source.addEventListener("sourceopen", () => this.#pump(), { once: true });
    this.url = null;
    this.broken = () => this.#fail("the browser could not read the pictures");
    video.addEventListener("error", this.broken);
    if (globalThis.ManagedMediaSource) {
      // It opens only where nothing can be sent on to a television.
      video.disableRemotePlayback = true;
      video.srcObject = this.source;
    } else {
      this.url = URL.createObjectURL(this.source);
      video.src = this.url;
    }
  }

  /** What follows has this format. */
  init(mime, bytes) {
    this.#add({ mime, bytes });
  }

  /** Pictures whose first was taken at `wall` (milliseconds). `note` is kept with their place. */
  fragment(bytes, wall, note = null) {
    this.#add({ bytes, wall, note });
  }

  /** Nothing follows: the last picture is shown too. */
  finish() {
    this.#add({ finish: true });
  }

  /** Seconds of pictures ahead of the one shown. */
  ahead() {
    return this.end - this.video.currentTime;
  }

  /** The place on the time line that holds a position. */
  placeAt(position) {
    return this.places.findLast((place) => place.at <= position + 0.001) ?? this.places[0] ?? null;
  }

  /** The camera's clock at a position of the time line, in milliseconds; `null` before the first picture. */
  wallAt(position) {
    const place = this.placeAt(position);
    return place && place.wall + Math.max(0, Math.min(position, place.end) - place.at) * 1000;
  }

  /** The position at which the camera's clock shows `wall`, if it is still held. */
  positionOf(wall) {
    const place = this.places.find((place) => wall >= place.wall && wall < place.wall + (place.end - place.at) * 1000);
    return place ? place.at + (wall - place.wall) / 1000 : null;
  }

  /** Lets go of everything. */
  close() {
    if (this.closed) return;
    this.closed = true;
    this.work = [];
    this.video.removeEventListener("error", this.broken);
    this.video.removeAttribute("src");
    this.video.srcObject = null;
    this.video.load();
    if (this.url) URL.revokeObjectURL(this.url);
  }

  #add(item) {
    if (this.closed) return;
    this.work.push(item);
    this.#pump();
  }

  #pump() {
    while (!this.closed && this.source.readyState === "open" && !this.buffer?.updating && this.work.length > 0) {
      try {
        if (!this.#step(this.work[0])) return;
        this.work.shift();
      } catch (error) {
        if (error.name === "QuotaExceededError" && this.#trim(2, 0)) return;
        this.#fail(error.message, error instanceof Unplayable);
      }
    }
  }

  /** Carries out one item; `false`: something else has to end first. */
  #step(item) {
    if (item.finish) {
      this.source.endOfStream();
      return true;
    }
    if (item.mime) {
      this.track = readInit(item.bytes);
      this.#format(item.mime);
      this.buffer.appendBuffer(item.bytes);
      return true;
    }
    if (!this.track) return true;
    if (this.#trim(this.behind, TRIM)) return false;
    const place = this.#place(item);
    this.buffer.appendBuffer(item.bytes);
    if (place) {
      this.end = place.end;
      this.places.push(place);
      this.placed(place);
    }
    return true;
  }

  #format(mime) {
    if (!Source.isTypeSupported(mime)) throw new Unplayable(`this browser cannot show ${codecsOf(mime)}: use a player with the stream's address`);
    if (!this.buffer) {
      this.buffer = this.source.addSourceBuffer(mime);
      this.buffer.addEventListener("updateend", () => this.#pump());
    } else if (mime !== this.mime) {
      this.buffer.changeType(mime);
    }
    this.mime = mime;
  }

  #place({ bytes, wall, note }) {
    const run = readFragment(bytes, this.track);
    if (!run) return null;
    if (this.places.length === 0 || Math.abs(run.start + this.offset - this.end) > JITTER) {
      this.offset = this.end - run.start;
      this.buffer.timestampOffset = this.offset;
    }
    return { at: run.start + this.offset, end: run.end + this.offset, wall, note };
  }

  /** Drops what lies more than `behind` seconds back, if that is more than `least`; `true`: it is at it. */
  #trim(behind, least) {
    const held = this.buffer?.buffered;
    const until = this.video.currentTime - behind;
    if (!held?.length || until - held.start(0) <= least) return false;
    this.buffer.remove(0, until);
    this.places = this.places.filter((place) => place.end > until);
    return true;
  }

  #fail(text, final = false) {
    if (this.closed) return;
    this.work = [];
    this.failed(text, final);
  }
}

function codecsOf(mime) {
  const codecs = /codecs="([^"]*)"/.exec(mime)?.[1] ?? mime;
  return /hvc1|hev1/.test(codecs) ? "H.265" : codecs;
}

/** Steps over what the browser cannot play through: the start of a time line, a hole of a few milliseconds. `true` if it did. */
export function stepOver(video) {
  const { buffered, currentTime } = video;
  for (let range = 0; range < buffered.length; range += 1) {
    if (currentTime < buffered.start(range)) {
      video.currentTime = buffered.start(range);
      return true;
    }
    if (currentTime < buffered.end(range) - 0.05) return false;
  }
  return false;
}
