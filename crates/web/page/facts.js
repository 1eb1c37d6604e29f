// What a camera is doing, as rows of words: the list shows some of them, the camera's own page all.

import { h } from "./dom.js";
import { bitrate, bytes, duration } from "./format.js";
import { causeWords, mainRelay, noticeWords, openGap, stateOf } from "./words.js";

/** The state as a coloured word. */
export function pill(camera) {
  const { level, label } = stateOf(camera);
  return h("span", { class: `pill ${level}` }, label);
}

/** Since when it is up or away. */
export function linkWords({ status, enabled }, zone, now) {
  if (!status || enabled !== "yes") return null;
  const since = Date.parse(status.link_since);
  const time = duration(now - since);
  if (status.link.state === "up") return `Up for ${time}`;
  if (status.link.state === "connecting") return `Connecting for ${time}`;
  if (status.link.state === "idle") return null;
  return `${status.link.state === "grace" ? "Lost" : "Away"} since ${zone.moment(since, now)} (${time})`;
}

function missing({ status, record, enabled }) {
  return record === "off" && enabled === "yes" ? null : openGap(status);
}

/** Why there are no pictures now, in words that stay the same while it lasts. */
export function troubleWords(camera) {
  const gap = missing(camera);
  return gap && `No pictures: ${causeWords(gap.cause, true)}`;
}

/** Since when there are no pictures, and why. A camera that is not to be recorded misses nothing. */
export function silenceWords({ status, record, enabled }, zone, now) {
  const gap = missing({ status, record, enabled });
  return gap && `No pictures since ${zone.moment(gap.since, now)} (${duration(now - gap.since)}): ${causeWords(gap.cause, true)}`;
}

/** Up to when its recording is safe. A gap that is stored is no recording. */
export function safeWords({ status, record }, zone, now) {
  if (record === "off") return "Not recorded (record = off)";
  const until = status?.recorded_until;
  // The first segment is stored a minute after the first picture.
  if (!until) return status?.archive?.state === "recording" ? "Recording, nothing stored yet" : "Nothing stored yet";
  const at = Date.parse(until);
  return `Stored until ${zone.moment(at, now)}, ${now - at < 1500 ? "just now" : `${duration(now - at)} ago`}`;
}

/** What comes in. */
export function streamWords(camera) {
  const relay = mainRelay(camera);
  if (!relay || relay.state.state !== "playing") return null;
  return [bitrate(relay.bits_per_second), ...relay.media].join(" · ");
}

/** The path at which the camera was found, where none is set. */
export function foundPath(camera) {
  const relay = mainRelay(camera);
  const set = relay && camera[relay.source]?.path;
  return relay?.path && !set ? `${relay.path}, found among the known paths` : null;
}

/** What was new about its connections. */
export function notices({ status }, zone, now) {
  return (status?.notices ?? []).map((notice) => h("p", { class: "note warn" }, noticeWords(notice, zone.moment(Date.parse(notice.at), now))));
}

/** What is wrong and what to do about it. */
export function notes(camera) {
  return camera.notes.map((text) => h("p", { class: "note warn" }, text));
}

/** How long recordings are kept, and how long the disk holds. */
export function keptWords({ retention, disk_days: days, bytes_per_day: daily }) {
  const number = Number(String(retention).replace(/\D/g, ""));
  const kept = retention === "keep" ? "For ever" : `${number} ${number === 1 ? "day" : "days"}`;
  const rate = daily ? `${bytes(daily)} a day` : null;
  const holds = typeof days === "number" ? `the disk holds ${days} ${days === 1 ? "day" : "days"} of all cameras` : null;
  return [kept, rate, holds].filter(Boolean).join(" · ");
}

/** Whether the disk is full before the recordings are as old as they may get. */
export function isTight({ retention, disk_days: days }) {
  const kept = retention === "keep" ? Infinity : Number(String(retention).replace(/\D/g, ""));
  return typeof days === "number" && days < kept;
}

/** `name` and `value` pairs as a list. */
export function list(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
