// A stretch that is saved as one file, and what of it the file does not hold.

import { call } from "./api.js";
import { h } from "./dom.js";
import { duration } from "./format.js";
import { repeat } from "./repeat.js";
import { rowWords } from "./words.js";

/** How often it is asked whether the file has been sent. */
const LOOK = 2000;
/** Stretches that are listed; the rest is counted. */
const MOST = 20;
/** The server has forgotten a file, or another server sends it. */
const GIVE_UP = 3;
const LENGTHS = [[1, "1 minute"], [5, "5 minutes"], [15, "15 minutes"], [60, "1 hour"]];

/** The panel of one camera. `begins(length)`: where a clip of so many milliseconds begins. */
export class Clip {
  constructor(zone, path, begins) {
    Object.assign(this, { zone, path, begins });
    this.minutes = h("select", { "aria-label": "Length" }, LENGTHS.map(([value, name]) => h("option", { value }, name)));
    this.told = h("div", { class: "clip-told", role: "status" });
    const save = () => this.#save().catch((error) => this.#say(note("bad", error.message, error.hint)));
    this.element = h("section", { class: "panel" }, h("h2", {}, "Save a clip"),
      h("div", { class: "clip" }, this.minutes, h("button", { type: "button", onclick: save }, "Download MP4")),
      this.told,
      h("p", { class: "small" }, "Begins at the picture shown; while live, it is the time just past. Nothing is re-encoded."));
  }

  /** Asks no more, and tells no answer that is still under way. */
  stop() {
    this.asked = null;
    this.stopLooking?.();
  }

  async #save() {
    this.stop();
    this.#say();
    const asked = {};
    this.asked = asked;
    const length = this.minutes.value * 60e3;
    const from = this.begins(length);
    const query = new URLSearchParams({ from: new Date(from).toISOString(), to: new Date(from + length).toISOString() });
    const coverage = await call("GET", `${this.path}/coverage?${query}`);
    if (this.asked !== asked) return;
    const rows = coverage.rows.map((row) => ({ ...row, from: Date.parse(row.from), to: Date.parse(row.to) }));
    const recorded = rows.filter((row) => row.kind === "recorded");
    if (recorded.length === 0) {
      this.#say(note("warn", "Nothing was recorded there"));
      return;
    }
    const change = recorded.find((row, at) => at > 0 && row.tier !== recorded[at - 1].tier);
    if (change) {
      this.#say(note("warn", `The picture format changes at ${this.zone.time(change.from)}: save a clip up to there, and one from there on`));
      return;
    }
    const missing = rows.filter((row) => row.kind !== "recorded").map((row) => ({ ...row, words: rowWords(row) }));
    this.#send(query, this.#left("Not in the file, since it was not recorded:", missing));
  }

  /** Lets the browser save the file, and says how that ended: what cannot be read is known at its end only. */
  #send(query, gaps) {
    const asked = this.asked;
    const receipt = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const link = h("a", { href: `/api/v1${this.path}/export?${query}&receipt=${receipt}`, download: true });
    document.body.append(link);
    link.click();
    link.remove();
    this.#say(gaps, h("p", { class: "small" }, "The file is being sent"));
    let unknown = 0;
    this.stopLooking = repeat(async () => {
      let found;
      try {
        found = await call("GET", `${this.path}/exports/${receipt}`);
      } catch (error) {
        if (this.asked !== asked) return;
        unknown += error.status === 404 ? 1 : 0;
        if (unknown < GIVE_UP) return;
        this.stop();
        this.#say(gaps, h("p", { class: "small" }, "Whether all of it could be read is not known here"));
        return;
      }
      if (this.asked !== asked || found.state === "running") return;
      this.stop();
      this.#say(gaps, this.#ended(found, gaps === null));
    }, LOOK);
  }

  #ended({ state, unread }, isWhole) {
    if (state === "broken") return note("bad", "The file was not sent, or not to its end");
    if (unread.length > 0) {
      const rows = unread.map(({ from, to, why }) => ({ from: Date.parse(from), to: Date.parse(to), words: why }));
      return this.#left("Not in the file, since it cannot be read:", rows, "bad");
    }
    return h("p", { class: "small" }, isWhole ? "The file was sent, with all of the stretch" : "The file was sent, with all that was recorded");
  }

  /** What is missing, or `null`. */
  #left(words, rows, level = "warn") {
    if (rows.length === 0) return null;
    const rest = rows.length - MOST;
    const item = ({ from, to, words }) => h("li", {}, `${this.zone.time(from)} to ${this.zone.time(to)} (${duration(to - from)}): ${words}`);
    return h("div", { class: `note ${level}` }, words, h("ul", {}, rows.slice(0, MOST).map(item), rest > 0 && h("li", {}, `and ${rest} more`)));
  }

  #say(...said) {
    this.told.replaceChildren(...said.filter((part) => part !== null));
  }
}

function note(level, ...words) {
  return h("p", { class: `note ${level}` }, words.filter(Boolean).join(": "));
}
