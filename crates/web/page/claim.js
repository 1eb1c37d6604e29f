// The stock: cameras that a batch enrolled and that wait for a name. `/?claim=tenant/prefix` is what the code of `moorline camera enroll` holds.

import { call, serverNow } from "./api.js";
import { h, say } from "./dom.js";
import { trouble, Zone } from "./format.js";
import { drawPoster } from "./poster.js";
import { repeat } from "./repeat.js";

const REFRESH = 5000;

/** The stock of a tenant; `prefix`: the beginning of its cameras' names. */
export async function claim(tenant, prefix) {
  const cards = new Map();
  const grid = h("ul", { class: "cards" });
  const none = h("p", { class: "empty" }, "No camera waits for a name. One that has just got power needs a minute to call.");
  const element = h("div", { class: "wide" }, h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Which camera is yours?")), none, grid);

  const refresh = async () => {
    const list = await call("GET", `/tenants/${encodeURIComponent(tenant)}/stock`);
    const own = list.filter(({ camera }) => camera.startsWith(`${tenant}/${prefix}`));
    for (const stocked of own) {
      if (cards.has(stocked.camera)) continue;
      const card = new Card(stocked);
      cards.set(stocked.camera, card);
      grid.append(card.element);
    }
    for (const [id, card] of cards) {
      if (card.taken || own.some(({ camera }) => camera === id)) continue;
      card.element.remove();
      cards.delete(id);
    }
    none.hidden = cards.size > 0;
  };
  const posters = async () => {
    // One after another: each needs a decoder, and phones have few.
    for (const card of [...cards.values()]) await card.picture();
  };
  await refresh();
  const stops = [repeat(refresh, REFRESH), repeat(posters, REFRESH, true)];
  return { title: "Claim a camera", element, stop: () => stops.forEach((stop) => stop()) };
}

class Card {
  constructor({ camera, enrolled, device }) {
    this.id = camera;
    this.taken = false;
    this.canvas = h("canvas", { width: "640", height: "360", "aria-hidden": "true" });
    this.empty = h("span", { class: "no-picture" }, "no picture yet");
    this.said = h("p", { class: "note bad", role: "alert", hidden: true });
    this.title = h("input", { name: "title", required: true, maxlength: "200" });
    this.site = h("input", { name: "site", maxlength: "200" });
    this.button = h("button", { type: "submit", class: "main" }, "This one is mine");
    const zone = new Zone(Intl.DateTimeFormat().resolvedOptions().timeZone);
    this.body = h("div", { class: "card-body" },
      h("p", {}, `${camera}, here since ${zone.moment(Date.parse(enrolled), serverNow())}`), device ? h("p", { class: "small" }, device) : "",
      h("form", { onsubmit: (event) => this.claim(event) }, this.said, h("label", {}, "Name", this.title), h("label", {}, "Place", this.site), this.button));
    this.element = h("li", { class: "card", "data-camera": camera }, h("div", { class: "poster" }, this.canvas, this.empty), this.body);
  }

  async claim(event) {
    event.preventDefault();
    this.button.disabled = true;
    this.said.hidden = true;
    const [tenant, name] = this.id.split("/").map(encodeURIComponent);
    try {
      const camera = await call("POST", `/tenants/${tenant}/cameras/${name}/claim`, { title: this.title.value, site: this.site.value || null });
      this.taken = true;
      this.body.replaceChildren(h("p", {}, h("a", { "data-link": true, href: `/?camera=${encodeURIComponent(this.id)}` }, camera.title), " is yours."));
      say(`${camera.title} is yours`);
    } catch (problem) {
      this.said.textContent = trouble(problem);
      this.said.hidden = false;
    } finally {
      this.button.disabled = false;
    }
  }

  async picture() {
    const wall = await drawPoster(this.canvas, this.id);
    if (wall !== null) this.empty.hidden = true;
  }
}
