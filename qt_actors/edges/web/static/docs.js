/* The API's description, from /openapi.json. */
import { $, el } from "./dom.js";

const marked = text => text.split(/`+/).map((part, i) => i % 2 ? el("code", {}, part) : part);

const parameter = ({ name, schema = {}, description }) => {
  const limits = [schema.enum ? "one of " + schema.enum.join(", ") : schema.type, schema.minimum !== undefined ? `${schema.minimum} to ${schema.maximum}` : "", schema.default !== undefined ? `default ${schema.default}` : ""];
  return el("li", {}, `${name}: ${limits.filter(Boolean).join(", ")}${description ? ". " + description : ""}`);
};

const api = await (await fetch("/openapi.json")).json();
const nameOf = schema => schema.$ref?.split("/").pop();
const list = (parts, join) => [...new Set(parts)].join(join);

/* What a value may be, in a few words: "number | null", "[Held]", "{string: Model}". */
function kind(schema) {
  if (schema.$ref) return nameOf(schema);
  if (schema.anyOf) return list(schema.anyOf.map(kind), " | ");
  if (schema.enum) return list(schema.enum.map(value => JSON.stringify(value)), " | ");
  if (schema.type === "array") return `[${kind(schema.items || {})}]`;
  if (schema.type === "object") return `{string: ${kind(schema.additionalProperties || {})}}`;
  return [schema.type].flat().filter(Boolean).join(" | ") || "anything";
}

/* A shape's fields, then those of the shapes in it. */
function shapes(schema, told = new Map()) {
  for (const ref of JSON.stringify(schema).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
    const name = ref[1], shape = api.components.schemas[name];
    if (told.has(name)) continue;
    told.set(name, shape);
    shapes(shape, told);
  }
  return told;
}

const described = ([name, shape]) => el("div", {}, el("code", {}, el("strong", {}, name)), " ", ...marked(shape.description || ""),
  el("ul", {}, ...Object.entries(shape.properties || {}).map(([field, schema]) => el("li", {}, el("code", {}, `${field}: ${kind(schema)}`)))));

for (const [path, methods] of Object.entries(api.paths)) for (const [method, told] of Object.entries(methods)) {
  const linked = method === "get" && !path.includes("{"), parameters = (told.parameters || []).filter(p => p.in !== "header").map(parameter);
  const answers = Object.entries(told.responses).map(([code, answer]) => `${code} ${answer.description.replace(/\.$/, "")}`).join(" · ");
  const schema = Object.entries(told.responses).find(([code]) => code[0] === "2")[1].content?.["application/json"]?.schema;
  $("paths").append(el("article", {},
    el("div", {}, el("b", {}, method.toUpperCase()), el("code", {}, linked ? el("a", { href: path }, path) : path), told.security ? el("span", { class: "soft" }, " needs the token") : ""),
    el("div", {}, ...marked(told.description)), ...(parameters.length ? [el("ul", {}, ...parameters)] : []), el("div", { class: "soft" }, answers),
    ...(schema ? [el("details", {}, el("summary", { class: "soft" }, `answers ${kind(schema)}`), ...[...shapes(schema)].map(described))] : [])));
}
$("intro").append(...marked(api.info.description));
