// Numbers and times as people read them.

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** `3 h 12 min`: the two largest units. */
export function duration(ms) {
  let rest = Math.max(0, Math.round(ms / 1000));
  const parts = [];
  for (const [unit, seconds] of UNITS) {
    const count = Math.floor(rest / seconds);
    rest -= count * seconds;
    if (count > 0) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ") || "0 s";
}

/** What is wrong and what to do about it, as a sentence that stands alone: the API's texts begin in lower case, to follow others. */
export function trouble({ message, hint }) {
  const text = hint ? `${message}: ${hint}` : message;
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** `1.9 Mbit/s`. */
export function bitrate(bits) {
  return bits >= 1e6 ? `${(bits / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bits / 1e3)} kbit/s`;
}

/** `12.3 GB`. */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit < 2 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

/** The wall clock of a camera: its days and hours, wherever the reader sits. */
export class Zone {
  constructor(name) {
    const make = (zone) => new Intl.DateTimeFormat("en-GB", {
      timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit",
      hour: "2-digit", minute: "2-digit", second: "2-digit",
    });
    try {
      this.format = make(name);
      this.name = name;
    } catch {
      // A zone that this browser does not know.
      this.format = make("UTC");
      this.name = "UTC";
    }
    this.long = new Intl.DateTimeFormat("en-GB", { timeZone: this.name, weekday: "long", day: "numeric", month: "long", year: "numeric" });
    this.short = new Intl.DateTimeFormat("en-GB", { timeZone: this.name, day: "numeric", month: "short" });
  }

  #parts(ms) {
    return Object.fromEntries(this.format.formatToParts(ms).map(({ type, value }) => [type, value]));
  }

  /** `2026-11-20`. */
  date(ms) {
    const { year, month, day } = this.#parts(ms);
    return `${year.padStart(4, "0")}-${month}-${day}`;
  }

  /** `14:03:22`. */
  time(ms) {
    const { hour, minute, second } = this.#parts(ms);
    return `${hour}:${minute}:${second}`;
  }

  /** `14:03`. */
  minute(ms) {
    return this.time(ms).slice(0, 5);
  }

  /** `14:03:22`, with the day before it where that is not today's. */
  moment(ms, now) {
    return this.date(ms) === this.date(now) ? this.time(ms) : `${this.short.format(ms)}, ${this.time(ms)}`;
  }

  /** `Friday, 20 November 2026`. */
  dayName(ms) {
    return this.long.format(ms);
  }

  #offset(ms) {
    const whole = Math.floor(ms / 1000) * 1000;
    const { year, month, day, hour, minute, second } = this.#parts(whole);
    return Date.UTC(+year, month - 1, +day, +hour, +minute, +second) - whole;
  }

  /** When a day (`2026-11-20`) begins here. Days with a clock change have 23 or 25 hours. */
  dayStart(date) {
    const utc = Date.parse(`${date}T00:00:00Z`);
    const guess = utc - this.#offset(utc);
    const start = utc - this.#offset(guess);
    // Where clocks go forward at midnight the day begins at one o'clock: reckoned by the later offset it would be the hour before.
    return this.date(start) === date ? start : guess;
  }

  /** The day `days` after another. */
  static shift(date, days) {
    return new Date(Date.parse(`${date}T12:00:00Z`) + days * 86400e3).toISOString().slice(0, 10);
  }
}
