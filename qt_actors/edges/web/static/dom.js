/* Elements are made anew and laid over what stands, so that focus, selection and an open list survive a refresh. */
export const $ = id => document.getElementById(id);

export function el(tag, about = {}, ...parts) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) if (value !== undefined && value !== "") made.setAttribute(name, value);
  made.append(...parts.filter(part => part !== undefined));
  return made;
}

export function put(id, text, kind) {
  const there = $(id);
  if (there.textContent !== text) there.textContent = text;
  if (kind !== undefined) there.className = kind;
}

function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || old.nodeType === Node.TEXT_NODE) return void old.replaceWith(fresh);
  for (const { name } of [...old.attributes]) if (name !== "style" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (old.style) old.style.cssText = fresh.style.cssText; // the page's policy allows no style attributes, only this
  children(old, [...fresh.childNodes]);
}

export function children(parent, fresh) {
  const old = [...parent.childNodes];
  fresh.forEach((node, i) => old[i] ? morph(old[i], node) : parent.append(node));
  old.slice(fresh.length).forEach(node => node.remove());
}

export function bar(part, whole, kind) {
  const fill = el("i", { class: kind });
  fill.style.width = Math.min(100, whole ? part / whole * 100 : 0) + "%";
  return el("span", { class: "bar", "aria-hidden": "true" }, fill);
}

/* A cell is text, [text, class] or an element. Heads that begin with "<" are left-aligned. A row may be { more }: text under the row before. */
export function table(id, heads, rows, empty) {
  if (!rows.length) return children($(id), [el("caption", {}, empty)]);
  const names = heads.map(h => h.replace("<", "")), left = heads.map(h => h[0] === "<");
  const cell = (given, i) => {
    const [text, kind] = Array.isArray(given) ? given : [given, ""];
    return el("td", { class: [left[i] ? "l" : "", kind].filter(Boolean).join(" "), "data-label": names[i] }, text instanceof Node ? text : String(text));
  };
  const body = el("tbody", {}, ...rows.map(row => el("tr", {}, ...(row.more ? [el("td", { class: "l wrap more soft", colspan: heads.length }, row.more)] : row.map(cell)))));
  const head = el("thead", {}, el("tr", {}, ...names.map((name, i) => el("th", { scope: "col", class: left[i] ? "l" : "" }, name))));
  children($(id), names.some(Boolean) ? [head, body] : [body]);
}

export const why = symbol => el("button", { type: "button", class: "plain", "data-why": symbol, title: `Why? ${symbol} gate by gate` }, symbol);
