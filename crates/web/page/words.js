// What the server's closed lists mean to people. A test compares the causes with the server's own words.

/** Cause → what kind of trouble it is, what it was, and what it is while it goes on. */
export const CAUSES = {
  tunnel_down: ["away", "the camera could not be reached", "the camera cannot be reached"],
  hung_up: ["purpose", "the camera hung up on purpose", "the camera hung up on purpose"],
  operator: ["purpose", "the operator ended its connection or changed its settings", "the operator ended its connection or changed its settings"],
  disabled: ["purpose", "the camera or its recording was switched off", "the camera or its recording is switched off"],
  node_lost: ["server", "the machine and its disk were lost", "the machine and its disk were lost"],
  store_lost: ["server", "the store lost it after acknowledging it", "the store lost it after acknowledging it"],
  rtsp_error: ["camera", "the camera's RTSP server gave no stream", "the camera's RTSP server gives no stream"],
  camera_silent: ["camera", "the camera was connected but sent no pictures", "the camera is connected but sends no pictures"],
  overrun: ["server", "the recorder fell behind", "the recorder fell behind"],
  no_idr: ["camera", "the camera sent no key frame", "the camera sends no key frame"],
  restart: ["server", "Moorline or its recorder was restarted", "Moorline or its recorder is starting"],
  spool_full: ["server", "the disk for recordings was full", "the disk for recordings is full"],
  crash_recovered: ["server", "the end was cut off by a crash", "the end was cut off by a crash"],
  clock_step: ["server", "a clock jumped", "a clock jumped"],
};

/** Kind of stretch → its name in the legend. */
export const KINDS = {
  recorded: "recorded",
  open: "being written",
  away: "camera away",
  camera: "camera connected, no pictures",
  purpose: "on purpose",
  server: "server, disk or restart",
  expired: "no longer kept",
  unexplained: "nobody knows why",
};

/** What is recorded, where it is less than the camera's full picture. */
const TIERS = { low: "recorded in the smaller picture", idr: "recorded in key frames only" };

/** The kind of a coverage row: what colours it. */
export function kindOf(row) {
  if (row.kind === "recorded") return row.held === "store" ? "recorded" : "open";
  if (row.kind === "gap") return CAUSES[row.cause]?.[0] ?? "unexplained";
  return row.kind;
}

/** What a coverage row says, in words. */
export function rowWords(row) {
  switch (row.kind) {
    case "recorded": {
      const what = TIERS[row.tier] ?? "recorded";
      return { spool: `${what}, on its way to the store`, open: `${what}, being written` }[row.held] ?? what;
    }
    case "gap":
      return causeWords(row.cause, row.open);
    case "expired":
      return "recorded once, no longer kept";
    default:
      return "not recorded, and nobody knows why";
  }
}

/** A cause in words; `open`: it goes on. */
export function causeWords(cause, open = false) {
  const words = CAUSES[cause];
  return words ? words[open ? 2 : 1] : "nobody knows why";
}

const RELAY = {
  playing: ["good", "Live"],
  silent: ["warn", "Silent"],
  refused: ["bad", "No stream"],
  no_landing: ["warn", "Connecting"],
  connecting: ["warn", "Connecting"],
};
/** What is most telling of several streams comes first. */
const TELLING = ["playing", "silent", "refused", "connecting", "no_landing"];

/** A camera of our own network of which no stream says anything. */
const LINK = { connecting: ["warn", "Connecting"], idle: ["off", "Not watched"] };

/** What was new about a camera's connections. */
const NOTICES = {
  new_network: "connected from a new network",
  new_client: "connected with a new SSH client",
  stolen_key: "reported stolen, and its key called",
  key_in_two_places: "connects from two places at once with one key",
  moved_to_sub: "records the smaller picture, since its uplink dropped pictures of the full one",
  moved_to_main: "records the full picture again",
  spent_token: "its enrolment token was used by a second key",
};

/** A notice in words; `moment`: its time. */
export function noticeWords({ what, peer, client }, moment) {
  const from = [peer && `from ${peer}`, client].filter(Boolean).join(", ");
  return `${moment}: ${NOTICES[what] ?? what}${from ? ` (${from})` : ""}`;
}

/** What a camera is doing: `level` (good, warn, bad, off) and `label`. */
export function stateOf({ enabled, status }) {
  if (enabled === "stolen") return { level: "bad", label: "Reported stolen" };
  if (enabled !== "yes") return { level: "off", label: "Switched off" };
  if (!status) return { level: "off", label: "Starting" };
  if (status.link.state === "absent") return { level: "bad", label: "Away" };
  if (status.link.state === "grace") return { level: "warn", label: "Reconnecting" };
  const relay = TELLING.find((state) => status.relays.some((relay) => relay.state.state === state));
  const [level, label] = RELAY[relay] ?? LINK[status.link.state] ?? ["good", "Connected"];
  return { level, label };
}

/** The stretch without media that goes on, or `null`. */
export function openGap(status) {
  const last = status?.gaps.at(-1);
  return last && last[1] === null ? { since: Date.parse(last[0].since), cause: last[0].cause } : null;
}

/** The relay of the stream that is recorded, else of any. */
export function mainRelay({ record, status }) {
  const relays = status?.relays ?? [];
  return relays.find((relay) => relay.source === record) ?? relays.find((relay) => relay.state.state === "playing") ?? relays[0] ?? null;
}
