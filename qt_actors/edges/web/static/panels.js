/* One function a panel: from what its path tells to what stands in it. */
import { $, bar, children, el, put, table, why } from "./dom.js";
import { DASH, change, clock, decimals, hour, model, number, plural, price, share, short, signed, span, tone, usd } from "./format.js";
import { chart } from "./chart.js";

const level = used => used >= 0.75 ? "down" : used >= 0.5 ? "warn" : "";
const gauge = (id, used, kind = level(used)) => { $(id).style.width = Math.min(100, (used || 0) * 100) + "%"; $(id).className = kind; };
const sideTone = side => side === "LONG" || side === "BUY" ? "up" : side === "SHORT" || side === "SELL" ? "down" : "soft";

/* What needs two answers at once: the tiles. */
export function tiles(health, risk, held, policy) {
  const seen = held.account_age_s !== null, rows = held.positions;
  put("equity", usd(health.equity));
  put("equity-sub", risk.known ? `available ${usd(risk.available_usd)}` : risk.reason);
  put("day", signed(seen ? risk.daily_pnl_usd : null), "big " + (seen ? tone(risk.daily_pnl_usd) : ""));
  put("day-sub", risk.known ? `${share(risk.daily_loss_used, 0)} of ${usd(risk.daily_loss_limit_usd)} loss limit` : DASH);
  gauge("day-bar", risk.daily_loss_used);
  put("gross", usd(seen ? risk.gross_notional_usd : null));
  put("gross-sub", seen && risk.gross_limit_usd ? `${share(risk.gross_used, 0)} of ${usd(risk.gross_limit_usd, 0)} allowed` : DASH);
  gauge("gross-bar", risk.gross_used, risk.gross_used >= 0.95 ? "down" : risk.gross_used >= 0.8 ? "warn" : "");

  const long = rows.filter(p => p.side === "LONG").length;
  put("held", seen ? String(rows.length) : DASH);
  put("held-sub", !seen ? "the account is not known yet" : [rows.length ? `${long} LONG · ${rows.length - long} SHORT` : "none open", policy.known ? `${policy.max_open_positions} allowed` : ""].filter(Boolean).join(" · "));

  const lossless = p => Math.min(0, (p.side === "LONG" ? 1 : -1) * p.quantity * (p.stop_price - p.mark_price));
  const bare = rows.filter(p => !p.stop_price), risked = seen && !bare.length ? rows.reduce((sum, p) => sum + lossless(p), 0) : null;
  put("risked", risked === 0 ? usd(0) : signed(risked), "big");
  put("risked-sub", !seen ? DASH : bare.length ? `not known: ${bare.map(p => p.symbol).join(", ")} without a stop` : rows.length ? "from the mark, before fees" : "no position is open");

  const open = risk.unprotected_symbols || rows.filter(p => !p.protected).map(p => p.symbol);
  put("guard", !seen ? DASH : open.length ? `${open.length} bare` : rows.length ? "complete" : "none needed", "big " + (!seen || !rows.length ? "" : open.length ? "down" : "up"));
  put("guard-sub", open.length ? open.join(", ") : `${number(health.unprotected_seconds, 1)} s bare since the start`, health.unprotected_seconds > 0 || open.length ? "down" : "soft");
}

const inUnit = (x, unit) => x === null ? DASH : { USDT: usd(x), "of equity": share(x), x: `${x}×`, confidence: number(x) }[unit] || String(x);

/* Each limit, by whose word it stands, and what the others would allow. */
export function limits(risk) {
  table("limits", ["<", "In force", "<By the word of", "<Others would allow"], (risk.limits || []).map(({ name, unit, value, source, allows }) => {
    const others = Object.entries(allows).filter(([word]) => word !== source).map(([word, x]) => `${word}: ${inUnit(x, unit)}`);
    return [name, inUnit(value, unit), [source, "wrap"], [others.join(" · "), "wrap soft"]];
  }), risk.reason);
}

export function standing(risk, policy) {
  if (!risk.known) return table("standing", ["<"], [], risk.reason);
  const adjusted = policy.known ? Object.entries(policy.adjustments).map(([name, by]) => `${name} ${by < 0 ? "−" : "+"}${number(Math.abs(by))}`) : [];
  table("standing", ["<", "", "<"], [
    ["Level", [risk.risk_level, risk.risk_level === "NORMAL" ? "up" : risk.risk_level === "EMERGENCY" ? "down" : "warn"], [risk.reason, "wrap soft"]],
    ["Size multiplier", number(risk.size_multiplier), ["governor's, by level", "wrap soft"]],
    ["Leverage multiplier", number(risk.leverage_multiplier), ["governor's, by level", "wrap soft"]],
    ["Risk multiplier", number(policy.known ? policy.risk_multiplier : null), ["orchestrator's, by regime", "wrap soft"]],
    ["Minimum confidence", number(policy.known ? policy.min_confidence : null), [policy.known ? [`base ${number(policy.base)}`, ...adjusted].join(" · ") : policy.reason, "wrap soft"]],
    ["Losses in a row", risk.losing_streak, ""],
    ["Market regime", risk.market_regime || DASH, ""],
    ["Request limits used", share(risk.request_weight_used, 0), ["of the exchange's weight a minute", "wrap soft"]],
  ], "");
}

function positions(told) {
  put("seen", told.account_age_s === null ? "" : `stop, target and trail as they rest on the exchange, seen ${span(told.account_age_s)} ago`, told.account_age_s > 45 ? "warn" : "");
  const order = [...told.positions].sort((a, b) => (b.opened_ms || 0) - (a.opened_ms || 0) || (a.symbol < b.symbol ? -1 : 1)); // a row that jumps is a wrong click
  table("positions", ["<Symbol", "<Side", "Quantity", "Entry", "Mark", "Notional", "Unrealised", "%", "Stop", "Target", "Trail", "Liquidation", "Leverage", "Confidence", "Age", ""], order.map(p => {
    const digits = decimals([p.stop_price, p.target_price]), pnl = tone(p.unrealized_pnl_usd);
    return [why(p.symbol), [p.side, sideTone(p.side)], price(p.quantity), price(p.entry_price, digits), price(p.mark_price, digits), usd(p.notional_usd), [signed(p.unrealized_pnl_usd), pnl], [change(p.unrealized_pnl_pct), pnl],
      p.stop_price ? [price(p.stop_price, digits), p.protected ? "" : "down"] : ["none", "down strong"], price(p.target_price, digits), share(p.trail_callback_pct), price(p.liquidation_price, digits), p.leverage ? p.leverage + "×" : DASH, number(p.confidence), span(p.age_s),
      p.phase === "closing" ? ["closing", "warn"] : el("button", { type: "button", class: "danger", "data-act": "close", "data-symbol": p.symbol, "data-what": `${p.side} ${price(p.quantity)}`, "aria-label": `Close ${p.symbol}` }, "Close")];
  }), told.account_age_s === null ? "The account is not known yet." : "No position is open.");
}

function models(told) {
  put("models-sub", `${told.active} of ${told.meant} vote, ${told.quorum} must agree${told.quorum < told.quorum_of_all ? ` (${told.quorum_of_all} when all vote)` : ""}`, told.active < told.quorum ? "down" : told.active < told.meant ? "warn" : "");
  table("models", ["<", "<State", "Buy", "Sell", "Hold", "No vote", "Took"], told.models.flatMap(m => {
    const v = m.votes, kind = { active: "up", missing: "down", quarantined: "down" }[m.state] || "warn";
    const row = [model(m.model), [m.state, kind], ...(v ? [v.buy, v.sell, v.hold, v.abstained, v.elapsed_ms ? number(v.elapsed_ms, 1) + " ms" : DASH] : [DASH, DASH, DASH, DASH, DASH])];
    return m.reason ? [row, { more: m.reason }] : [row];
  }), "");
}

function funnel(told) {
  put("why-sub", told.close_time_ms ? `${plural(told.decisions, "symbol")} at the bar closed ${hour(told.close_time_ms + 1)}` : "");
  children($("stops"), told.stops.map(stop => el("li", {}, stop)));
  const most = Math.max(1, ...told.funnel.map(f => f.decisions));
  table("funnel", ["<", "<", "", "<"], told.funnel.map(f => {
    const kind = { admitted: "up", hold: "soft" }[f.verdict] || "";
    return [[f.verdict, kind], f.reason || DASH, f.decisions, [bar(f.decisions, most, kind), "grow"]];
  }), "The first decisions come with the first closed bar.");
}

function signals(told) {
  put("signals-sub", told.close_time_ms ? `market ${told.market_regime || DASH} · ▲ BUY ▼ SELL ■ HOLD` : "");
  const names = told.signals.length ? told.signals[0].votes.map(v => v.model) : [];
  const vote = v => !v.action ? [DASH, "soft"] : v.action === "HOLD" ? ["■", "soft"] : [`${v.action === "BUY" ? "▲" : "▼"}${number(v.confidence)}`, sideTone(v.action)];
  table("signals", ["<Symbol", "<Call", "Conf.", "P(win)", "Edge R", ...names.map(short)], told.signals.filter(s => s.action !== "HOLD").slice(0, 10).map(s =>
    [why(s.symbol), [s.action, sideTone(s.action)], number(s.confidence), number(s.p_win), number(s.edge_r), ...s.votes.map(vote)]), told.signals.length ? "No quorum of models calls a side at this bar." : "No bar has closed yet.");
  const symbols = told.signals.map(s => s.symbol).sort();
  if ($("symbols").childElementCount !== symbols.length) children($("symbols"), symbols.map(s => el("option", { value: s })));
}

function trades(told) {
  table("trades", ["<Closed", "<Symbol", "<Side", "Entry", "Exit", "Realised", "Fees", "Funding", "Net", "Slip", "<Exits"], told.trades.map(t => {
    const digits = decimals([t.entry_price]) > 6 ? undefined : Math.max(decimals([t.entry_price]), 2);
    return [hour(t.closed_ms), why(t.symbol), [t.position, sideTone(t.position)], price(t.entry_price, digits), price(t.exit_price, digits), signed(t.realized_usd), signed(t.commission_usd === null ? null : -t.commission_usd), signed(t.funding_usd),
      t.complete ? [signed(t.net_usd), tone(t.net_usd)] : ["incomplete", "warn"], t.slippage_bps === null ? DASH : number(t.slippage_bps, 1) + " bp", (t.exits || []).join(" → ") || t.exit_reason];
  }), "No trade has been closed yet.");
}

function results(told) {
  const line = (name, r) => `${name} ${r.trades} closed` + (r.complete ? `, ${share(r.wins / r.complete, 0)} won, net ${signed(r.net_usd)}` : "");
  put("results", `${line("today", told.today)} · ${line("in all", told.total)} · net = realised − fees + funding`);
}

function incidents(told) {
  table("incidents", ["<Last", "<Kind", "<Subject", "<What", "Times", "<"], told.incidents.map(i =>
    [hour(i.last_ms), i.kind, [i.subject, "wrap"], [i.detail, "wrap"], i.times, i.state === "unrepaired" ? "" : [i.state, i.state === "repaired" ? "up" : "soft"]]), "None.");
}

function tree(told) {
  const actors = told.actors.filter(a => a.kind !== "supervisor"), up = actors.filter(a => a.state === "up").length, restarts = told.actors.reduce((n, a) => n + a.restarts, 0);
  put("tree-sub", `· ${up} of ${actors.length} actors up, ${plural(restarts, "restart")}`, up < actors.length ? "warn" : "soft");
  if ($("tree-box").open) table("tree", ["<Actor", "<State", "Restarts", "Waiting", "Handled", "Busy", "<Last message", "<Figures"], told.actors.map(a => [
    "\u00a0\u00a0".repeat(a.path.split("/").length - 1) + a.path.split("/").pop(), [a.state, a.state === "up" ? "up" : "warn"], a.restarts, a.mailbox_depth, a.handled, a.busy_ms ? a.busy_ms + " ms" : DASH, a.last_message,
    [a.state !== "up" && a.last_error ? a.last_error : Object.entries(a.statistics).map(([k, v]) => `${k} ${v}`).join(", "), "wrap soft"]]), "");
}

/* Path → what shows it; "slow" ones change with trades, not with prices. */
export const panels = [
  { path: "/api/ai/status", show: models },
  { path: "/api/why", show: funnel },
  { path: "/api/signals/live", show: signals },
  { path: "/api/tree", show: tree },
  { path: "/api/equity", show: chart, slow: true },
  { path: "/api/trades?limit=12", show: trades, slow: true },
  { path: "/api/pnl?days=1", show: results, slow: true },
  { path: "/api/incidents?limit=8", show: incidents, slow: true },
];
export { positions };

/* The gates of a symbol's newest decision, in the order in which they are asked. */
export function gates(told) {
  const made = told.decisions[0];
  if (!made) return [el("p", {}, `No decision on ${told.symbol} yet: the first comes with the next closed bar.`)];
  const votes = made.votes.map(v => `${model(v.model)} ${v.action ? `${v.action} ${number(v.confidence)}` : `– (${v.reason})`}`).join(" · ");
  const cell = (label, kind, text) => el("td", { class: kind, "data-label": label }, text);
  const row = g => el("tr", {}, cell("", "l " + (g.passed ? "up" : "down strong"), g.passed ? "✓" : "✗ refused"), cell("Gate", "l" + (g.passed ? "" : " strong"), g.name),
    cell("Value", "l wrap", g.value), cell("Limit", "l wrap", g.limit), cell("", "l wrap soft", g.note + (g.transient && !g.passed ? " (may pass later)" : "")));
  return [
    el("p", { class: "verdict " + (made.verdict === "admitted" ? "up" : made.verdict === "denied" ? "warn" : "") }, made.sentence),
    el("p", {}, `Bar closed ${clock(made.close_time_ms + 1)}: ${made.verdict}${made.verdict === "denied" ? ` by ${made.gate}` : ""}${made.evaluations > 1 ? `, asked ${made.evaluations} times` : ""}`),
    el("p", { class: "soft" }, `${made.action} · confidence ${number(made.confidence)} · P(win) ${number(made.p_win)} · ${made.regime || DASH}`, el("br"), votes),
    el("table", { class: "gates" }, el("thead", {}, el("tr", {}, ...["", "Gate", "Value", "Limit", ""].map(h => el("th", { class: "l" }, h)))), el("tbody", {}, ...made.gates.map(row))),
  ];
}
