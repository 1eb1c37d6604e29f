// All cameras: a picture of each and what it is doing.

import { call, serverNow } from "./api.js";
import { h } from "./dom.js";
import { bytes, Zone } from "./format.js";
import { linkWords, notes, pill, safeWords, silenceWords, streamWords } from "./facts.js";
import { drawPoster } from "./poster.js";
import { repeat } from "./repeat.js";

const REFRESH = 3000;
const POSTERS = 8000;

/** The list. */
export async function cameras() {
  const cards = new Map();
  const grid = h("ul", { class: "cards" });
  const count = h("p", { class: "small" });
  const disk = h("p", { class: "small" });
  const element = h("div", { class: "wide" }, h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Cameras"), count), grid, disk);

  const refresh = async () => {
    const [list, server] = await Promise.all([call("GET", "/cameras"), call("GET", "/server")]);
    const live = list.filter((camera) => camera.status?.link.state === "up").length;
    count.textContent = list.length > 0 ? `${live} of ${list.length} connected` : "";
    disk.textContent = server.disk ? `Recordings use ${bytes(server.disk.used)} of the ${bytes(server.disk.bound)} that they may; the disk has ${bytes(server.disk.free)} free.` : "";
    for (const camera of list) {
      if (!cards.has(camera.id)) cards.set(camera.id, new Card(camera.id));
      cards.get(camera.id).show(camera);
    }
    for (const [id, card] of cards) {
      if (!list.some((camera) => camera.id === id)) {
        card.element.remove();
        cards.delete(id);
      }
    }
    const wanted = list.map((camera) => cards.get(camera.id).element);
    if (wanted.some((card, index) => grid.children[index] !== card) || grid.children.length !== wanted.length) grid.replaceChildren(...wanted);
    if (list.length === 0) grid.replaceChildren(nobody());
  };
  const posters = async () => {
    // One after another: each needs a decoder, and phones have few.
    for (const card of [...cards.values()]) await card.picture();
  };

  await refresh();
  const stops = [repeat(refresh, REFRESH), repeat(posters, POSTERS, true)];
  return { title: "Cameras", element, stop: () => stops.forEach((stop) => stop()) };
}

function nobody() {
  return h("li", { class: "empty" }, h("p", {}, "There is no camera yet."),
    h("p", { class: "small" }, "Add one on the server, and it prints what to type on the camera: ", h("code", {}, "moorline camera add front-door")));
}

class Card {
  constructor(id) {
    this.id = id;
    this.canvas = h("canvas", { width: "640", height: "360", "aria-hidden": "true" });
    this.empty = h("span", { class: "no-picture" }, "no picture yet");
    this.title = h("a", { "data-link": true, href: `/?camera=${encodeURIComponent(id)}` });
    this.body = h("div", { class: "card-body" });
    this.top = h("div", { class: "card-top" });
    this.element = h("li", { class: "card", "data-camera": id }, h("div", { class: "poster" }, this.canvas, this.empty, this.top), this.body);
    this.last = null;
  }

  show(camera) {
    const now = serverNow();
    const zone = new Zone(camera.timezone);
    const silence = silenceWords(camera, zone, now);
    this.hasPictures = camera.status?.relays.some((relay) => relay.pictures > 0) ?? false;
    this.empty.textContent = camera.status?.recorded_until ? "no picture at the moment" : "no picture yet";
    const isUp = camera.status?.link.state === "up";
    const lines = silence ? [isUp ? linkWords(camera, zone, now) : null] : [linkWords(camera, zone, now), streamWords(camera), safeWords(camera, zone, now)];
    const key = JSON.stringify([camera.title, camera.site, lines, silence, camera.notes, camera.enabled, camera.status?.relays.map((relay) => relay.state)]);
    if (key === this.last) return;
    this.last = key;
    this.title.textContent = camera.title;
    this.top.replaceChildren(pill(camera));
    this.body.replaceChildren(
      h("h2", {}, this.title), camera.site ? h("p", { class: "site" }, camera.site) : "",
      ...lines.filter(Boolean).map((line) => h("p", {}, line)),
      ...(silence ? [h("p", { class: "note bad" }, silence)] : []),
      ...notes(camera));
  }

  async picture() {
    const wall = this.hasPictures ? await drawPoster(this.canvas, this.id) : null;
    if (wall !== null) this.empty.hidden = true;
    // An old picture is dimmed, so that nobody takes it for now.
    this.canvas.classList.toggle("old", wall === null || serverNow() - wall > 20_000);
  }
}
