// Makes elements. Texts become text nodes, so that nothing a camera or a person typed is ever read as markup (rule S33).

/** An element with attributes (a function becomes a listener, `true` an empty attribute, `null` and `false` none) and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = {
  play: "M7 4.5v15l13-7.5z",
  pause: "M6 4.5h4.2v15H6zM13.8 4.5H18v15h-4.2z",
  back: "M12.5 5.2V1.6L6.2 6.6l6.3 5V8a5.6 5.6 0 1 1-5.6 5.6H4.1A8.4 8.4 0 1 0 12.5 5.2z",
  ahead: "M11.5 5.2V1.6l6.3 5-6.3 5V8a5.6 5.6 0 1 0 5.6 5.6h2.8a8.4 8.4 0 1 1-8.4-8.4z",
  mute: "M3 9v6h4l5 5V4L7 9zM16 8.6l1.4-1.4 2.3 2.3L22 7.2l1.4 1.4-2.3 2.3 2.3 2.4-1.4 1.4-2.3-2.4-2.3 2.4-1.4-1.4 2.3-2.4z",
  sound: "M3 9v6h4l5 5V4L7 9zM15 8.2v7.6a4 4 0 0 0 0-7.6zM15 3.6v2.1a6.6 6.6 0 0 1 0 12.6v2.1a8.7 8.7 0 0 0 0-16.8z",
  full: "M4 4h6v2.4H6.4V10H4zM14 4h6v6h-2.4V6.4H14zM4 14h2.4v3.6H10V20H4zM17.6 14H20v6h-6v-2.4h3.6z",
  left: "M15.4 5.4 8.8 12l6.6 6.6-1.8 1.8L5.2 12l8.4-8.4z",
  right: "M8.6 5.4 15.2 12l-6.6 6.6 1.8 1.8 8.4-8.4-8.4-8.4z",
  link: "M10 7.5H7a4.5 4.5 0 0 0 0 9h3v-2.2H7a2.3 2.3 0 0 1 0-4.6h3zM14 7.5h3a4.5 4.5 0 0 1 0 9h-3v-2.2h3a2.3 2.3 0 0 0 0-4.6h-3zM8.4 10.9h7.2v2.2H8.4z",
};

/** One of the page's pictograms; its button carries the name. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

/** A button that shows a pictogram and says `label`. */
export function iconButton(name, label, onclick, attributes = {}) {
  return h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick, ...attributes }, icon(name));
}

/** Changes pictogram and name of such a button. */
export function relabel(button, name, label) {
  if (button.getAttribute("aria-label") === label) return;
  button.setAttribute("aria-label", label);
  button.title = label;
  button.replaceChildren(icon(name));
}

/** Tells people who hear the page instead of seeing it. */
export function say(text) {
  document.getElementById("say").textContent = text;
}
