/* Asks the trader every two seconds, and says so when it does not answer: an old picture must not look alive. */
import { $, children, el, put } from "./dom.js";
import { clock, local, plural, span } from "./format.js";
import { gates, limits, panels, positions, standing, tiles } from "./panels.js";
import { follow } from "./control.js";

const PAUSE_MS = 2000, PATIENCE_MS = 5000, SLOW_EVERY = 5;
const contact = { at: Date.now(), lost: false };
let round = 0;

export async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  const told = await answer.json();
  if (!answer.ok && path !== "/health") throw new Error(told.error || `HTTP ${answer.status}`);
  return told;
}

/* The strongest thing to know: no contact, halted, paused, no entries. */
function banner(kind, head, text, ticking = "") {
  const box = $("banner"), said = { strong: head, span: text, small: ticking }; // what ticks is not read aloud
  if (box.hidden !== !head) box.hidden = !head;
  if (box.className !== kind) box.className = kind;
  for (const [tag, words] of Object.entries(said)) if (box.querySelector(tag).textContent !== words) box.querySelector(tag).textContent = words;
}

const market = told => told.replace(/^synthetic\b/, "synthetic market,").replace(/^replay .*[\\/](?=[^\\/]+)/, "replay ");

const STANDS = { halted: { head: "HALTED", kind: "halt" }, paused: { head: "PAUSED", kind: "" }, stopped: { head: "NO NEW ENTRIES", kind: "" } };

function header(health, risk) {
  const mode = health.mode.toUpperCase(), { state, reason, since_ms } = health.trading, stands = STANDS[state];
  put("mode", `${mode} · ${market(health.market)}`, "chip" + (health.mode === "live" ? " live" : ""));
  $("mode").title = health.market;
  put("status", health.status, "chip " + ({ healthy: "up", unhealthy: "down", halted: "down" }[health.status] || "warn"));
  put("about", `entries ${health.entries} · ${health.profile} · ${health.bar_interval} bars · ${plural(health.symbols, "symbol")} · up ${span(health.uptime)}`);
  put("version", `Quantum Trader ${health.version}`);
  const bare = risk.unprotected_symbols || [];
  const kept = bare.length ? `Without full protection: ${bare.join(", ")}.` : "Positions stay open under their stops; exits go on.";
  const kind = stands?.kind || (risk.risk_level === "EMERGENCY" ? "halt" : "");
  if (stands) banner(kind, stands.head, `${reason}${since_ms ? `, since ${clock(since_ms)} market time` : ""}. ${kept}`);
  else banner("", "", "");
  const reasons = $("reasons"), faults = health.reasons.filter(fault => !stands || fault !== reason); // the banner tells this one
  reasons.hidden = !faults.length;
  reasons.className = health.status === "unhealthy" ? "down" : "";
  children(reasons, faults.map(fault => el("li", {}, fault)));
  document.title = [health.status === "unhealthy" ? "UNHEALTHY" : stands?.head, mode, "Quantum Trader"].filter(Boolean).join(" · ");
  follow(state);
}

function lost() {
  const since = `no contact since ${local(contact.at)}`;
  put("status", "no contact", "chip down");
  banner("lost", "NO CONTACT", `since ${local(contact.at)}. What is shown is as it was then and may be wrong now. Stops that were placed rest on the exchange.`, span((Date.now() - contact.at) / 1000));
  $("reasons").hidden = true;
  document.title = `✕ ${since} · Quantum Trader`;
  follow("no contact");
}

/* A panel whose path refuses is grey and says why; the others go on. */
async function show(path, shown) {
  const section = document.querySelector(`section[data-of~="${path}"]`);
  const before = section.querySelector(`.fault[data-path="${path}"]`);
  try {
    shown(await ask(path));
    before?.remove();
  } catch (error) {
    const told = el("p", { class: "fault down", "data-path": path }, `not known now: ${error.message}`);
    if (before) before.replaceWith(told); else section.firstElementChild.after(told);
  }
}

async function refresh() {
  let told = null;
  try { told = await Promise.all(["/health", "/api/risk", "/api/positions", "/api/policy"].map(ask)); } catch (error) { console.debug(error); }
  const slow = contact.lost || round++ % SLOW_EVERY === 0;
  contact.lost = told === null;
  document.body.classList.toggle("lost", contact.lost);
  try {
    if (contact.lost) lost();
    else {
      const [health, risk, held, policy] = told;
      contact.at = Date.now();
      put("time", `market ${clock(held.now_ms)}`);
      header(health, risk);
      tiles(health, risk, held, policy);
      limits(risk);
      standing(risk, policy);
      positions(held);
      await Promise.all(panels.filter(panel => slow || !panel.slow).map(panel => show(panel.path, panel.show)));
    }
  } catch (error) {
    banner("lost", "PAGE FAULT", `this page cannot show what the trader told: ${error.message}`);
    document.body.classList.add("lost");
  }
  setTimeout(refresh, PAUSE_MS);
}

async function explain(symbol) {
  put("gates-head", `Why? ${symbol}`);
  children($("gates-body"), [el("p", { class: "soft" }, "…")]);
  if (!$("gates").open) $("gates").showModal();
  try { children($("gates-body"), gates(await ask(`/api/decisions/${encodeURIComponent(symbol)}?limit=1`))); } catch (error) { children($("gates-body"), [el("p", { class: "down" }, error.message)]); }
}

document.addEventListener("click", event => {
  const button = event.target.closest("button[data-why]");
  if (button) explain(button.dataset.why);
});
$("ask").addEventListener("submit", event => {
  event.preventDefault();
  const symbol = $("symbol").value.trim().toUpperCase();
  if (symbol) explain(symbol);
});
$("tree-box").addEventListener("toggle", () => show("/api/tree", panels.find(panel => panel.path === "/api/tree").show).catch(() => {}));
setInterval(() => { if (contact.lost) lost(); }, 1000);
refresh();
