/* The API's description, from /openapi.json. */
import { $, el } from "./dom.js";

const marked = text => text.split(/`+/).map((part, i) => i % 2 ? el("code", {}, part) : part);
const parameter = ({ name, schema = {}, description }) => {
  const limits = [schema.enum ? "one of " + schema.enum.join(", ") : schema.type, schema.minimum !== undefined ? `${schema.minimum} to ${schema.maximum}` : "", schema.default !== undefined ? `default ${schema.default}` : ""];
  return el("li", {}, `${name}: ${limits.filter(Boolean).join(", ")}${description ? ". " + description : ""}`);
};

const api = await (await fetch("/openapi.json")).json();
$("intro").append(...marked(api.info.description));
for (const [path, methods] of Object.entries(api.paths)) for (const [method, told] of Object.entries(methods)) {
  const linked = method === "get" && !path.includes("{");
  const list = (told.parameters || []).filter(p => p.in !== "header").map(parameter);
  const answers = Object.entries(told.responses).map(([code, answer]) => `${code} ${answer.description}`).join(" · ");
  $("paths").append(el("article", {},
    el("div", {}, el("b", {}, method.toUpperCase()), el("code", {}, linked ? el("a", { href: path }, path) : path)),
    el("div", { class: "soft" }, ...marked(told.description)), ...(list.length ? [el("ul", {}, ...list)] : []), el("div", { class: "soft" }, answers)));
}
