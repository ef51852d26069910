"""Pages: what a query may ask for, and that all pages together are the whole list, none more and none less."""

from __future__ import annotations

import base64
import json
from collections import Counter
from itertools import accumulate
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.sandbox.learners import DOCUMENTED_USER, LO_TYPES, enrollments_of
from connector.sandbox.pages import (
    BadParameterError,
    PageQuery,
    build_page,
    decode_cursor,
    encode_cursor,
    lo_type_of,
    parse_query,
)

ADDRESS = "https://learningmanager.adobe.com/primeapi/v2/users/20941371/enrollments"
OF_7 = "https://learningmanager.adobe.com/primeapi/v2/users/7/enrollments"
DOCUMENTED_QUERY = "page[limit]=3&filter.loTypes=course&sort=dateEnrolled"
DOCUMENTED_CURSOR = (
    "eyJqb2JBaWQiOjAsImNvdXJzZSI6MywibGVhcm5pbmdQcm9ncmFtIjowLCJjZXJ0aWZpY2F0aW9uIjowfQ=="
)
ALL_TYPES = ",".join(LO_TYPES)
DEFAULTS = PageQuery(
    ("course",), 10, 0, is_active=False, is_descending=False, include=(), given=(), cursor=None
)
# The second of learner 7's three pages, where the faults are tried.
QUERY_OF_7 = f"page[limit]=8&filter.loTypes={ALL_TYPES}"
CURSOR_BEFORE = encode_cursor(enrollments_of("7")[:8])
CURSOR_BEHIND = encode_cursor(enrollments_of("7")[:16])
SELF_LINK = f"{OF_7}?{QUERY_OF_7}&page[cursor]={CURSOR_BEFORE}"
NEXT_LINK = f"{OF_7}?{QUERY_OF_7}&page[cursor]={CURSOR_BEHIND}"
SECOND_PAGE = list(enrollments_of("7")[8:16])

Document = dict[str, Any]


def walk(user: str, query: str, first_fault: str = "") -> list[Document]:
    """Return the pages from the first of *query* to the one without a next link, following each link as it stands."""
    address = ADDRESS.replace("20941371", user)
    documents = [build_page(enrollments_of(user), parse_query(query), address, user, first_fault)]
    while "next" in documents[-1]["links"]:
        link = urlsplit(documents[-1]["links"]["next"])
        documents.append(build_page(enrollments_of(user), parse_query(link.query), address, user))
    return documents


def matching(
    user: str, lo_types: set[str], *, is_active: bool, is_descending: bool
) -> list[Document]:
    """Return the whole list that the pages of a query have to make up."""
    over = ("COMPLETED", "REJECTED") if is_active else ()
    whole = [
        one
        for one in enrollments_of(user)
        if lo_type_of(one) in lo_types and one["attributes"]["state"] not in over
    ]
    return whole[::-1] if is_descending else whole


def counts_in(link: str) -> Counter[str]:
    """Return what the cursor of *link* counts."""
    cursor = parse_qs(urlsplit(link).query)["page[cursor]"][0]
    return Counter(json.loads(base64.b64decode(cursor)))


def second_page(what: str) -> Document:
    """Return learner 7's second page with the fault *what*."""
    return build_page(
        enrollments_of("7"),
        parse_query(f"{QUERY_OF_7}&page[cursor]={CURSOR_BEFORE}"),
        OF_7,
        "7",
        what,
    )


def test_parse_query__nothing_asked() -> None:
    """ALM's defaults: courses alone, 10 a page, oldest first."""
    assert parse_query("") == DEFAULTS


def test_parse_query__blank_cursor() -> None:
    """A cursor without a value is none: the first page."""
    query = parse_query("page[cursor]=")

    assert (query.offset, query.number) == (0, 1)


def test_parse_query__documented() -> None:
    """The documented query, and the one of its next link."""
    given = (("page[limit]", "3"), ("filter.loTypes", "course"), ("sort", "dateEnrolled"))

    queries = [
        parse_query(DOCUMENTED_QUERY),
        parse_query(f"{DOCUMENTED_QUERY}&page[cursor]={DOCUMENTED_CURSOR}"),
    ]

    assert queries == [
        PageQuery(
            ("course",),
            3,
            0,
            is_active=False,
            is_descending=False,
            include=(),
            given=given,
            cursor=None,
        ),
        PageQuery(
            ("course",),
            3,
            3,
            is_active=False,
            is_descending=False,
            include=(),
            given=given,
            cursor=DOCUMENTED_CURSOR,
        ),
    ]


def test_parse_query__everything_asked_and_encoded() -> None:
    """Every parameter is understood, percent-encoded and in any order, and noted in the order of ALM's links."""
    text = "include=learner%2CloInstance.loResources&sort=-dateEnrolled&filter.states=active&filter.loTypes=jobAid%2Ccourse&page%5Blimit%5D=7"

    query = parse_query(text)

    given = (
        ("page[limit]", "7"),
        ("filter.loTypes", "jobAid,course"),
        ("filter.states", "active"),
        ("sort", "-dateEnrolled"),
        ("include", "learner,loInstance.loResources"),
    )
    include = ("learner", "loInstance.loResources")
    assert query == PageQuery(
        ("jobAid", "course"),
        7,
        0,
        is_active=True,
        is_descending=True,
        include=include,
        given=given,
        cursor=None,
    )


def test_parse_query__repeated_types() -> None:
    """A list repeated, as py-adobe-captivate-prime-api sends it, is the list with commas."""
    repeated = parse_query(
        "filter.loTypes=course&filter.loTypes=jobAid&filter.loTypes=certification"
    )

    assert repeated == parse_query("filter.loTypes=course,jobAid,certification")


@pytest.mark.parametrize("limit", range(1, 11))
def test_parse_query__every_limit(limit: int) -> None:
    """1 to 10 are limits."""
    assert parse_query(f"page[limit]={limit}").limit == limit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("page[limit]=0", "page[limit] 0 is not from 1 to 10"),
        ("page[limit]=11", "page[limit] 11 is not from 1 to 10"),
        ("page[limit]=-1", "page[limit] -1 is not from 1 to 10"),
        ("page[limit]=", "page[limit]  is not from 1 to 10"),
        ("page[limit]=ten", "page[limit] ten is not from 1 to 10"),
        ("page[limit]=3.0", "page[limit] 3.0 is not from 1 to 10"),
        ("page[limit]=%D9%A3", "page[limit] \u0663 is not from 1 to 10"),
        pytest.param(
            f"page[limit]={'9' * 5_000}",
            f"page[limit] {'9' * 5_000} is not from 1 to 10",
            id="5000 digits",
        ),
        ("filter.loTypes=lesson", "filter.loTypes lesson is not known"),
        ("filter.loTypes=course,Course", "filter.loTypes course,Course is not known"),
        ("filter.loTypes=course&filter.loTypes=x", "filter.loTypes course,x is not known"),
        ("filter.states=completed", "filter.states is not active"),
        ("filter.states=", "filter.states is not active"),
        ("sort=name", "sort name is not known"),
        ("sort=", "sort  is not known"),
        ("include=author", "include author is not known"),
        ("include=learner,authors.learner", "include learner,authors.learner is not known"),
    ],
)
def test_parse_query__bad_parameter(text: str, message: str) -> None:
    """A parameter that breaks ALM's rules is refused by name and value."""
    with pytest.raises(BadParameterError) as raised:
        parse_query(text)

    assert str(raised.value) == message


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "opaque-",
        "opaque-x",
        "opaque--5",
        DOCUMENTED_CURSOR[:-4],
        "\u00e9",
        *(
            base64.b64encode(text.encode()).decode()
            for text in (
                "[]",
                "3",
                "null",
                "{}",
                '{"course":3}',
                '{"jobAid":0,"course":-3,"learningProgram":0,"certification":0}',
                '{"jobAid":0,"course":3.5,"learningProgram":0,"certification":0}',
                '{"jobAid":0,"course":"3","learningProgram":0,"certification":0}',
                '{"jobAid":0,"course":NaN,"learningProgram":0,"certification":0}',
                '{"jobAid":0,"course":null,"learningProgram":0,"certification":0}',
            )
        ),
        pytest.param(base64.b64encode(b"[" * 40_000).decode(), id="40000 brackets"),
    ],
)
def test_parse_query__bad_cursor(cursor: str) -> None:
    """A cursor that the API did not make is refused, whatever it holds."""
    with pytest.raises(BadParameterError) as raised:
        parse_query(f"page[cursor]={quote(cursor)}")

    assert str(raised.value) == "page[cursor] is none of this API's"


def test_encode_cursor__documented(documented: list[Document]) -> None:
    """Three courses served make the documented cursor, to the letter."""
    cursor = encode_cursor(documented)

    assert (cursor, decode_cursor(cursor)) == (DOCUMENTED_CURSOR, 3)


def test_encode_cursor__opaque(documented: list[Document]) -> None:
    """An opaque cursor tells no counts, but the sandbox itself still reads it."""
    cursor = encode_cursor(documented, is_opaque=True)

    assert (cursor, decode_cursor(cursor)) == ("opaque-000003", 3)


@settings(deadline=None, database=None)
@given(count=st.integers(0, 60))
def test_decode_cursor__there_and_back(count: int) -> None:
    """A cursor reads as the number of enrollments behind which it stands."""
    served = enrollments_of("7", count)

    offsets = [
        decode_cursor(encode_cursor(served)),
        decode_cursor(encode_cursor(served, is_opaque=True)),
    ]

    assert offsets == [count, count]


def test_build_page__documented(documented: list[Document]) -> None:
    """The documented exchange to the letter, the order of its keys included."""
    document = build_page(
        enrollments_of(DOCUMENTED_USER), parse_query(DOCUMENTED_QUERY), ADDRESS, DOCUMENTED_USER
    )

    links = {
        "self": f"{ADDRESS}?{DOCUMENTED_QUERY}",
        "next": f"{ADDRESS}?{DOCUMENTED_QUERY}&page[cursor]={DOCUMENTED_CURSOR}",
    }
    assert json.dumps(document) == json.dumps({"links": links, "data": documented})


def test_build_page__empty_page_behind_the_documented_one(documented: list[Document]) -> None:
    """Behind the documented next link there is an empty page, and nothing behind it."""
    documents = walk(DOCUMENTED_USER, DOCUMENTED_QUERY)

    empty = {
        "links": {"self": f"{ADDRESS}?{DOCUMENTED_QUERY}&page[cursor]={DOCUMENTED_CURSOR}"},
        "data": [],
    }
    assert [documents[0]["data"], *documents[1:]] == [documented, empty]


@pytest.mark.parametrize(
    ("limit", "pages"), [(1, 3), (2, 2), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (9, 1), (10, 1)]
)
def test_build_page__documented_user_otherwise(
    limit: int, pages: int, documented: list[Document]
) -> None:
    """At every other limit the documented learner's last page has no next link."""
    documents = walk(DOCUMENTED_USER, f"page[limit]={limit}")

    assert [one for document in documents for one in document["data"]] == documented
    assert len(documents) == pages


@pytest.mark.parametrize("limit", range(1, 11))
@pytest.mark.parametrize("order", ["dateEnrolled", "-dateEnrolled"])
@settings(deadline=None, database=None, max_examples=20)
@given(
    user=st.integers(1, 2_000).map(str),
    lo_types=st.sets(st.sampled_from(LO_TYPES), min_size=1),
    is_active=st.booleans(),
)
def test_build_page__pages_joined_are_the_whole_list(
    user: str, limit: int, order: str, lo_types: set[str], is_active: bool
) -> None:
    """For every limit, order and set of types the pages joined are the whole list, and each cursor counts what was served."""
    states = "&filter.states=active" * is_active

    documents = walk(
        user,
        f"page[limit]={limit}&filter.loTypes={','.join(sorted(lo_types))}{states}&sort={order}",
    )

    whole = matching(user, lo_types, is_active=is_active, is_descending=order == "-dateEnrolled")
    served = accumulate(
        (Counter(map(lo_type_of, document["data"])) for document in documents[:-1]),
        lambda before, page: before + page,
    )
    assert [one for document in documents for one in document["data"]] == whole
    assert [+counts_in(document["links"]["next"]) for document in documents[:-1]] == list(served)
    assert {len(document["data"]) for document in documents[:-1]} <= {limit}


def test_build_page__default_type_is_course() -> None:
    """Who names no type gets courses alone."""
    documents = walk("7", "page[limit]=10")

    expected = matching("7", {"course"}, is_active=False, is_descending=False)
    assert [one for document in documents for one in document["data"]] == expected


def test_build_page__active_leaves_out_what_is_over() -> None:
    """Active is neither completed nor rejected."""
    documents = walk("42", f"filter.loTypes={ALL_TYPES}&filter.states=active")

    states = {one["attributes"]["state"] for document in documents for one in document["data"]}
    assert states == {"ENROLLED", "STARTED", "PENDING_APPROVAL", "WAITING"}


def test_build_page__learner_without_enrollments() -> None:
    """Nobody's list is one empty page without a next link."""
    document = build_page((), parse_query("page[limit]=3"), OF_7, "7")

    assert document == {"links": {"self": f"{OF_7}?page[limit]=3"}, "data": []}


def test_build_page__behind_the_end() -> None:
    """A cursor behind the last enrollment gets an empty last page."""
    cursor = encode_cursor(enrollments_of("7", 23))

    document = build_page(enrollments_of("7", 3), parse_query(f"page[cursor]={cursor}"), OF_7, "7")

    assert document == {"links": {"self": f"{OF_7}?page[cursor]={cursor}"}, "data": []}


def test_build_page__links_are_raw_and_keep_what_was_asked() -> None:
    """Links carry every parameter as ALM writes it: neither brackets, commas nor base64 encoded, the cursor last."""
    text = "include=learner%2CloInstance&sort=-dateEnrolled&filter.states=active&filter.loTypes=course&filter.loTypes=jobAid&page%5Blimit%5D=2"

    links = build_page(enrollments_of("7"), parse_query(text), OF_7, "7")["links"]

    raw = "page[limit]=2&filter.loTypes=course,jobAid&filter.states=active&sort=-dateEnrolled&include=learner,loInstance"
    cursor = encode_cursor(
        matching("7", {"course", "jobAid"}, is_active=True, is_descending=True)[:2]
    )
    assert links == {"self": f"{OF_7}?{raw}", "next": f"{OF_7}?{raw}&page[cursor]={cursor}"}


@pytest.mark.parametrize("count", range(12))
def test_page_query__number(count: int) -> None:
    """Pages are numbered from 1, by how many enrollments came before."""
    cursor = encode_cursor(enrollments_of("7", count))

    assert parse_query(f"page[limit]=4&page[cursor]={cursor}").number == 1 + count // 4


@pytest.mark.parametrize("what", ["", "drip", "dead-token"])
def test_build_page__honest(what: str) -> None:
    """Without a fault of the page's own, the page is honest."""
    assert second_page(what) == {
        "links": {"self": SELF_LINK, "next": NEXT_LINK},
        "data": SECOND_PAGE,
    }


def test_build_page__gap() -> None:
    """An enrollment is missing, and the cursor counts it."""
    assert second_page("gap") == {
        "links": {"self": SELF_LINK, "next": NEXT_LINK},
        "data": SECOND_PAGE[1:],
    }


def test_build_page__duplicate() -> None:
    """The last enrollment of the page before comes again."""
    assert second_page("duplicate") == {
        "links": {"self": SELF_LINK, "next": NEXT_LINK},
        "data": [enrollments_of("7")[7], *SECOND_PAGE],
    }


def test_build_page__duplicate_on_the_first_page() -> None:
    """With no page before, the first enrollment comes twice."""
    document = build_page(enrollments_of("7"), parse_query(QUERY_OF_7), OF_7, "7", "duplicate")

    assert document["data"] == [enrollments_of("7")[0], *enrollments_of("7")[:8]]


def test_build_page__loop() -> None:
    """The next link is the page's own."""
    assert second_page("loop") == {
        "links": {"self": SELF_LINK, "next": SELF_LINK},
        "data": SECOND_PAGE,
    }


def test_build_page__empty_page() -> None:
    """No enrollments, and the way on stays where it was: the same cursor asked again gets them."""
    assert second_page("empty-page") == {
        "links": {"self": SELF_LINK, "next": SELF_LINK},
        "data": [],
    }


def test_build_page__foreign_next() -> None:
    """The next link leads to another host, the cursor being right."""
    foreign = NEXT_LINK.replace("https://", "https://evil.example/")

    assert second_page("foreign-next") == {
        "links": {"self": SELF_LINK, "next": foreign},
        "data": SECOND_PAGE,
    }


def test_build_page__foreign_user() -> None:
    """The next link leads to another user on the same host."""
    foreign = NEXT_LINK.replace("/users/7/", "/users/97/")

    assert second_page("foreign-user") == {
        "links": {"self": SELF_LINK, "next": foreign},
        "data": SECOND_PAGE,
    }


def test_build_page__opaque() -> None:
    """The next cursor tells no counts."""
    link = f"{OF_7}?{QUERY_OF_7}&page[cursor]=opaque-000016"

    assert second_page("opaque") == {
        "links": {"self": SELF_LINK, "next": link},
        "data": SECOND_PAGE,
    }


def test_build_page__opaque_once() -> None:
    """A cursor that does not tell its counts is understood all the same, and the next one tells them again."""
    documents = walk("7", f"page[limit]=5&filter.loTypes={ALL_TYPES}", first_fault="opaque")

    cursors = [document["links"]["next"].partition("[cursor]=")[2] for document in documents[:-1]]
    assert cursors[0] == "opaque-000005"
    assert [cursor[:4] for cursor in cursors[1:]] == ["eyJq"] * 3
    assert [one for document in documents for one in document["data"]] == list(enrollments_of("7"))


@pytest.mark.parametrize("what", ["loop", "empty-page"])
def test_build_page__a_next_link_even_on_the_last_page(what: str) -> None:
    """These two have a next link where the honest page has none."""
    document = build_page(enrollments_of("7", 3), parse_query(QUERY_OF_7), OF_7, "7", what)

    assert document["links"] == {"self": f"{OF_7}?{QUERY_OF_7}", "next": f"{OF_7}?{QUERY_OF_7}"}
