// The page: which view is shown, who is signed in. Views: `/`, `/?claim=tenant/prefix`, `/?camera=tenant/camera`, `/?camera=…&t=2026-11-20T21:10:05.250Z`.

import { call } from "./api.js";
import { camera } from "./camera.js";
import { cameras } from "./cameras.js";
import { claim } from "./claim.js";
import { h, say } from "./dom.js";
import { signIn } from "./signin.js";

const main = document.getElementById("main");
let view = null;
let me = null;
let turn = 0;

/** Shows what the address asks for. */
async function show(reason = null) {
  turn += 1;
  const mine = turn;
  let next;
  try {
    me ??= await call("GET", "/me");
    next = await wanted();
  } catch (problem) {
    if (problem.status === 401) me = null;
    next = problem.status === 401 ? signIn(() => show(), reason) : sorry(problem);
  }
  if (mine !== turn) {
    next.stop();
    return;
  }
  view?.stop();
  view = next;
  main.replaceChildren(next.element);
  document.title = `${next.title} · Moorline`;
  account();
  if (next.focus) next.focus();
  else main.querySelector("h1")?.focus({ preventScroll: true });
}

function wanted() {
  const query = new URLSearchParams(location.search);
  const stock = query.get("claim");
  if (stock !== null) return stock.includes("/") ? claim(...stock.split("/", 2)) : claim("home", stock);
  const id = query.get("camera");
  const at = Date.parse(query.get("t"));
  return id ? camera(id.includes("/") ? id : `home/${id}`, Number.isNaN(at) ? null : at, me) : cameras();
}

function sorry(problem) {
  const element = h("div", { class: "sign-in" }, h("h1", { tabindex: "-1" }, "That did not work"), h("p", { class: "note bad", role: "alert" }, problem.message),
    problem.hint ? h("p", { class: "small" }, problem.hint) : "", h("p", {}, h("a", { href: "/", "data-link": true }, "All cameras"), " ", h("button", { type: "button", onclick: () => show() }, "Try again")));
  return { title: "Problem", element, stop: () => {} };
}

function account() {
  const box = document.getElementById("account");
  const out = async () => {
    await call("DELETE", "/session").catch(() => {});
    me = null;
    history.replaceState(null, "", "/");
    show();
  };
  box.replaceChildren(...(me ? [h("span", { class: "who" }, me.user.login), h("button", { type: "button", class: "quiet", onclick: out }, "Sign out")] : []));
}

/** What fails while a view refreshes itself: a session that ended leads to the sign-in, the rest is said and tried again. */
addEventListener("moorline-problem", ({ detail }) => {
  const foot = document.getElementById("foot");
  if (detail.status === 401) {
    me = null;
    show("You were signed out");
    return;
  }
  foot.replaceChildren(h("p", { class: "note warn" }, detail.message));
  say(detail.message);
  clearTimeout(foot.timer);
  foot.timer = setTimeout(() => foot.replaceChildren(), 8000);
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-link]");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  scrollTo(0, 0);
  show();
});
addEventListener("popstate", () => show());
show();
