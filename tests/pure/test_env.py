"""What stands in ``.env``: shown in ``.env.example`` as it is checked, refused in one line, never repeated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config.settings import IDLE, SECRETS, Settings, SettingsError, allowed, load, warnings

EXAMPLE = Path(__file__).parents[2] / ".env.example"
LINE = re.compile(r"^(#?)([A-Z][A-Z_0-9]+)=(\S*) +# (.+)$")
SHOWN = {m[2]: m for m in map(LINE.match, EXAMPLE.read_text().splitlines()) if m}
FIELDS = {field.alias: name for name, field in Settings.model_fields.items()}


@pytest.mark.parametrize("variable", sorted(FIELDS))
def test_the_example_shows_each_variable_with_its_default_and_what_the_check_allows(variable):
    hidden, _, value, comment = SHOWN[variable].groups()
    name = FIELDS[variable]
    assert re.split(r"; ", comment)[0] == allowed(name)
    default = Settings.model_fields[name].default
    if default is None:
        assert hidden, "a variable without a default is not set by the example"
        assert variable not in SECRETS or not value
    else:
        assert getattr(load(None, {variable: value}), name) == default


def test_a_copy_of_the_example_is_a_configuration_that_changes_and_warns_of_nothing():
    settings = load(EXAMPLE, {})
    assert settings == load(None, {})
    assert warnings({}, settings) == ()


def refused(tmp_path, text):
    (tmp_path / ".env").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / ".env", {})
    return [line.removeprefix(f"{tmp_path / '.env'} ") for line in caught.value.lines]


def test_a_variable_that_stands_twice_is_refused_with_both_lines_even_when_they_agree(tmp_path):
    text = "# mine\n\nQT_MAX_POSITIONS=3\nQT_TP_PCT=0.1\n\n# later\nQT_MAX_POSITIONS=3\n"
    assert refused(tmp_path, text) == ["line 7: QT_MAX_POSITIONS stands in line 3 already; keep one"]


@pytest.mark.parametrize("text", ["QT_TP_PCT=", "QT_TP_PCT= ", "QT_TP_PCT=''", "QT_TP_PCT", "QT_TP_PCT=   # later"])
def test_a_variable_without_a_value_is_refused(tmp_path, text):
    told = refused(tmp_path, f"\n{text}\nQT_SL_PCT=0.1\n")
    assert told == ["line 2: QT_TP_PCT is empty; give it a value or delete the line"]


def test_every_fault_of_the_file_is_told_and_no_value(tmp_path):
    told = refused(tmp_path, "QT_API_TOKEN=secret-one\nmy secret words\nQT_API_TOKEN=secret-two\nQT_TP_PCT=\n")
    assert [line.split()[1].rstrip(":") for line in told] == ["2", "3", "4"]
    assert "secret" not in " ".join(told)


def test_an_empty_variable_of_the_environment_means_the_default():
    assert load(None, {"QT_TP_PCT": ""}) == load(None, {})


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.7", "::", "::1", "localhost", "trader-1.lan"])
def test_an_address_or_a_name_is_a_host(host):
    assert load(None, {"QT_HTTP_HOST": host}).http_host == host


@pytest.mark.parametrize("host", ["999.1.1.1", "127.0.0", "http://x", "a b", "x:80", "-x", "ü", "[::1]", "x" * 254])
def test_what_can_be_no_host_is_refused_in_one_line(host):
    with pytest.raises(SettingsError) as caught:
        load(None, {"QT_HTTP_HOST": host})
    (line,) = caught.value.lines
    assert line == f"QT_HTTP_HOST={host!r} is not allowed: an IP address of this machine or a host name"


def test_a_variable_that_nothing_reads_yet_warns_only_when_it_was_changed():
    assert warnings({}, load(None, {"QT_RETRAIN_INTERVAL_HOURS": "24"})) == ()
    told = warnings({}, load(None, {"QT_RETRAIN_INTERVAL_HOURS": "12", "USE_BINANCE_TESTNET": "false"}))
    assert told == (
        "QT_RETRAIN_INTERVAL_HOURS has no effect in this version",
        "USE_BINANCE_TESTNET has no effect in this version",
    )


def test_nothing_that_is_called_idle_is_read_anywhere():
    root = Path(__file__).parents[2]
    read = "".join(p.read_text() for room in ("qt_actors", "models", "exporters") for p in (root / room).rglob("*.py"))
    assert [name for name in sorted(IDLE) if f"settings.{name}" in read] == []
