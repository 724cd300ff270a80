import pytest

from config.settings import load
from qt_actors.decisions.voting import MODELS, staffing


@pytest.mark.parametrize(
    ("out", "health", "able", "quorum"),
    [((), 100, 4, 3), (("xgb",), 75, 3, 2), (("xgb", "lgbm"), 50, 2, 2), (MODELS[:3], 0, 1, 2), (MODELS, 0, 0, 2)],
)
def test_the_quorum_follows_who_can_vote_and_below_two_there_is_none(out, health, able, quorum):
    staff = staffing(dict.fromkeys(out, "missing"), load(None, {}))
    assert (staff.health, staff.able, staff.quorum) == (health, able, quorum)
    assert bool(staff.reason) == bool(out)


def test_one_model_alone_needs_only_itself():
    settings = load(None, {"AI_MODEL": "nhits"})
    assert staffing(dict.fromkeys(("xgb", "lgbm", "patchtst"), "missing"), settings).health == 100
    assert staffing({"nhits": "missing"}, settings).health == 0
