// Elements are created once and updated only where a value changed. Text is never parsed as HTML.

import { clean } from "./formatting.js";

export function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

export function setState(element, state) {
  setText(element, state);
  setClass(element, `state ${state}`);
}

// A bar without a value is animated: the total is unknown.
export function setBar(bar, value, shown, label) {
  bar.hidden = !shown;
  if (value === null) bar.removeAttribute("value");
  else if (bar.value !== value || !bar.hasAttribute("value")) bar.value = value;
  if (bar.getAttribute("aria-valuetext") !== label) bar.setAttribute("aria-valuetext", label);
}

export function arrange(parent, elements) {
  elements.forEach((element, index) => {
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
  while (parent.children.length > elements.length) parent.lastElementChild.remove();
}

export function headRow(...texts) {
  const heads = texts.map((text) => {
    const head = make("th", "", text);
    head.scope = "col";
    return head;
  });
  return make("thead", "", make("tr", "", ...heads));
}

export const pathOf = (...parts) => parts.map((part) => encodeURIComponent(clean(String(part)))).join("/");

// The page's own address of a run or task.
export const path = (...parts) => `/runs/${pathOf(...parts)}`;
