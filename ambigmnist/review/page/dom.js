'use strict';
// Small tools. Text from outside becomes a text node or an attribute, never markup.

const root = document.documentElement;
const $ = selector => document.querySelector(selector);
const $$ = selector => [...document.querySelectorAll(selector)];

function fill(element, ...kids) {
  element.replaceChildren(...kids.flat(9).filter(kid => kid != null && kid !== false));
  return element;
}

function h(tag, props, ...kids) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (value == null) continue;
    if (key in element) element[key] = value; else element.setAttribute(key, value);
  }
  return fill(element, ...kids);
}

const styled = (element, css) => Object.assign(element.style, css) && element;
const named = text => h('bdi', {}, text); // a name from outside: its direction is its own business
const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };

const THIN = '\u2009';
const int = n => n.toLocaleString('en');
const several = (n, word) => `${int(n)} ${word}${n === 1 ? '' : 's'}`;

function pct(p) {
  if (p < .0005) return `<0.1${THIN}%`;
  if (p >= .9995) return `${p < 1 ? '>99.9' : '100'}${THIN}%`;
  return (100 * p).toFixed(p > .99 || p < .0995 ? 1 : 0) + THIN + '%';
}

function banner(text) {
  setText($('#banner'), text);
  $('#banner').hidden = !text;
}

// What the browser keeps. It may refuse: then `set` says so.
const store = {
  get(key, otherwise) {
    try { return JSON.parse(localStorage.getItem(key)) ?? otherwise; } catch { return otherwise; }
  },
  set(key, value) {
    try { localStorage.setItem(key, JSON.stringify(value)); return true; } catch { return false; }
  },
  remove(key) {
    try { localStorage.removeItem(key); } catch { /* it was refused before */ }
  },
};
