"""The page in Chromium: readable, inert, without any request, and usable with many rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from connector.formats.html import MAX_ROWS, Html
from connector.formats.lines import Ndjson
from tests.integrations.office.conftest import HOSTILE_NAMES, write
from tests.support.formats import REPORT
from tests.support.records import enrollment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integrations.office.conftest import Chromium

VIEWS = ["desktop-light", "desktop-dark", "phone-light", "phone-dark"]


def check_views(seen: dict[str, Any], page: Path) -> None:
    """Assert what holds for every page, in every view."""
    assert list(seen["views"]) == VIEWS
    for view in seen["views"].values():
        # The page itself is the only request, and no message is on the console.
        assert view["events"] == [f"request {page.as_uri()}"]
        assert view["violations"] == []
        assert view["wide"] == []
        assert (view["overflow"], view["scripts"], view["links"]) == (0, 1, 0)
        assert view["hacked"] is False
        assert (page.parent / f"{VIEWS[0]}.png").stat().st_size > 10_000
    assert seen["used"]["events"] == [f"request {page.as_uri()}"]
    assert seen["printed"] == {"background": "rgb(255, 255, 255)", "controls": 0}
    assert (page.parent / "page.pdf").read_bytes().startswith(b"%PDF")


@pytest.fixture
def page_of_a_run(tmp_path: Path) -> Path:
    """Return the page of a run in which one learner failed."""
    path = tmp_path / "x.html"
    users = [*map(str, range(1000, 1040)), "4041"]
    write(path, user_id=users, names=True, allow_incomplete=True, since="2000-01-01")
    return path


def test_page__of_a_run(page_of_a_run: Path, chromium: Chromium) -> None:
    """A run's page is accessible in every view; sorting, searching and filtering work."""
    seen = chromium.open(page_of_a_run)

    check_views(seen, page_of_a_run)
    used = seen["used"]
    assert used["headings"] == [
        *("learner", "learning object", "type", "state", "progress %", "passed", "score"),
        *("enrolled", "completed", "deadline"),
    ]
    for name in ("learning object", "progress %", "enrolled"):
        ascending, descending = used[f"{name} ascending"], used[f"{name} descending"]
        key: Any = float if name == "progress %" else str
        assert ascending == sorted(ascending, key=key)
        assert descending == sorted(descending, key=key, reverse=True)
        assert key(descending[0]) > key(ascending[0])
    choice, states = used["filtered"]
    assert states == [choice]
    assert used["found"]
    assert [name for name in used["found"] if not name.startswith("First aid")] == []
    assert used["more"] == [200, 800]


def test_page__hostile_names(tmp_path: Path, chromium: Chromium) -> None:
    """Names of any kind are shown, and do nothing: no script, no request, no reversed text."""
    growing, page = tmp_path / "growing", tmp_path / "x.html"
    served = [
        enrollment(lo_name=name, user_name=name, state=name, completion_deadline="2020-01-01")
        for name in HOSTILE_NAMES
    ]
    served.append(enrollment(lo_name="First aid"))
    growing.write_bytes(Ndjson().rows(served).encode())
    Html(Html.default_columns(["learner", "learningObject"])).finish(growing, page, REPORT)

    seen = chromium.open(page)

    check_views(seen, page)
    shown = seen["used"]["learning object ascending"]
    assert len(shown) == len(served)
    assert HOSTILE_NAMES[0] in shown
    assert max(map(len, shown)) == 200
    assert [name for name in shown if re.search("[\u202a-\u202e\u2066-\u2069\n\t]", name)] == []


def test_page__of_5000_enrollments(tmp_path: Path, chromium: Chromium) -> None:
    """A page with as many rows as it lists opens, sorts and filters; it says what it left out."""
    growing, page = tmp_path / "growing", tmp_path / "x.html"
    served = [
        enrollment(number=number, lo_name=f"First aid {number}", progress_percent=number % 101)
        for number in range(MAX_ROWS + 20)
    ]
    growing.write_bytes(Ndjson().rows(served).encode())
    Html(Html.default_columns(["learner", "learningObject"])).finish(growing, page, REPORT)

    seen = chromium.open(page)

    check_views(seen, page)
    assert seen["views"]["phone-light"]["shown"] == "200 of 5,000 shown"
    assert seen["used"]["progress % descending"][:2] == ["100", "100"]
    assert "lists the first 5,000 of 5,020 enrollments" in page.read_text(encoding="utf-8")
