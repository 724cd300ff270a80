"""Everything the exchange remembers of its one account, as plain structs that can be written and read back.

Nothing that decides a future reply lives outside `State`; what is derived from it (open orders by symbol, client ids)
is rebuilt by `core.Core`. Written form: MessagePack of `State` (by `state_writer.StateWriter`), read back by `decode`.
Orders, trades and income are written as arrays, so a new field goes to the end with a default, or the version grows.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from qt_actors.exchange.figures import ZERO
from qt_actors.exchange.quotes import Quote

LIFE_MS: Final = 365 * 86_400_000
STATE_VERSION: Final = 1
OPEN_STATUSES: Final = frozenset({"NEW", "PARTIALLY_FILLED"})
CLOSING: Final = frozenset({("LONG", "SELL"), ("SHORT", "BUY")})
ALGO_OPEN_STATUSES: Final = frozenset({"NEW"})


class StateError(ValueError):
    """Saved state that cannot be used; the text says why and what to do."""


class Position(msgspec.Struct, kw_only=True):
    """One position row: `side` is BOTH in one-way mode, LONG or SHORT in hedge mode; `qty` is signed (base asset)."""

    symbol: str
    side: str
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    """Signed sum of qty x price still held: entry price = cost / qty."""
    realized: Decimal = ZERO
    """Accumulated realised profit ever, before fees (`cr` in ACCOUNT_UPDATE)."""
    net_since_open: Decimal = ZERO
    """Realised profit minus fees since the position was last flat: moves the break-even price."""
    isolated_wallet: Decimal = ZERO
    update_ms: int = 0

    @property
    def entry_price(self) -> Decimal:
        """Average entry price, zero when flat."""
        return self.cost / self.qty if self.qty else ZERO

    @property
    def break_even_price(self) -> Decimal:
        """Price at which closing brings back every fee and loss since the position was opened."""
        return (self.cost - self.net_since_open) / self.qty if self.qty else ZERO


class SymbolSetting(msgspec.Struct, kw_only=True):
    """What the account chose for one symbol."""

    leverage: int
    isolated: bool = False


class Order(msgspec.Struct, kw_only=True, array_like=True):
    """A regular order, open or closed."""

    order_id: int
    symbol: str
    client_order_id: str
    side: str
    type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal = ZERO
    position_side: str = "BOTH"
    reduce_only: bool = False
    close_position: bool = False
    orig_type: str = ""
    stop_price: Decimal = ZERO
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    price_match: str = "NONE"
    stp_mode: str = "EXPIRE_MAKER"
    good_till_ms: int = 0
    callback_rate: Decimal | None = None
    activate_price: Decimal | None = None
    algo_id: int = 0
    """The conditional order this one was triggered by, 0 if none."""
    status: str = "NEW"
    executed: Decimal = ZERO
    quote: Decimal = ZERO
    """Sum of fill price x fill quantity."""
    assumed_price: Decimal = ZERO
    """Price at which the open order is held against margin."""
    expiry_reason: str = "0"
    create_ms: int = 0
    update_ms: int = 0
    priority: int = 0
    """Queue position: smaller is earlier; an amended order goes to the end."""
    amendments: int = 0
    modify_id: int = 0
    ahead: Decimal = ZERO
    """Quantity of others that stands before a resting order at its own price."""

    @property
    def remaining(self) -> Decimal:
        """Quantity not yet executed."""
        return self.quantity - self.executed

    @property
    def average_price(self) -> Decimal:
        """Average fill price, zero before the first fill."""
        return self.quote / self.executed if self.executed else ZERO

    @property
    def ends_ms(self) -> int:
        """Time at which it expires by itself, at the latest a year after it was placed."""
        return self.good_till_ms or self.create_ms + LIFE_MS

    @property
    def is_open(self) -> bool:
        """Whether it may still be filled."""
        return self.status in OPEN_STATUSES

    @property
    def reduces(self) -> bool:
        """Whether it can only make a position smaller: reduce-only, or closing its side in hedge mode."""
        return self.reduce_only or (self.position_side, self.side) in CLOSING


class AlgoOrder(msgspec.Struct, kw_only=True, array_like=True):
    """A conditional order of the Algo Service."""

    algo_id: int
    client_algo_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    quantity: Decimal = ZERO
    price: Decimal = ZERO
    trigger_price: Decimal = ZERO
    position_side: str = "BOTH"
    working_type: str = "CONTRACT_PRICE"
    price_match: str = "NONE"
    stp_mode: str = "EXPIRE_MAKER"
    close_position: bool = False
    price_protect: bool = False
    reduce_only: bool = False
    activate_price: Decimal | None = None
    callback_rate: Decimal | None = None
    good_till_ms: int = 0
    activated: bool = False
    extreme: Decimal = ZERO
    """Highest (SELL) or lowest (BUY) working price since placement; trailing orders only."""
    status: str = "NEW"
    child_id: int = 0
    reason: str = ""
    create_ms: int = 0
    update_ms: int = 0
    trigger_ms: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it still waits for its trigger."""
        return self.status in ALGO_OPEN_STATUSES


class Trade(msgspec.Struct, kw_only=True, frozen=True, array_like=True):
    """One fill of one order."""

    trade_id: int
    order_id: int
    symbol: str
    side: str
    position_side: str
    price: Decimal
    quantity: Decimal
    realized: Decimal
    commission: Decimal
    asset: str
    maker: bool
    time_ms: int


class Income(msgspec.Struct, kw_only=True, frozen=True, array_like=True):
    """One change of a wallet balance; `tran_id` is unique."""

    tran_id: int
    symbol: str
    kind: str
    amount: Decimal
    asset: str
    info: str
    time_ms: int
    trade_id: int = 0


class Amendment(msgspec.Struct, kw_only=True, frozen=True, array_like=True):
    """One change of an open order: price and quantity before and after, `count` of the order's changes so far."""

    amendment_id: int
    order_id: int
    symbol: str
    client_order_id: str
    price_before: Decimal
    price_after: Decimal
    quantity_before: Decimal
    quantity_after: Decimal
    price_match: str
    count: int
    time_ms: int


class MarginMove(msgspec.Struct, kw_only=True, frozen=True, array_like=True):
    """Margin that the user added (type 1) to or took (type 2) from an isolated position."""

    symbol: str
    type: int
    amount: Decimal
    asset: str
    position_side: str
    time_ms: int


class State(msgspec.Struct, kw_only=True):
    """The account. Invariant: wallets[a] == income_dropped[a] + sum of income of asset a, exactly."""

    version: int = STATE_VERSION
    now_ms: int = 0
    revision: int = 0
    next_id: int = 1
    """Shared by orders, trades, transfers and queue positions."""
    hedge_mode: bool = False
    multi_assets: bool = False
    wallets: dict[str, Decimal] = {}
    wallet_update_ms: dict[str, int] = {}
    positions: dict[str, Position] = {}
    settings: dict[str, SymbolSetting] = {}
    orders: dict[int, Order] = {}
    algo_orders: dict[int, AlgoOrder] = {}
    trades: list[Trade] = []
    income: list[Income] = []
    amendments: list[Amendment] = []
    margin_moves: list[MarginMove] = []
    fee_burn: bool = False
    """Whether fees shall be paid in BNB; the account holds none, so that they are paid in the margin asset."""
    income_dropped: dict[str, Decimal] = {}
    """Sum of the income rows that retention has removed."""
    quotes: dict[str, Quote] = {}
    countdowns: dict[str, int] = {}
    """Time (ms) at which all open orders of a symbol are cancelled unless the client asks anew."""
    taken: dict[str, dict[str, Decimal]] = {}
    """Quantity our takers already took from the current quote, by symbol and taker's side."""
    forgot_ms: int = 0
    """When retention was last applied."""
    called: dict[str, int] = {}
    """Time (ms) of the MARGIN_CALL of each margin pool (`Margin.pool_name`) that is still above its threshold."""


class _Head(msgspec.Struct):
    version: int = 0


def decode(data: bytes) -> State:
    """Saved bytes back to a state.

    Raises:
        StateError: not a saved state, or one of another version.
    """
    try:
        version = msgspec.msgpack.decode(data, type=_Head).version
    except msgspec.MsgspecError as cause:
        raise StateError(f"exchange state: unreadable ({cause}); delete the file to start a new account") from cause
    if version != STATE_VERSION:
        raise StateError(
            f"exchange state: version {version}, this program reads {STATE_VERSION}; delete the file to start anew"
        )
    try:
        return msgspec.msgpack.decode(data, type=State)
    except msgspec.MsgspecError as cause:
        raise StateError(f"exchange state: damaged ({cause}); delete the file to start a new account") from cause
