"""Faults: what a healthy exchange never shows, on order. They are given three ways, all with the same words.

- by file: `qt exchange --faults FILE`, one JSON object a line, `#` begins a comment (in code: `ExchangeConfig.faults`);
- by HTTP while it runs: GET `/qt/faults` lists, POST adds the body (lines like the file's, answered with their
  numbers), DELETE clears all or `?number=N`;
- by seed: a line of kind `random` with a `seed` and a rate a kind: `{"kind": "random", "seed": 7, "rates":
  {"latency": 0.05, "drop": 0.01}}`. The same seed and the same sequence of requests and frames give the same faults.

A fault says what goes wrong (`kind`), what it meets, when, and how. It is an object of these fields:

    meets   method, path            a request; `*` and `?` in path
            route, stream           a frame: public, market, private; its stream's name with `*`, "user" for user data
            event, execution        a frame: its "e"; "x" of ORDER_TRADE_UPDATE, "X" of ALGO_UPDATE,
                                    "m" of ACCOUNT_UPDATE
            symbol, side, type      either: as in the request or in the frame; without any of all these: everything
    when    from_ms                 not before this exchange time, ms UTC
            after_s, for_s          not before so many real seconds have passed; for so many from then on, 0 for ever
            skip, times             the first so many it would meet go by; then at most so many, 0 for all
            probability, seed       of each that it meets; the chance is a hash of the seed and their count
            every_s                 kinds that happen at a moment: again after so many real seconds, 0 for once
    how     ms, jitter_ms           a time, and a random part added to it
            executed                whether the order was carried out before the answer went wrong
            code, status, text      of the answer      retry_after_s  its Retry-After
            share                   of the body that arrives      quiet  without telling

| kind | meets | what happens |
|---|---|---|
| latency | request, frame | `ms` + up to `jitter_ms` late; `executed`: the reply is late, the order was in time |
| drop | request, frame | the connection closes unanswered, before or (`executed`) after the order; the frame is lost |
| partial_reply | request | carried out; the connection is cut after `share` of the body |
| refuse | request | HTTP `status` with `code` and `text`; `executed` as said |
| unknown_executed, unknown_not_executed | request | HTTP 503 "Unknown error, ..." after, or without, carrying it out |
| unavailable, internal_error, throttled | request | HTTP 503 of failures known to be none: no code, -1001, -1008 |
| bad_reply, backend_timeout | request | -1006, and -1007 with HTTP 408; `executed` as said |
| bad_gateway | request | HTTP 502 with a page of HTML; `executed` as said |
| too_many_requests, too_many_orders, banned | request | HTTP 429 -1003, 429 -1015, 418 -1003, with `retry_after_s` |
| bad_timestamp | request | -1021 |
| no_liquidity | request | the book is empty for this order: MARKET is accepted and ends EXPIRED |
| expire_order | request | the accepted order, conditional too, ends EXPIRED after `ms`, by the exchange's own doing |
| duplicate_request | request | carried out twice; the first answer is heard or, with `executed`, the second |
| duplicate, reorder | frame | sent twice; sent after the next frame of that connection, or after a second |
| delayed_fill | frame | what tells of a fill (TRADE_LITE, TRADE, ACCOUNT_UPDATE ORDER) comes `ms` late |
| disconnect | frame, moment | cut, without a close frame |
| mute, dead | frame, moment | the socket stays open and hears no more; dead: only answers to SUBSCRIBE and its like |
| listen_key_loss | moment | the listen key is gone; `quiet`: without listenKeyExpired |
| clock_jump | moment | exchange time jumps by `ms`; back: the market waits for it |
| expire_open | moment | open orders of that symbol, side, type, conditional too, end EXPIRED |
| deleverage | moment | positions of that symbol, or all, are closed by auto-deleveraging (`adl_autoclose-…`) |
| skew | while it lasts | the exchange judges and tells time `ms` ahead of its market |
| maintenance | while it lasts | connections are cut, everything is refused (503 -1016), system status says 1 |
| before_2025_12_09 | while it lasts | the order endpoints take conditional orders, the algo endpoints do not exist |
| before_2026_04_23 | while it lasts | unrouted stream URLs deliver all streams, user data too; the end cuts them |

Requests to `/qt/` meet no fault. Latency never lets a frame pass an earlier one that met the same fault.
"""
