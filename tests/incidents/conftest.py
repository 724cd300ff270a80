"""A stage for each incident, cleared when it is over, whatever became of it."""

from __future__ import annotations

import pytest

from tests.incidents.stage import Stage


@pytest.fixture
def begin(tmp_path):
    """Sets a stage: the arguments are those of ``Stage`` without its folder."""
    stages = []

    def set_stage(**arguments):
        stages.append(Stage(tmp_path, **arguments))
        return stages[-1]

    yield set_stage
    for stage in stages:
        stage.clear()
