"""Numbers as a person reads them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from qt_actors.decisions.texts import count, exited, number, numbers_apart, percent, price, seconds, usd


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        (percent(0.0206), "2.06 %"),
        (percent(Decimal("0.00125"), 3), "0.125 %"),
        (percent(None), "unknown"),
        (percent(float("nan")), "unknown"),
        (usd(Decimal("1234.5")), "$1,234.50"),
        (usd(-3.0), "-$3.00"),
        (usd(None), "unknown"),
        (number(0.4349), "0.43"),
        (number(float("inf")), "unknown"),
        (seconds(120_500), "120 s"),
        (price(Decimal("2.9023000")), "2.9023"),
        (price(Decimal("87400.00")), "87,400"),
        (price(Decimal("0.00001230")), "0.0000123"),
        (price(Decimal("NaN")), "unknown"),
        (exited("trail"), "by trail"),
        (exited("manual"), "by hand"),
        (count(1, "position"), "1 position"),
        (count(0, "position"), "0 positions"),
        (count(1234, "loss", "losses"), "1,234 losses"),
        (seconds(None), "unknown"),
    ],
)
def test_a_number_reads_as_it_should(text, reads):
    assert text == reads


@pytest.mark.parametrize(
    ("value", "limit", "reads"),
    [
        (0.43, 0.55, ("0.43", "0.55")),
        (0.4496, 0.45, ("0.4496", "0.4500")),
        (0.45, 0.45, ("0.45", "0.45")),
        (0.44999999, 0.45, ("0.450000", "0.450000")),
    ],
)
def test_a_value_just_short_of_its_limit_does_not_read_like_it(value, limit, reads):
    assert numbers_apart(value, limit) == reads
