"""What the acceptance tests share."""

from __future__ import annotations

import pytest

from tests.web_site import Site


@pytest.fixture
def site(tmp_path):
    """A web server that listens, with an empty journal."""
    site = Site(tmp_path)
    yield site
    site.close()
