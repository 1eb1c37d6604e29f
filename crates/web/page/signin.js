// Signing in.

import { call } from "./api.js";
import { h } from "./dom.js";
import { trouble } from "./format.js";

/** The form. `done()` is called once somebody has signed in; `reason` says why they have to. */
export function signIn(done, reason = null) {
  const said = h("p", { class: "note bad", role: "alert", hidden: !reason }, reason ?? "");
  const login = h("input", { name: "login", autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const button = h("button", { type: "submit", class: "main" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    said.hidden = true;
    try {
      await call("POST", "/session", { login: login.value.trim(), password: password.value });
      await done();
    } catch (problem) {
      said.textContent = trouble(problem);
      said.hidden = false;
      password.value = "";
      password.focus();
    } finally {
      button.disabled = false;
    }
  };
  const element = h("div", { class: "sign-in" },
    h("h1", { tabindex: "-1" }, "Sign in"),
    h("form", { onsubmit: submit }, said, h("label", {}, "User", login), h("label", {}, "Password", password), button),
    h("p", { class: "small" }, "Your operator made your account with ", h("code", {}, "moorline user add"), "; ", h("code", {}, "moorline user passwd"), " makes a new password."));
  return { title: "Sign in", element, focus: () => login.focus(), stop: () => {} };
}
