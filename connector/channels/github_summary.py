"""The step summary: what a person wants to know of a run, as Markdown in which nothing that was quoted is markup."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from connector.channels.interface import Written
from connector.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from connector.channels.interface import RunOutputs

#: Bytes of all summaries of one step (GitHub's docs, workflow commands).
LARGEST_SUMMARY = 1_048_576
SHOWN_ENROLLMENTS = 50
_SHOWN_FAILURES = 50
_MOST_KINDS = 12
_LONGEST_CELL = 160
_LONGEST_MESSAGE = 1_000
_OTHERS = "others"
# What GitHub makes a link, a mention or a picture of after Markdown has been read: where it stands as a number, too.
_SEEN_AFTERWARDS = "@#:"


def summary_of(handover: RunOutputs) -> str:
    """Return the summary of a run: users, counts, completeness, what failed, and the first enrollments."""
    document = handover.document
    enrollments = document.get("enrollments", [])
    written = handover.written or Written(
        Counter((str(one["lo_type"]), str(one["state"])) for one in enrollments), enrollments
    )
    parts = [
        "### Enrollments from Adobe Learning Manager",
        _headline(handover),
        *_reasons(document["completeness"]["reasons"]),
        *_what_failed(document),
        *_counts(written.kinds),
        *_first_of(written.first, sum(written.kinds.values())),
    ]
    return "\n\n".join(parts) + "\n"


def _headline(handover: RunOutputs) -> str:
    document = handover.document
    users, completeness = document["users"], document["completeness"]
    whose = (
        f"user {_code(handover.named_users[0])}"
        if len(handover.named_users) == 1
        else _counted(users["requested"], "user")
    )
    mark = (
        "❌ failed" if handover.error else "✅ complete" if document["complete"] else "⚠️ incomplete"
    )
    read = (
        f" ({users['read']:,} of them read)"
        if users["read"] < users["requested"] and users["requested"] > 1
        else ""
    )
    pages = f"{_counted(completeness['pages'], 'page')}, {_counted(completeness['requests'], 'request')}"
    where = f" Records in {_code(document['output_file'])}." if document["output_file"] else ""
    return (
        f"**{mark}** · **{_counted(document['enrollment_count'], 'enrollment')}** of {whose}{read}"
        f" · {_escaped(completeness['status'])} from {pages}.{where}"
    )


def _reasons(reasons: Sequence[str]) -> list[str]:
    shown = [f"- {_escaped(reason, _LONGEST_MESSAGE)}" for reason in reasons[:_SHOWN_FAILURES]]
    more = len(reasons) - len(shown)
    return ["\n".join([*shown, *([f"- and {more:,} more"] if more else [])])] if shown else []


def _what_failed(document: Mapping[str, Any]) -> list[str]:
    failed = document["users"]["failed"]
    error = document["error"]
    rows = [[_code(one["user_id"]), *_told(one["error"])] for one in failed[:_SHOWN_FAILURES]]
    # What failed as a whole is told first; where it is one user's own failure, that row tells it.
    if error and not any(one["error"]["message"] == error["message"] for one in failed):
        rows.insert(0, ["the run", *_told(error)])
    more = len(failed) - _SHOWN_FAILURES
    note = [f"… and {more:,} more users; `users.failed` names them all."] if more > 0 else []
    return (
        [_table(["who", "exit code", "what happened", "what to do", "request id"], rows), *note]
        if rows
        else []
    )


def _told(error: Mapping[str, Any]) -> list[str]:
    until = f" Not before {_escaped(error['retry_at'])}." if error["retry_at"] else ""
    request = _code(error["request_id"]) if error["request_id"] else ""
    return [
        str(error["code"]),
        _escaped(error["message"], _LONGEST_MESSAGE),
        _escaped(error["hint"], _LONGEST_MESSAGE) + until,
        request,
    ]


def _counts(kinds: Mapping[tuple[str, str], int]) -> list[str]:
    if not kinds:
        return []
    of_types, of_states = Counter[str](), Counter[str]()
    for (lo_type, state), count in kinds.items():
        of_types[lo_type] += count
        of_states[state] += count
    types, states = _most_common(of_types), _most_common(of_states)
    pairs = Counter[tuple[str, str]]()
    for (lo_type, state), count in kinds.items():
        pairs[_or_others(lo_type, types), _or_others(state, states)] += count
    rows = [
        [_code(kind), *(str(pairs[kind, state] or "") for state in states), str(of_kind)]
        for kind, of_kind in _sums(pairs, types)
    ]
    total = [
        "**all**",
        *(f"**{count}**" for count in _column_sums(pairs, states)),
        f"**{pairs.total()}**",
    ]
    return [_table(["type", *map(_code, states), "all"], [*rows, total])]


def _most_common(counts: Counter[str]) -> list[str]:
    kinds = [kind for kind, _ in counts.most_common(_MOST_KINDS)]
    return kinds if len(counts) <= _MOST_KINDS else [*kinds, _OTHERS]


def _or_others(kind: str, kinds: Sequence[str]) -> str:
    return kind if kind in kinds else _OTHERS


def _sums(pairs: Counter[tuple[str, str]], types: Sequence[str]) -> list[tuple[str, int]]:
    return [
        (kind, sum(count for (one, _), count in pairs.items() if one == kind)) for kind in types
    ]


def _column_sums(pairs: Counter[tuple[str, str]], states: Sequence[str]) -> list[int]:
    return [sum(count for (_, one), count in pairs.items() if one == state) for state in states]


def _first_of(enrollments: Sequence[Mapping[str, Any]], count: int) -> list[str]:
    if not enrollments:
        return []
    shown = enrollments[:SHOWN_ENROLLMENTS]
    which = f"The first {len(shown)} of {count:,}" if len(shown) < count else "The"
    rows = [
        [
            _code(one["id"]),
            _code(one["state"]),
            *(_escaped(one[name]) for name in ("progress_percent", "has_passed", "date_enrolled")),
        ]
        for one in shown
    ]
    table = _table(["enrollment", "state", "progress %", "passed", "enrolled"], rows)
    return [
        f"<details><summary>{which} {'enrollments' if count != 1 else 'enrollment'}</summary>",
        table,
        "</details>",
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _code(value: object) -> str:
    return f"<code>{_escaped(value)}</code>"


def _escaped(value: object, longest: int = _LONGEST_CELL) -> str:
    """Return *value* as Markdown that shows it: each character that could be markup, or part of a link, as its number."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    # Four spaces at the beginning would make code of it.
    text = one_line(str(value)).strip()
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(map(_as_number, cut))


def _as_number(one: str) -> str:
    if one.isalnum() or one in " …" or not one.isascii():
        return one
    return f"&#{ord(one)};<wbr>" if one in _SEEN_AFTERWARDS else f"&#{ord(one)};"
