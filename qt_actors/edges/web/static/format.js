/* Numbers and times as people read them; what is not known is a dash, never a zero. */
export const DASH = "—";
const known = x => x !== null && x !== undefined;
const fixed = (x, digits) => x.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const number = (x, digits = 2) => known(x) ? (x < 0 ? "−" : "") + fixed(Math.abs(x), digits) : DASH;
export const usd = (x, digits = 2) => known(x) ? (x < 0 ? "−$" : "$") + fixed(Math.abs(x), digits) : DASH;
export const signed = x => known(x) ? (x > 0 ? "+" : "") + usd(x) : DASH;
export const share = (x, digits = 1) => known(x) ? number(x * 100, digits) + " %" : DASH;
export const change = (x, digits = 2) => known(x) ? (x > 0 ? "+" : "") + share(x, digits) : DASH;
export const tone = x => x > 0 ? "up" : x < 0 ? "down" : "";
export const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

/* Exchange prices lie on a tick: whoever knows its decimals shows every price of the symbol with them. */
export const decimals = xs => Math.max(0, ...xs.filter(known).map(x => (String(x).split(".")[1] || "").length));
export const price = (x, digits) => !known(x) ? DASH : digits ? fixed(x, Math.min(digits, 10)) : x.toLocaleString("en", { maximumSignificantDigits: 7 });

const iso = ms => new Date(ms).toISOString();
export const clock = ms => ms ? iso(ms).slice(0, 16).replace("T", " ") + " UTC" : DASH;
export const hour = ms => ms ? iso(ms).slice(5, 16).replace("T", " ") : DASH;
export const local = ms => new Date(ms).toLocaleTimeString([], { hour12: false });
export const span = s => !known(s) ? DASH : s < 90 ? Math.round(s) + " s" : s < 5400 ? Math.round(s / 60) + " min" : s < 172800 ? number(s / 3600, 1) + " h" : number(s / 86400, 1) + " d";

const NAMES = { xgb: "XGBoost", lgbm: "LightGBM", nhits: "N-HiTS", patchtst: "PatchTST" };
const SHORT = { xgb: "XGB", lgbm: "LGBM", nhits: "NHITS", patchtst: "PTST" }; // as in the log
export const short = name => SHORT[name] || name;
export const model = name => NAMES[name] || name;
