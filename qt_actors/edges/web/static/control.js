/* An operator's word: always asked for in one dialog, which stays open until the trader has confirmed it. */
import { $, put } from "./dom.js";

const WORDS = {
  pause: { head: "Pause entries?", go: "Pause", what: "No new entries until Resume. Positions stay open under their stops.", path: "/api/control/pause" },
  resume: { head: "Resume entries?", go: "Resume", what: "Ends pause and halt, and sets the losing streak to zero. A day's loss over its limit still stops entries until the next UTC day.", path: "/api/control/resume" },
  halt: { head: "Halt?", go: "Halt", what: "No new entries until Resume, a restart included. Positions stay open under their stops.", path: "/api/control/halt" },
  "close-all": { head: "Close all positions?", go: "Close all", what: "Every open position is closed at market, reduce-only, also what the trader did not open; entries are paused.", path: "/api/positions/close-all" },
};
const TOKEN = "qt-api-token";
let wanted = null;

function open(button) {
  const { act, symbol, what } = button.dataset;
  wanted = act === "close" ? { head: `Close ${symbol}?`, go: `Close ${symbol}`, what: `${what} is closed at market, reduce-only.`, path: `/api/positions/${encodeURIComponent(symbol)}/close` } : WORDS[act];
  put("act-head", wanted.head);
  put("act-what", wanted.what);
  put("act-go", wanted.go, act === "pause" || act === "resume" ? "due" : "danger");
  put("act-fault", "");
  $("act-reason").value = "";
  $("act-token").value = sessionStorage.getItem(TOKEN) || "";
  $("act-ask-token").hidden = Boolean($("act-token").value);
  $("act").showModal();
}

async function send() {
  const reason = $("act-reason").value.trim(), token = $("act-token").value.trim();
  $("act-go").disabled = true;
  put("act-fault", "");
  try {
    const answer = await fetch(wanted.path + (reason ? "?" + new URLSearchParams({ reason }) : ""), { method: "POST", headers: { Authorization: "Bearer " + token }, signal: AbortSignal.timeout(15_000) });
    const told = await answer.json();
    if (answer.status === 401) {
      sessionStorage.removeItem(TOKEN);
      $("act-ask-token").hidden = false;
      $("act-token").focus();
      return put("act-fault", token ? "This is not the trader's token; nothing was done." : "The token is needed.");
    }
    sessionStorage.setItem(TOKEN, token);
    if (!answer.ok) return put("act-fault", told.error || `HTTP ${answer.status}`);
    const closing = told.symbols ? told.symbols.length ? `closing ${told.symbols.join(", ")}` : "no position was open" : "";
    put("said", `${wanted.go}: ${[closing, told.entries ? `entries ${told.entries}, ${told.because}` : "", told.note].filter(Boolean).join("; ")}`);
    $("said").hidden = false;
    setTimeout(() => { $("said").hidden = true; }, 15_000);
    $("act").close();
  } catch (error) {
    put("act-fault", `no answer: ${error.message}. It may hold or not; see the state above, and repeat it.`);
  } finally {
    $("act-go").disabled = false;
  }
}

/* Which words make sense now. */
export function follow(state) {
  const held = state === "halted" || state === "paused";
  for (const button of document.querySelectorAll("button[data-act]")) {
    const { act } = button.dataset;
    button.disabled = state === "no contact" || (act === "pause" && held);
    if (act === "resume") button.classList.toggle("due", held);
  }
}

document.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (button?.dataset.act) open(button);
  if (button?.hasAttribute("data-shut")) button.closest("dialog").close();
});
$("act").querySelector("form").addEventListener("submit", event => { event.preventDefault(); send(); });
