"""Room is kept for the day the disk is full, and given to the journal then."""

from __future__ import annotations

import pytest

from qt_actors.cli.reserve import AMPLE_BYTES, CRAMPED_BYTES, FILE_NAME, RESERVE_BYTES, keep_room


@pytest.fixture
def reserve(tmp_path):
    return tmp_path / FILE_NAME


def test_where_there_is_ample_room_the_reserve_is_laid_in_once_and_really_stored(tmp_path, reserve):
    keep_room(tmp_path, lambda _folder: AMPLE_BYTES + 1)
    first = reserve.read_bytes()
    assert len(first) == RESERVE_BYTES
    assert len(set(first[:4096])) > 1, "a file system may store no zeros"
    keep_room(tmp_path, lambda _folder: AMPLE_BYTES + 1)
    assert reserve.read_bytes() == first


@pytest.mark.parametrize(("free", "kept"), [(CRAMPED_BYTES - 1, False), (CRAMPED_BYTES, True), (AMPLE_BYTES, True)])
def test_only_a_full_disk_takes_the_reserve_and_a_tight_one_gets_none(tmp_path, reserve, caplog, free, kept):
    keep_room(tmp_path, lambda _folder: free)
    assert not reserve.exists()
    reserve.write_bytes(b"x")
    keep_room(tmp_path, lambda _folder: free)
    assert reserve.exists() == kept
    assert [r.levelname for r in caplog.records] == ([] if kept else ["ERROR"])


def test_a_reserve_that_cannot_be_kept_is_no_reason_not_to_start(tmp_path, caplog):
    def gone(_folder):
        raise FileNotFoundError(2, "No such file or directory")

    keep_room(tmp_path / "nowhere", gone)
    assert "No such file or directory" in caplog.text
