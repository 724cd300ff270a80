"""The exchange's streams: frames a second in the process and over loopback, replay faster than real, memory.

The day of `universe_2025-06-18` (295 symbols, one-minute candles) is replayed by an exchange in a process of its own
and heard by one client: every symbol's closed and forming one-minute candle, and its mark price each second. Prints
lines of JSON.
Run: `python tests/bench/bench_exchange_streams.py`.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.server import serve_in_thread
from qt_actors.exchange.virtual import VirtualExchange

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

UNIVERSE = Path(__file__).parents[3] / "shared" / "data" / "universe_2025-06-18" / "1m"
MINUTE_MS = 60_000
START_MS = 1_750_212_000_000  # two hours into the day
SECONDS = 15.0
NAMES_A_REQUEST = 200


def tell(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


def streams(symbols: list[str]) -> list[str]:
    return [name for symbol in symbols for name in (f"{symbol.lower()}@kline_1m", f"{symbol.lower()}@markPrice@1s")]


def in_the_process(symbols: list[str]) -> None:
    """Build and encode frames, no socket: each step is a quarter of a second at speed 300."""
    exchange = VirtualExchange(
        ExchangeConfig(replay=str(UNIVERSE), symbols=tuple(symbols), start_ms=START_MS, speed=300.0)
    )
    exchange.subscribe(*streams(symbols))
    heard, began, start_ms = 0, time.process_time(), exchange.now_ms
    while exchange.now_ms < start_ms + 120 * MINUTE_MS:
        heard += len(exchange.advance(exchange.now_ms + 75_000))
    tell(
        what="streams in the process",
        symbols=len(symbols),
        frames_a_cpu_second=round(heard / (time.process_time() - began)),
    )
    alone = VirtualExchange(
        ExchangeConfig(replay=str(UNIVERSE), symbols=tuple(symbols), start_ms=START_MS, speed=300.0)
    )
    began, start_ms = time.process_time(), alone.now_ms
    alone.advance(start_ms + 300 * MINUTE_MS)
    spent = time.process_time() - began
    tell(what="market in the process", symbols=len(symbols), bars_a_cpu_second=round(300 * len(symbols) / spent),
         times_real=round(300 * 60 / spent))  # fmt: skip


def serve(symbols: list[str], speed: float, far: Connection) -> None:
    served = serve_in_thread(
        ExchangeConfig(replay=str(UNIVERSE), symbols=tuple(symbols), start_ms=START_MS, speed=speed)
    )
    far.send(served.port)
    far.recv()
    served.stop()


def spent_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, which: str) -> int:
    found = re.search(rf"{which}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) // 1024 if found else 0


async def listen(port: int, pid: int, symbols: list[str], speed: float) -> None:
    frames = size = 0
    closed: dict[str, list[int]] = {}
    base = f"http://127.0.0.1:{port}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{base}/market/stream", max_msg_size=0) as socket,
    ):
        names = streams(symbols)
        for low in range(0, len(names), NAMES_A_REQUEST):
            await socket.send_json({"method": "SUBSCRIBE", "params": names[low : low + NAMES_A_REQUEST], "id": low})
        clock = await (await session.get(f"{base}/qt/clock")).json()
        began, spent = time.perf_counter(), spent_s(pid)
        while time.perf_counter() - began < SECONDS:
            raw = (await socket.receive()).data
            frames, size = frames + 1, size + len(raw)
            if '"x":true' in raw:
                candle = orjson.loads(raw)["data"]["k"]
                closed.setdefault(candle["s"], []).append(candle["t"])
        took, spent = time.perf_counter() - began, spent_s(pid) - spent
        after = await (await session.get(f"{base}/qt/clock")).json()
    whole = all(times == list(range(times[0], times[-1] + 1, MINUTE_MS)) for times in closed.values())
    tell(
        what="replay over loopback",
        symbols=len(symbols),
        speed=speed,
        reached=round((after["market_ms"] - clock["market_ms"]) / 1000 / took, 1),
        held_ms=after["held_ms"],
        frames_a_second=round(frames / took),
        megabytes_a_second=round(size / took / 1e6, 2),
        closed_candles=sum(map(len, closed.values())),
        none_missing_or_doubled=whole,
        server_cpu_share=round(spent / took, 3),
        memory_mb=memory_mb(pid, "VmRSS"),
        peak_memory_mb=memory_mb(pid, "VmHWM"),
    )


def over_loopback(symbols: list[str], speed: float) -> None:
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    server = context.Process(target=serve, args=(symbols, speed, far))
    server.start()
    asyncio.run(listen(near.recv(), server.pid or 0, symbols, speed))
    near.send("stop")
    server.join()


def main() -> None:
    if not UNIVERSE.is_dir():
        tell(skipped=f"no candles at {UNIVERSE}")
        return
    every = sorted(path.stem for path in UNIVERSE.glob("*.parquet"))
    in_the_process(every[:222])
    for symbols, speed in ((every[:222], 1.0), (every, 300.0), (every, 3000.0)):
        over_loopback(symbols, speed)


if __name__ == "__main__":
    main()
