"""Pages: the query's rules, and that all pages together are the complete list."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.sandbox.learners import DOCUMENTED_USER, LO_TYPES, enrollments_of, related_to
from connector.sandbox.pages import (
    BadParameterError,
    PageQuery,
    build_page,
    build_users_page,
    decode_cursor,
    encode_cursor,
    lo_type_of,
    parse_query,
)

URL = "https://learningmanager.adobe.com/primeapi/v2/users/7/enrollments"
ALL_TYPES = ",".join(LO_TYPES)
# The second of learner 7's three pages.
QUERY = f"page[limit]=8&filter.loTypes={ALL_TYPES}"
SELF = f"{URL}?{QUERY}&page[cursor]={encode_cursor(enrollments_of('7')[:8])}"
NEXT = f"{URL}?{QUERY}&page[cursor]={encode_cursor(enrollments_of('7')[:16])}"
SECOND_PAGE = list(enrollments_of("7")[8:16])
COUNTS = '{"jobAid":0,"course":%s,"learningProgram":0,"certification":0}'
BAD_COUNTS = (
    *("x", "[]", "-5", "null", "{}", '{"course":3}', "[" * 40_000),
    *(COUNTS % count for count in ("-3", "3.5", '"3"', "NaN", "null")),
)

Document = dict[str, Any]


def pages_of(user: str, query: str) -> list[Document]:
    """Return all pages of *query*, following each next link as it is."""
    enrollments = enrollments_of(user)
    pages = [build_page(enrollments, parse_query(query), URL, user)]
    while "next" in pages[-1]["links"]:
        link = urlsplit(pages[-1]["links"]["next"])
        pages.append(build_page(enrollments, parse_query(link.query), URL, user))
    return pages


def served(pages: list[Document]) -> list[Document]:
    """Return the enrollments of all *pages*."""
    return [enrollment for page in pages for enrollment in page["data"]]


def second_page(fault: str) -> Document:
    """Return learner 7's second page with *fault*."""
    return build_page(enrollments_of("7"), parse_query(urlsplit(SELF).query), URL, "7", fault)


def test_parse_query__defaults() -> None:
    """ALM's defaults: courses, 10 per page, oldest first; an empty cursor is the first page."""
    query = parse_query("page[cursor]=")

    assert query == PageQuery(
        lo_types=("course",),
        limit=10,
        offset=0,
        is_active=False,
        is_descending=False,
        include=(),
        given=(),
        cursor="",
    )
    assert query.number == 1


def test_parse_query__every_parameter() -> None:
    """Every parameter is understood, encoded and in any order, and repeated in ALM's order."""
    text = (
        "include=learner%2CloInstance.loResources&sort=-dateEnrolled&filter.states=active"
        "&filter.loTypes=jobAid&filter.loTypes=course&page%5Blimit%5D=7&page[cursor]=opaque-000014"
    )

    query = parse_query(text)

    assert query == PageQuery(
        lo_types=("jobAid", "course"),
        limit=7,
        offset=14,
        is_active=True,
        is_descending=True,
        include=("learner", "loInstance.loResources"),
        given=(
            ("page[limit]", "7"),
            ("filter.loTypes", "jobAid,course"),
            ("filter.states", "active"),
            ("sort", "-dateEnrolled"),
            ("include", "learner,loInstance.loResources"),
        ),
        cursor="opaque-000014",
    )
    assert query.number == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("page[limit]=0", "page[limit] 0 is not from 1 to 10"),
        ("page[limit]=11", "page[limit] 11 is not from 1 to 10"),
        ("page[limit]=", "page[limit]  is not from 1 to 10"),
        ("page[limit]=%D9%A3", "page[limit] \u0663 is not from 1 to 10"),
        ("filter.loTypes=course,Course", "filter.loTypes course,Course is not known"),
        ("filter.loTypes=course&filter.loTypes=x", "filter.loTypes course,x is not known"),
        ("filter.states=", "filter.states is not active"),
        ("sort=name", "sort name is not known"),
        ("include=learner,authors.learner", "include learner,authors.learner is not known"),
    ],
)
def test_parse_query__bad_parameter(text: str, message: str) -> None:
    """A parameter that breaks ALM's rules is refused by name and value."""
    with pytest.raises(BadParameterError) as raised:
        parse_query(text)

    assert str(raised.value) == message


@pytest.mark.parametrize("counts", BAD_COUNTS, ids=range(len(BAD_COUNTS)))
def test_parse_query__bad_cursor(counts: str) -> None:
    """A cursor that the API did not make is refused, base64 or not."""
    for cursor in (counts, base64.b64encode(counts.encode()).decode(), f"opaque-{counts}"):
        with pytest.raises(BadParameterError, match=r"^page\[cursor\] is not one of this API's$"):
            parse_query(f"page[cursor]={quote(cursor)}")


@pytest.mark.parametrize("count", [0, 3, 60])
def test_cursor__round_trip(count: int) -> None:
    """A cursor stands for the number of enrollments before it, also if it is opaque."""
    enrollments = enrollments_of("7", count)

    assert decode_cursor(encode_cursor(enrollments)) == count
    assert encode_cursor(enrollments, is_opaque=True) == f"opaque-{count:06}"
    assert decode_cursor(f"opaque-{count:06}") == count


def test_build_page__documented(documented: Document) -> None:
    """The documented page, to the letter; its next link leads to an empty page without one."""
    link = urlsplit(documented["links"]["self"])
    url, user = link._replace(query="").geturl(), DOCUMENTED_USER
    query = parse_query(urlsplit(documented["links"]["next"]).query)

    first = build_page(enrollments_of(user), parse_query(link.query), url, user)
    second = build_page(enrollments_of(user), query, url, user)

    assert json.dumps(first) == json.dumps(documented)
    assert second == {"links": {"self": documented["links"]["next"]}, "data": []}


@settings(max_examples=100)
@given(
    user=st.integers(1, 2_000).map(str),
    limit=st.integers(1, 10),
    order=st.sampled_from(["dateEnrolled", "-dateEnrolled"]),
    lo_types=st.sets(st.sampled_from(LO_TYPES), min_size=1),
    is_active=st.booleans(),
)
def test_build_page__complete_list(
    user: str, limit: int, order: str, lo_types: set[str], *, is_active: bool
) -> None:
    """The pages of any query are the complete list, and each cursor counts what was served."""
    query = f"page[limit]={limit}&filter.loTypes={','.join(lo_types)}&sort={order}"
    over = ("COMPLETED", "REJECTED") if is_active else ()

    pages = pages_of(user, query + "&filter.states=active" * is_active)

    expected = [
        enrollment
        for enrollment in enrollments_of(user)
        if lo_type_of(enrollment) in lo_types and enrollment["attributes"]["state"] not in over
    ]
    assert served(pages) == (expected[::-1] if order.startswith("-") else expected)
    for number, page in enumerate(pages[:-1], 1):
        (cursor,) = parse_qs(urlsplit(page["links"]["next"]).query)["page[cursor]"]
        counts = Counter(map(lo_type_of, served(pages[:number])))
        assert +Counter(json.loads(base64.b64decode(cursor))) == counts
        assert len(page["data"]) == limit


def test_build_page__included() -> None:
    """A page has the related resources of its own enrollments, only if the query asks for them."""
    query = parse_query("page[limit]=2&include=learner,loInstance")

    page = build_page(enrollments_of("7"), query, URL, "7")

    assert page["included"] == related_to(page["data"], ["learner", "loInstance"])
    assert "included" not in second_page("")


@pytest.mark.parametrize(
    ("fault", "next_link", "data"),
    [
        ("", NEXT, SECOND_PAGE),
        ("drip", NEXT, SECOND_PAGE),
        ("gap", NEXT, SECOND_PAGE[1:]),
        ("duplicate", NEXT, [enrollments_of("7")[7], *SECOND_PAGE]),
        ("loop", SELF, SECOND_PAGE),
        ("empty-page", SELF, []),
        ("twice", NEXT, [SECOND_PAGE[0], *SECOND_PAGE]),
        ("empty-next", "", SECOND_PAGE),
        (
            "foreign-next",
            "http://alm.internal.example:8443/" + NEXT.partition("://")[2].partition("/")[2],
            SECOND_PAGE,
        ),
        ("foreign-path", NEXT.replace("/enrollments?", "/badges?"), SECOND_PAGE),
        ("foreign-user", NEXT.replace("/users/7/", "/users/97/"), SECOND_PAGE),
        ("next-secret/x", NEXT.replace("?", "?snapshot=x&snapshot=1&"), SECOND_PAGE),
        ("next-userinfo", NEXT.replace("://", "://alm@"), SECOND_PAGE),
        ("opaque", f"{URL}?{QUERY}&page[cursor]=opaque-000016", SECOND_PAGE),
    ],
)
def test_build_page__fault(fault: str, next_link: str, data: list[Document]) -> None:
    """Each fault of a page changes its next link or its enrollments, and nothing else."""
    assert second_page(fault) == {"links": {"self": SELF, "next": next_link}, "data": data}


def test_build_page__hidden_rows() -> None:
    """A hidden row is counted and takes a place in the page, and no enrollment is left out."""
    query = "page[limit]=3"
    served: list[Document] = []
    while query:
        page = build_page(enrollments_of("7"), parse_query(query), URL, "7", "hidden/2")
        served += page["data"]
        query = page["links"].get("next", "").partition("?")[2]
        if len(served) == 1:
            cursor = query.partition("cursor]=")[2]

    courses = [row for row in enrollments_of("7") if row["id"].startswith("course")]
    assert served == courses
    assert json.loads(base64.b64decode(cursor)) == {
        **dict.fromkeys(("learningProgram", "certification"), 0),
        "jobAid": 2,
        "course": 1,
    }


def test_build_page__without_data() -> None:
    """A learner without enrollments may have a page without data."""
    assert second_page("no-data") == {"links": {"self": SELF}}


def test_build_users_page() -> None:
    """An address is looked up by its number; another filter finds nobody."""
    page = build_users_page("ids=email:ada.31%2B1@example.com", URL)

    assert [user["id"] for user in page["data"]] == ["31", "1"]
    assert page["data"][0]["attributes"]["email"] == "ada.31+1@example.com"
    assert build_users_page("ids=31", URL)["data"] == []


def test_build_page__faults_at_the_ends() -> None:
    """A duplicate on the first page is its own first; a loop on the last page has a next link."""
    first = build_page(enrollments_of("7"), parse_query(QUERY), URL, "7", "duplicate")
    last = build_page(enrollments_of("7", 3), parse_query(QUERY), URL, "7", "loop")

    assert first["data"] == [enrollments_of("7")[0], *enrollments_of("7")[:8]]
    assert last["links"] == {"self": f"{URL}?{QUERY}", "next": f"{URL}?{QUERY}"}
