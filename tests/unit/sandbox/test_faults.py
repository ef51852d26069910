"""The fault script: its words, its errors, and when a fault happens."""

from __future__ import annotations

import pytest

from connector.errors import UsageError
from connector.sandbox.faults import IN_THE_ANSWER, ON_THE_WAY, Fault, FaultScript, parse_faults

NAMES = (*IN_THE_ANSWER, *ON_THE_WAY)
FORM = "WHERE:WHAT, where WHERE is page=N, request=N, user=ID, several with +, or *"
WORDS = f"a status, {', '.join(NAMES)}"


@pytest.mark.parametrize("name", [*sorted({*NAMES} - {"slow"}), "400", "429", "500", "599"])
def test_parse_faults__every_name(name: str) -> None:
    """Every name, and a status, is a fault that happens once."""
    assert parse_faults([f"page=2:{name}"]) == (Fault(name, None, (("page", "2"),), 1),)


@pytest.mark.parametrize(
    ("where", "places"),
    [
        (" * ", ()),
        ("request=12", (("request", "12"),)),
        (" user=7 + page=1 + request=3 ", (("user", "7"), ("page", "1"), ("request", "3"))),
    ],
)
def test_parse_faults__places(where: str, places: tuple[tuple[str, str], ...]) -> None:
    """A place is a page, a request, a user, several of them, or everywhere."""
    assert parse_faults([f"{where}:503"]) == (Fault("503", None, places, 1),)


@pytest.mark.parametrize(
    ("text", "name", "value", "times"),
    [
        ("503x12", "503", None, 12),
        ("cut-chunkedx*", "cut-chunked", None, None),
        ("429/0.42x2", "429", "0.42", 2),
        ("429/", "429", "", 1),
        ("429/Sun, 09 Jun 2024 13:05:19 GMTx3", "429", "Sun, 09 Jun 2024 13:05:19 GMT", 3),
        ("slow/0.25x*", "slow", "0.25", None),
    ],
)
def test_parse_faults__values_and_times(
    text: str, name: str, value: str | None, times: int | None
) -> None:
    """A slash begins a value, which may be a date; an x the number of times, ``*`` is always."""
    assert parse_faults([f"*:{text}"]) == (Fault(name, value, (), times),)


def test_parse_faults__several() -> None:
    """Commas separate faults, except in a date; further scripts add theirs."""
    faults = parse_faults(["page=2:503,*:429/Sun, 09 Jun 2024 13:05:19 GMT, user=4:cut", "*:loop"])

    assert [fault.name for fault in faults] == ["503", "429", "cut", "loop"]
    assert parse_faults([]) == ()


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        *((text, FORM) for text in ("", "503", "page=2", ":503", "page=two:503", "lo=2:503")),
        *((text, FORM) for text in ("page=2+:503", "*+page=1:503", "page=2:", "page=2:503 x3")),
        ("page=2:quux", WORDS),
        ("page=2:rest", f"{WORDS}; did you mean reset?"),
        ("page=2:5003", f"{WORDS}; did you mean 503?"),
        ("*:slow", "slow/SECONDS"),
        ("*:slow/1000", "slow/SECONDS"),
        ("*:slow/-1", "slow/SECONDS"),
    ],
)
def test_parse_faults__problem(text: str, allowed: str) -> None:
    """The error quotes the fault, says what is allowed, and suggests a near word."""
    with pytest.raises(UsageError) as raised:
        parse_faults([text])

    assert str(raised.value) == (
        f'1 input is not valid: --fault is "{text}" (allowed: {allowed}).'
        " alm-enrollments sandbox --help lists every fault."
    )


def test_parse_faults__all_problems() -> None:
    """One error has every problem, in order."""
    with pytest.raises(UsageError) as raised:
        parse_faults(["page=2:503,page=3:slow,page=x:503", "page=1:cut", "where"])

    given = [problem.given for problem in raised.value.problems]
    assert given == ['"page=3:slow"', '"page=x:503"', '"where"']


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("page=1:503", ["503", "", "", ""]),
        ("page=1:503x3", ["503", "503", "503", ""]),
        ("user=7:503x*", ["503", "503", "503", "503"]),
        ("page=1:503,page=1:cutx2", ["503", "cut", "cut", ""]),
        ("page=2:503,user=70:503", ["", "", "", ""]),
        ("user=7+page=1+request=3:503x*", ["", "", "503", ""]),
        ("user=7+page=2:503", ["", "", "", ""]),
    ],
)
def test_take__by_place_and_times(script: str, names: list[str]) -> None:
    """A fault happens where all its places match, as often as the script says, in order."""
    faults = FaultScript(parse_faults([script]))

    taken = [faults.take(request=number, page=1, user="7") for number in (1, 2, 3, 4)]

    assert [fault.name if fault else "" for fault in taken] == names
