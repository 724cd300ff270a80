"""The HTTP API (SPEC 15.1): what is seen comes from snapshot and journal, what is done goes to two mailboxes."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from config.settings import Settings
from exporters.prometheus import CONTENT_TYPE, Metrics
from qt_actors.edges.web import answers, control, history, views
from qt_actors.edges.web.control import Controls
from qt_actors.edges.web.decision_views import decided
from qt_actors.edges.web.description import Api, Symbol, said
from qt_actors.edges.web.hosts import Application, Hosted, Hosts, Receive, Scope, Send, hosts_of
from qt_actors.edges.web.os_report import os_report
from qt_actors.edges.web.snapshot import Snapshot
from qt_actors.kernel import ActorState
from qt_actors.ports import JournalReader

STATIC: Final = Path(__file__).parent / "static"
ROWS_MAX: Final = 1000
POINTS_MAX: Final = 720
Limit = Annotated[int, Query(ge=1, le=ROWS_MAX, description="Newest rows to answer.")]


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What the API reads and whom it tells."""

    snapshot: Callable[[], Snapshot]
    tree: Callable[[], tuple[ActorState, ...]]
    journal: JournalReader
    metrics: Metrics
    now_ms: Callable[[], int]
    """The market's clock."""
    controls: Controls
    settings: Settings
    """Whose limits are told; never shown itself."""


class Json(JSONResponse):
    """JSON in which what is not a number is null and Decimals are text."""

    def render(self, content: Any) -> bytes:
        """Encode."""
        return msgspec.json.encode(content)


def make_app(sources: Sources) -> FastAPI:
    """Return the application."""
    app = Api(
        title="Quantum Trader",
        version=sources.snapshot().run.version,
        description=f"{sources.snapshot().run.mode} on {sources.snapshot().run.market}. Reading is free; control needs "
        "`Authorization: Bearer TOKEN` (QT_API_TOKEN, or the file api-token in QT_DATA_DIR).",
        docs_url=None,
        redoc_url=None,
        default_response_class=Json,
    )
    _add_faults(app)
    _add_live(app, sources)
    _add_history(app, sources)
    _add_pages(app, sources)
    control.add(app, sources.controls, sources.snapshot)
    hosts = hosts_of(sources.settings.http_host)
    app.add_middleware(Hosted, hosts=hosts, refuse=_misnamed(hosts))
    app.add_middleware(_Counted, metrics=sources.metrics)
    app.add_middleware(_Headed)
    return app


def _misnamed(hosts: Hosts) -> Callable[[str], Application]:
    return lambda host: Json({"error": hosts.refusal(host)}, 400)


def _add_faults(app: FastAPI) -> None:
    """Every refusal is one JSON line: ``{"error": ...}``."""

    @app.exception_handler(StarletteHTTPException)
    async def refused(_request: Request, error: StarletteHTTPException) -> Json:
        allowed = (error.headers or {}).get("Allow", "")
        plain = {"Not Found": "no such path; see /docs", "Method Not Allowed": f"not this method, but {allowed}"}
        return Json({"error": plain.get(error.detail, error.detail)}, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Json:
        faults = (f"{fault['loc'][-1]}={fault.get('input')!r}: {fault['msg']}" for fault in error.errors())
        return Json({"error": "; ".join(faults)[:500]}, 422)

    @app.exception_handler(Exception)
    async def broken(_request: Request, error: Exception) -> Json:  # told to the log by what serves
        return Json({"error": f"a fault of the trader's, {type(error).__name__}; the log has it"}, 500)

    @app.exception_handler(OSError)
    async def unreadable(_request: Request, error: OSError) -> Json:  # edges.journal.JournalError
        return Json({"error": str(error)}, 503)


def _add_live(app: FastAPI, sources: Sources) -> None:
    """Paths that read the snapshot: no file, no lock, no wait."""
    started_s = time.monotonic()
    seen = sources.snapshot

    @app.get("/health", tags=["state"], responses=said(200, answers.Health) | said(503, answers.Health))
    async def health() -> Response:
        """Status, uptime in seconds, positions, the day's result, every model's state; 503 when unhealthy."""
        told = views.health(seen(), sources.tree(), time.monotonic() - started_s, sources.now_ms())
        return Json(told, 503 if told["status"] == "unhealthy" else 200)

    @app.get("/api/signals/live", tags=["state"], responses=said(200, answers.LiveSignals))
    async def signals() -> Response:
        """What the ensemble says of every symbol at the newest closed bar, calls first."""
        return Json(views.live_signals(seen()))

    @app.get("/api/positions", tags=["state"], responses=said(200, answers.Positions))
    async def positions() -> Response:
        """Open positions with their stop, target and trail as they rest on the exchange."""
        return Json(views.held(seen(), sources.now_ms()))

    @app.get("/api/ai/status", tags=["state"], responses=said(200, answers.AiStatus))
    async def ai_status() -> Response:
        """Every model: active, warmup, quarantined or missing, why, and its newest votes."""
        return Json(views.ai_status(seen()))

    @app.get("/api/risk", tags=["state"], responses=said(200, (answers.Risk, answers.Unknown)))
    async def risk() -> Response:
        """The safety governor's directive, how much of every limit is used, and by whose word each limit stands."""
        return Json(views.risk(seen(), sources.settings))

    @app.get("/api/policy", tags=["state"], responses=said(200, (answers.Conductor, answers.UnknownPolicy)))
    async def policy() -> Response:
        """The orchestrator's newest policy: minimum confidence and where it comes from."""
        return Json(views.conductor(seen()))

    @app.get("/api/os/report", tags=["state"], responses=said(200, answers.OsReport))
    async def report() -> Response:
        """The coordination report: risk mode, health of every subsystem, the directives in force."""
        return Json(os_report(seen(), sources.tree(), sources.now_ms()))

    @app.get("/api/tree", tags=["state"], responses=said(200, answers.Tree))
    async def tree() -> Response:
        """The supervision tree: every actor's state, restarts, mailbox and last message."""
        return Json(views.tree(sources.tree()))


def _add_history(app: FastAPI, sources: Sources) -> None:
    """Paths that read the journal, on threads of their own."""
    journal = sources.journal

    @app.get("/api/trades", tags=["history"], responses=said(200, history.Trades, 422, 503))
    def trades(limit: Limit = 50) -> Response:
        """Closed trades, newest first; ``side`` is the entry order's, ``net_usd`` realised − commission + funding."""
        return Json({"trades": views.closed(journal.rows("trades", {"limit": limit}))})

    @app.get("/api/decisions/{symbol}", tags=["history"], responses=said(200, history.Decisions, 404, 422, 503))
    def decisions(symbol: Symbol, limit: Annotated[int, Query(ge=1, le=200)] = 5) -> Response:
        """The symbol's decisions of the last bars: a sentence, gate by gate value against limit, trade and orders."""
        rows = journal.rows("decisions", {"symbol": symbol.upper(), "limit": limit})
        universe = sources.snapshot().universe
        known = universe is not None and symbol.upper() in universe.symbols
        if not rows and not known:
            refused = universe.refused.get(symbol.upper()) if universe else None
            raise HTTPException(404, f"symbol {symbol.upper()}: {refused or 'not traded here'}")
        return Json({"symbol": symbol.upper(), "decisions": decided(journal, rows)})

    @app.get("/api/why", tags=["history"], responses=said(200, history.Why, 503))
    def why() -> Response:
        """Where the newest bar's decisions ended, by gate, and what stops all of them at once."""
        return Json(views.why(sources.snapshot(), journal.rows("funnel")))

    @app.get("/api/pnl", tags=["history"], responses=said(200, history.Results, 422, 503))
    def pnl(days: Annotated[int, Query(ge=1, le=400)] = 14) -> Response:
        """Net results today, in all, by exit, day and symbol; the exchange's own ledger by kind."""
        now_ms = sources.now_ms()
        return Json({**views.results(journal, now_ms, days), **views.ledger_read(sources.snapshot(), now_ms)})

    @app.get("/api/equity", tags=["history"], responses=said(200, history.Curve, 422, 503))
    def equity(hours: Annotated[int, Query(ge=1, le=24 * 7)] = 24 * 7) -> Response:
        """Equity over the last hours of market time, at most 720 steps, each with its lowest and highest reading."""
        since_ms = sources.now_ms() - hours * 3_600_000
        span_ms = journal.rows("equity_span", {"since_ms": since_ms})[0]["span_ms"]
        asked = {"since_ms": since_ms, "step_ms": max(1, span_ms // POINTS_MAX), "limit": POINTS_MAX}
        return Json(views.curve(journal.rows("equity", asked)))

    @app.get("/api/incidents", tags=["history"], responses=said(200, history.Incidents, 422, 503))
    def incidents(limit: Limit = 50) -> Response:
        """What went wrong, repaired or not."""
        return Json({"incidents": journal.rows("incidents", {"limit": limit})})


def _add_pages(app: FastAPI, sources: Sources) -> None:
    parts = {file.name: file for file in STATIC.iterdir() if file.is_file()}

    @app.get("/metrics", tags=["state"], response_class=PlainTextResponse)
    def metrics() -> Response:
        """Prometheus metrics."""
        return Response(sources.metrics.exposition(), media_type=CONTENT_TYPE)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(STATIC / "index.html", headers=_PAGE_HEADERS)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return FileResponse(STATIC / "docs.html", headers=_PAGE_HEADERS)

    @app.get("/static/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        if name not in parts:
            raise HTTPException(404, "Not Found")
        return FileResponse(parts[name], headers=_PAGE_HEADERS)


_PAGE_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}


class _Counted:
    """Counts requests by route and class of the answer; unknown paths are one route."""

    def __init__(self, app: Application, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        code = 500

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.take("qt_http_requests_total", 1, route, f"{code // 100}xx")


class _Headed:
    """Answers HEAD as GET; the server leaves the body out."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = {**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope
        await self._app(asked, receive, send)
