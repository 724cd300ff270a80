from qt_actors.judgement.writing import REPEAT_MS, REPEAT_MS_MAX, Writing
from qt_actors.messages.system import StateWritten


def test_a_state_is_open_until_this_very_revision_is_on_disk():
    writing = Writing()
    assert not writing.open
    writing.told(7)
    writing.told(8)
    writing.heard(StateWritten(revision=7))
    writing.heard(StateWritten(revision=8, fault="disk is full"))
    assert writing.open
    writing.heard(StateWritten(revision=8))
    assert not writing.open


def test_what_waits_goes_on_with_a_receipt_of_its_revision_or_a_later_one():
    writing, heard = Writing(), []
    writing.wait(2, heard.append)
    writing.wait(3, heard.append)
    assert writing.heard(StateWritten(revision=1)) == ()
    (go_on,) = writing.heard(StateWritten(revision=2))
    go_on("")
    assert len(writing.heard(StateWritten(revision=9))) == 1
    assert heard == [""]


def test_telling_again_never_ends_and_never_becomes_a_storm():
    writing = Writing()
    writing.told(1)
    delays = [writing.repeat_ms() for _ in range(40)]
    assert delays[:3] == [REPEAT_MS, 2 * REPEAT_MS, 4 * REPEAT_MS]
    assert set(delays[6:]) == {REPEAT_MS_MAX}
    writing.told(2)
    assert writing.repeat_ms() == REPEAT_MS
