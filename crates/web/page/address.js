// The stream's address for players, ready with user and stream password (rule S12), and the buttons that copy it.

import { h, say } from "./dom.js";

const SHOWN = 2500;

/** The addresses of a camera's stream: plain and encrypted. The password is shown only when asked for; what is copied holds it. */
export function addresses(camera, me) {
  const plain = new URL(camera.rtsp_url.replace(/^rtsp:/, "http:"));
  const make = (scheme, password) => `${scheme}://${encodeURIComponent(me.user.login)}:${password}@${plain.host}${plain.pathname}`;
  const rows = ["rtsp", "rtsps"].map((scheme) => {
    const whole = make(scheme, encodeURIComponent(me.stream_password));
    const masked = make(scheme, "••••••");
    const code = h("code", { class: "address", tabindex: "0", "aria-label": `${scheme.toUpperCase()} address` }, masked);
    const copy = h("button", {
      type: "button", class: "copy", "data-copy": scheme, "aria-label": `Copy the ${scheme.toUpperCase()} address with its password`,
      onclick: async () => {
        const copied = await copyText(whole);
        if (!copied) {
          // Not allowed here: show it marked, so that the keyboard can.
          code.textContent = whole;
          getSelection().selectAllChildren(code);
        }
        copy.textContent = copied ? "Copied" : "Ctrl+C";
        setTimeout(() => {
          copy.textContent = "Copy";
        }, SHOWN);
      },
    }, "Copy");
    return { code, whole, masked, element: h("div", { class: "address-row" }, code, copy) };
  });
  let shown = false;
  const reveal = h("button", {
    type: "button", class: "quiet", "aria-pressed": "false",
    onclick: () => {
      shown = !shown;
      for (const row of rows) row.code.textContent = shown ? row.whole : row.masked;
      reveal.setAttribute("aria-pressed", String(shown));
    },
  }, "Show password");
  return h("section", { class: "panel" }, h("div", { class: "panel-head" }, h("h2", {}, "Watch with a player"), reveal),
    rows.map((row) => row.element),
    h("p", { class: "small" }, "For VLC, ffplay, a recorder or a home automation. The password in it is your stream password: it opens streams, not this page."));
}

/** Copies a text; `false` if the browser does not let it. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
    return true;
  } catch {
    return false;
  }
}
