"""The fault script's language, each of its words, and when a fault happens."""

from __future__ import annotations

import pytest

from connector.errors import Problem, UsageError
from connector.sandbox.faults import IN_THE_ANSWER, ON_THE_WAY, Fault, FaultScript, parse_faults

NAMES = (*IN_THE_ANSWER, *ON_THE_WAY)
STATUSES = ("400", "401", "403", "404", "406", "429", *map(str, range(500, 600)))
WITHOUT_VALUE = sorted({*NAMES, *STATUSES} - {"slow"})
PLACES = "WHERE:WHAT, where WHERE is page=N, request=N, user=ID, several with +, or *"


def told(problem: Problem) -> str:
    """Return the whole line that the user reads of one *problem*."""
    return f"1 input is not valid: {problem}. alm-enrollments sandbox --help tells every fault."


@pytest.mark.parametrize("what", WITHOUT_VALUE)
def test_parse_faults__every_word(what: str) -> None:
    """Every name and every status is a fault that happens once."""
    faults = parse_faults([f"page=2:{what}"])

    assert faults == (Fault(what, None, (("page", "2"),), 1),)


def test_names__each_in_one_table() -> None:
    """A fault is either in the answer or on the way."""
    shared = IN_THE_ANSWER.keys() & ON_THE_WAY.keys()

    assert shared == set()


@pytest.mark.parametrize(
    ("where", "places"),
    [
        ("*", ()),
        (" * ", ()),
        ("page=1", (("page", "1"),)),
        ("request=12", (("request", "12"),)),
        ("user=20941371", (("user", "20941371"),)),
        ("user=7+page=1", (("user", "7"), ("page", "1"))),
        (" user=7 + page=1 + request=3 ", (("user", "7"), ("page", "1"), ("request", "3"))),
    ],
)
def test_parse_faults__places(where: str, places: tuple[tuple[str, str], ...]) -> None:
    """A place is a page, a request, a user, several of them joined, or everywhere."""
    faults = parse_faults([f"{where}:503"])

    assert faults == (Fault("503", None, places, 1),)


@pytest.mark.parametrize(
    ("text", "what", "value", "times"),
    [
        ("503", "503", None, 1),
        ("503x3", "503", None, 3),
        ("503x12", "503", None, 12),
        ("503x*", "503", None, None),
        ("resetx*", "reset", None, None),
        ("cut-chunkedx2", "cut-chunked", None, 2),
        ("429/0.42", "429", "0.42", 1),
        ("429/0.42x2", "429", "0.42", 2),
        ("429/10.752x*", "429", "10.752", None),
        ("429/", "429", "", 1),
        ("429/soon", "429", "soon", 1),
        ("429/-1", "429", "-1", 1),
        ("429/Sun, 09 Jun 2024 13:05:19 GMT", "429", "Sun, 09 Jun 2024 13:05:19 GMT", 1),
        ("429/Sun, 09 Jun 2024 13:05:19 GMTx3", "429", "Sun, 09 Jun 2024 13:05:19 GMT", 3),
        ("slow/2", "slow", "2", 1),
        ("slow/0.25x*", "slow", "0.25", None),
    ],
)
def test_parse_faults__values_and_times(
    text: str, what: str, value: str | None, times: int | None
) -> None:
    """Behind the slash stands a value, which may be a date; behind the x how often, ``None`` being always."""
    faults = parse_faults([f"page=1:{text}"])

    assert faults == (Fault(what, value, (("page", "1"),), times),)


def test_parse_faults__several() -> None:
    """Commas part faults, but not within a date; further scripts add theirs, in order."""
    scripts = [
        "page=2:503x3,user=7+page=1:429/Sun, 09 Jun 2024 13:05:19 GMT, request=4:cut,*:drip",
        "page=1:loop",
    ]

    faults = parse_faults(scripts)

    assert faults == (
        Fault("503", None, (("page", "2"),), 3),
        Fault("429", "Sun, 09 Jun 2024 13:05:19 GMT", (("user", "7"), ("page", "1")), 1),
        Fault("cut", None, (("request", "4"),), 1),
        Fault("drip", None, (), 1),
        Fault("loop", None, (("page", "1"),), 1),
    )


def test_parse_faults__none() -> None:
    """Without a script nothing goes wrong."""
    assert parse_faults([]) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "503",
        "page=2",
        ":503",
        "page:503",
        "page=:503",
        "page=two:503",
        "page=-1:503",
        "lo=2:503",
        "page=2+:503",
        "*+page=1:503",
    ],
)
def test_parse_faults__no_place(text: str) -> None:
    """A script without a place that can be is told what places there are."""
    problem = Problem("--fault", f'"{text}"', PLACES)

    with pytest.raises(UsageError) as raised:
        parse_faults([text])

    assert (str(raised.value), raised.value.problems, raised.value.code) == (
        told(problem),
        (problem,),
        64,
    )


@pytest.mark.parametrize(
    "text", ["page=2:", "page=2: ", "page=2:RESET", "page=2:503 x3", "page=2:cut chunked"]
)
def test_parse_faults__nothing_that_can_be_a_word(text: str) -> None:
    """What no word of the script looks like is answered with the script's form."""
    problem = Problem("--fault", f'"{text.strip()}"', PLACES)

    with pytest.raises(UsageError) as raised:
        parse_faults([text])

    assert (str(raised.value), raised.value.problems) == (told(problem), (problem,))


@pytest.mark.parametrize(
    ("what", "near"),
    [
        ("rest", "reset"),
        ("cut-chunk", "cut-chunked"),
        ("deadtoken", "dead-token"),
        ("5003", "503"),
        ("quux", ""),
    ],
)
def test_parse_faults__did_you_mean(what: str, near: str) -> None:
    """An unknown word is answered with every known one, and with the nearest where one is near."""
    problem = Problem("--fault", f'"page=2:{what}"', f"a status, {', '.join(NAMES)}", near)

    with pytest.raises(UsageError) as raised:
        parse_faults([f"page=2:{what}"])

    assert (str(raised.value), raised.value.problems) == (told(problem), (problem,))


@pytest.mark.parametrize(
    "what", ["slow", "slow/", "slow/soon", "slow/-1", "slow/1e3", "slow/1000", "slow/1."]
)
def test_parse_faults__slow_needs_seconds(what: str) -> None:
    """How slow has to be said, in seconds below 1000."""
    problem = Problem("--fault", f'"*:{what}"', "slow/SECONDS")

    with pytest.raises(UsageError) as raised:
        parse_faults([f"*:{what}"])

    assert (str(raised.value), raised.value.problems) == (told(problem), (problem,))


def test_parse_faults__all_problems_at_once() -> None:
    """Every part that is wrong is told in one error, in order."""
    with pytest.raises(UsageError) as raised:
        parse_faults(["page=2:503,page=3:slow,page=x:503", "page=1:cut", "where"])

    assert [problem.given for problem in raised.value.problems] == [
        '"page=3:slow"',
        '"page=x:503"',
        '"where"',
    ]


@pytest.mark.parametrize(
    ("where", "is_there"),
    [
        ((), True),
        ((("page", "2"),), True),
        ((("page", "1"),), False),
        ((("request", "5"),), True),
        ((("request", "2"),), False),
        ((("user", "7"),), True),
        ((("user", "70"),), False),
        ((("user", "7"), ("page", "2"), ("request", "5")), True),
        ((("user", "7"), ("page", "3")), False),
    ],
)
def test_is_at__every_place_counts(where: tuple[tuple[str, str], ...], is_there: bool) -> None:  # noqa: FBT001 - a column of the table
    """A fault is here where each of its places is."""
    fault = Fault("503", None, where, 1)

    assert fault.is_at(request=5, page=2, user="7") is is_there


@pytest.mark.parametrize(
    ("script", "taken"),
    [
        ("page=1:503", ["503", None, None, None]),
        ("page=1:503x3", ["503", "503", "503", None]),
        ("page=1:503x*", ["503", "503", "503", "503"]),
        ("page=1:503,page=1:cutx2", ["503", "cut", "cut", None]),
        ("page=2:503", [None, None, None, None]),
        ("request=3:503x*", [None, None, "503", None]),
    ],
)
def test_take__as_often_as_told(script: str, taken: list[str | None]) -> None:
    """A fault happens as often as the script says, the first of several first."""
    faults = FaultScript(parse_faults([script]))

    happened = [faults.take(request=number, page=1, user="7") for number in (1, 2, 3, 4)]

    assert [fault.what if fault else None for fault in happened] == taken


def test_take__elsewhere_costs_nothing() -> None:
    """A fault that waits for its place is not used up by others."""
    faults = FaultScript(parse_faults(["user=8+page=2:reset"]))
    elsewhere = [faults.take(request=1, page=1, user="8"), faults.take(request=2, page=2, user="7")]

    there = faults.take(request=3, page=2, user="8")

    assert (elsewhere, there) == (
        [None, None],
        Fault("reset", None, (("user", "8"), ("page", "2")), 1),
    )
