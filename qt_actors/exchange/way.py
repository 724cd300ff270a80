"""The way between two prints of a candle: the market passes through every price between them.

A candle's path is a few points (`paths`), at high speeds four a bar, but a real market does not jump from its open to
its extreme. From one point of a candle to the next the last price, mark and index go on a straight line, all at the
moment of the later point, and whatever rests between is met in the order of its price:
- a stop or take-profit at its trigger, a trailing order where it is activated and where the price has turned, each on
  its own working price;
- a limit order where the book comes to it;
- a position where its margin pool is no longer carried.
There the last price lies on the tick at or next beyond that price, the touch stands to it as at the way's end, the
depth behind it is the book's at those prices, and the print's volume is spread evenly along the way. So a triggered
market order fills at its trigger, give or take spread and depth. What was met (a fill, a fall of the margin) may put
new things in the way; they are met, too. Depth that own orders took stays taken to the way's end.

Only inside a candle: its open is where it is, so that orders between the last close and the open fill at the open,
and so is every print of captured frames, where nobody has seen what lay between (`Quote.walked`).
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from itertools import takewhile

import msgspec

from qt_actors.exchange import triggers
from qt_actors.exchange.core import Core
from qt_actors.exchange.exposure import Margin
from qt_actors.exchange.figures import MONEY, ZERO
from qt_actors.exchange.quotes import Quote
from qt_actors.exchange.rules import SymbolRules


class Stop(msgspec.Struct, frozen=True, order=True):
    """A place on the way: the share of it that lies behind, and the price met there, of mark or of last."""

    share: Decimal
    price: Decimal
    on_mark: bool


class Way:
    """One symbol's way from a quote to the next.

    Attributes:
        start, end: the two quotes.
        falls: whether the last price comes down.
    """

    def __init__(self, start: Quote, end: Quote, rules: SymbolRules) -> None:
        self.start, self.end = start, end
        self.falls = end.last < start.last
        self._tick, self._step = rules.tick, rules.step
        self._share = self._volume = ZERO

    def stop(self, price: Decimal, *, on_mark: bool) -> Stop | None:
        """Where the way meets a price of mark or of last; None where it does not, no more, or only at its end."""
        start, end = (self.start.mark, self.end.mark) if on_mark else (self.start.last, self.end.last)
        if start == end:
            return None
        share = (price - start) / (end - start)
        return Stop(share, price, on_mark) if self._share < share < 1 else None

    def go(self, to: Stop) -> Quote:
        """Go there; the market as it stands then."""
        start, end, share = self.start, self.end, to.share
        last, mark = start.last + (end.last - start.last) * share, start.mark + (end.mark - start.mark) * share
        if to.on_mark:
            mark, last = _beyond(to.price, MONEY, falls=end.mark < start.mark), _near(last, self._tick)
        else:
            mark, last = _near(mark, MONEY), _beyond(to.price, self._tick, falls=self.falls)
        flow = end.volume * (share - self._share)
        flow -= flow % self._step
        self._share, self._volume = share, self._volume + flow
        return msgspec.structs.replace(
            end,
            last=last,
            mark=mark,
            index=_near(start.index + (end.index - start.index) * share, MONEY),
            bid=max(self._tick, last + end.bid - end.last),
            ask=max(self._tick * 2, last + end.ask - end.last),
            volume=flow,
        )

    def arrive(self) -> Quote:
        """The market at the end, with what is left of the volume."""
        return msgspec.structs.replace(self.end, volume=self.end.volume - self._volume) if self._volume else self.end


def _near(price: Decimal, unit: Decimal) -> Decimal:
    return (price / unit).to_integral_value(ROUND_HALF_EVEN) * unit


def _beyond(price: Decimal, unit: Decimal, *, falls: bool) -> Decimal:
    return (price / unit).to_integral_value(ROUND_FLOOR if falls else ROUND_CEILING) * unit


class Waymarks:
    """Finds what stands in the way."""

    def __init__(self, core: Core, margin: Margin) -> None:
        self._core = core
        self._margin = margin

    def next(self, way: Way) -> Stop | None:
        """The first place from here on where something is met. The engine's quote must be the way's end."""
        return min((stop for stop in self._stops(way) if stop is not None), default=None)

    def _stops(self, way: Way) -> Iterator[Stop | None]:
        core, end = self._core, way.end
        for algo in core.open_algos.get(end.symbol, {}).values():
            yield way.stop(triggers.next_price(algo), on_mark=algo.working_type == "MARK_PRICE")
        bids, asks = core.queues(end.symbol)
        if way.falls:
            reached = takewhile(lambda price: price > end.last, (bid.price - (end.ask - end.last) for bid in bids))
        else:
            reached = takewhile(lambda price: price < end.last, (ask.price + (end.last - end.bid) for ask in asks))
        yield next(filter(None, (way.stop(price, on_mark=False) for price in reached)), None)
        for position in core.held_of(end.symbol):
            equity, maintenance = self._margin.running_health(position)
            if equity <= maintenance:
                yield way.stop(self._margin.liquidation_price(position), on_mark=True)
