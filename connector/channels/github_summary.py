"""The step summary: a run as Markdown for people, in which no quoted text is markup."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from connector.channels.interface import Tally
from connector.clock import parse_utc
from connector.formats.kinds import fold_rare
from connector.text import MAX_SUMMARY_RECORDS, counted, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from connector.channels.interface import RunOutputs

_MAX_FAILURES = 50
# Types, or states, in the table of counts.
_MAX_KINDS = 12
_MAX_CELL_CHARACTERS = 160
_MAX_MESSAGE_CHARACTERS = 1_000
# Mermaid has no escapes: in its labels, anything else could end the label.
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9 _-]")
# As messages call a user who was given by address: "31 (ada@example.com)".
_ADDRESS_AFTER_ID = re.compile(r"(?<=[0-9]) \([^\s()]*@[^\s()]*\)")
_SANDBOX_BANNER = """\
> [!WARNING]
> The sandbox made up these learners and enrollments: `base-url` is `sandbox`."""
# The columns of completions, and their headings.
_COMPLETION_FIELDS = {
    "user_id": "user",
    "user_name": "name",
    "id": "enrollment",
    "lo_name": "learning object",
    "date_completed": "completed",
    "score": "score",
}
# GitHub turns these into links, mentions and pictures after Markdown, also if written as a number.
_AUTOLINKED = "@#:"


def summary_of(outputs: RunOutputs) -> str:
    """Return the summary of a run: users, counts, completeness, failures, the first enrollments.

    That of a comparison: counts, and the first completions.
    """
    if "added_count" in outputs.document:
        return _summary_of_difference(outputs)
    if not outputs.shows_names:
        outputs = _without_addresses(outputs)
    document = outputs.document
    tally = outputs.tally
    if tally is None:
        enrollments = document.get("enrollments", [])
        kinds = [
            (str(enrollment["lo_type"]), str(enrollment["state"])) for enrollment in enrollments
        ]
        tally = Tally(Counter(kinds), enrollments)
    sections = [
        "### Enrollments from Adobe Learning Manager",
        _SANDBOX_BANNER if document["source"] == "sandbox" else "",
        _headline(outputs),
        _reasons(document["completeness"]["reasons"]),
        _failures(document),
        _pie(tally.counts),
        _counts(tally.counts),
        _first_enrollments(tally, shows_names=outputs.shows_names),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _without_addresses(outputs: RunOutputs) -> RunOutputs:
    """Return *outputs* without the addresses of users: who reads a summary may not know them."""
    document = outputs.document
    failed = [user.get("user_email") for user in document["users"]["failed"]]
    addresses = {text for text in (*failed, *outputs.named_users) if text and "@" in text}

    def clean(value: Any) -> Any:  # noqa: ANN401 - any part of a document
        if isinstance(value, Mapping):
            return {name: clean(part) for name, part in value.items()}
        if isinstance(value, list):
            return [clean(part) for part in value]
        if not isinstance(value, str):
            return value
        # The name of a user whose id is known.
        value = _ADDRESS_AFTER_ID.sub("", value)
        for address in addresses:
            value = value.replace(address, "***")
        return value

    parts = {name: clean(document[name]) for name in ("users", "completeness", "error")}
    named_users = tuple(clean(list(outputs.named_users)))
    return replace(outputs, document={**document, **parts}, named_users=named_users)


def _summary_of_difference(outputs: RunOutputs) -> str:
    document, tally = outputs.document, outputs.tally or Tally({}, ())
    rows = []
    if document["error"]:
        text = "**❌ failed**"
        rows.append(["the comparison", *_error_cells(document["error"])])
    else:
        counts = [
            f"{document[f'{kind}_count']:,} {kind}" for kind in ("added", "removed", "changed")
        ]
        text = f"**{document['completed_count']:,} completed** · {', '.join(counts)}"
    if count := document["not_comparable_count"]:
        text += f" · {counted(count, 'user')} not compared: not complete in both files"
    if document["output_file"]:
        text += f". Changes in {_code(document['output_file'])}"
    sections = [
        "### What changed in Adobe Learning Manager",
        f"{text}.",
        _error_table(rows),
        _counts(tally.counts),
        _completions(tally.first, shows_names=outputs.shows_names),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _completions(changes: Sequence[Mapping[str, Any]], *, shows_names: bool) -> str:
    if not changes:
        return ""
    fields = [
        name
        for name in _COMPLETION_FIELDS
        if name in changes[0]["after"] and (shows_names or not name.endswith("_name"))
    ]
    rows = [[_completion_cell(name, change["after"]) for name in fields] for change in changes]
    table = _table([_COMPLETION_FIELDS[name] for name in fields], rows)
    return f"<details open><summary>Completed</summary>\n\n{table}\n\n</details>"


def _completion_cell(name: str, record: Mapping[str, Any]) -> str:
    value = record.get(name)
    return _date(value) if name == "date_completed" else _escaped(value)


def _headline(outputs: RunOutputs) -> str:
    document = outputs.document
    users, completeness = document["users"], document["completeness"]
    if outputs.error:
        result = "❌ failed"
    elif document["complete"]:
        result = "✅ complete"
    else:
        result = "⚠️ incomplete"
    if len(outputs.named_users) == 1:
        learners = f"user {_code(outputs.named_users[0])}"
    else:
        learners = counted(users["requested"], "user")
    if users["requested"] > max(1, users["read"]):
        learners += f" ({users['read']:,} of them read)"
    if outputs.tally and outputs.tally.users > users["read"]:
        learners = f"{counted(outputs.tally.users, 'user')} · requested: {learners}"
    pages = counted(completeness["pages"], "page")
    requests = counted(completeness["requests"], "request")
    if completeness["requests"] < completeness["pages"]:
        requests += " in the last run"
    text = (
        f"**{result}** · **{counted(document['enrollment_count'], 'enrollment')}** of {learners}"
        f" · {_escaped(completeness['status'])}: {pages}, {requests}."
    )
    if document["output_file"]:
        text += f" Records in {_code(document['output_file'])}."
    return text


def _reasons(reasons: Sequence[str]) -> str:
    items = [f"- {_escaped(reason, _MAX_MESSAGE_CHARACTERS)}" for reason in reasons[:_MAX_FAILURES]]
    if len(reasons) > _MAX_FAILURES:
        items.append(f"- and {len(reasons) - _MAX_FAILURES:,} more")
    return "\n".join(items)


def _failures(document: Mapping[str, Any]) -> str:
    failed, error = document["users"]["failed"], document["error"]
    rows = [[_user_cell(user), *_error_cells(user["error"])] for user in failed[:_MAX_FAILURES]]
    # The run's own error comes first, unless it is a user's, which has a row already.
    if error and all(user["error"]["message"] != error["message"] for user in failed):
        rows.insert(0, ["the run", *_error_cells(error)])
    text = _error_table(rows)
    if len(failed) > _MAX_FAILURES:
        more = len(failed) - _MAX_FAILURES
        text += f"\n\n… and {more:,} more users; `users.failed` names them all."
    return text


def _error_table(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    return _table(["user", "exit code", "what happened", "what to do", "request id"], rows)


def _user_cell(user: Mapping[str, Any]) -> str:
    names = (user["user_id"], user.get("user_email"))
    return " ".join(_code(name) for name in names if name)


def _error_cells(error: Mapping[str, Any]) -> list[str]:
    hint = _escaped(error["hint"], _MAX_MESSAGE_CHARACTERS)
    if error["retry_at"]:
        hint += f" Not before {_escaped(error['retry_at'])}."
    return [
        str(error["code"]),
        _escaped(error["message"], _MAX_MESSAGE_CHARACTERS),
        hint,
        _code(error["request_id"]) if error["request_id"] else "",
    ]


def _pie(counts: Mapping[tuple[str, str], int]) -> str:
    if not counts:
        return ""
    labels = Counter[tuple[str, str]]()
    for (lo_type, state), count in counts.items():
        labels[lo_type, _NOT_IN_LABELS.sub("_", state)[:_MAX_CELL_CHARACTERS]] += count
    _, _, states = fold_rare(labels, _MAX_KINDS)
    slices = [f'    "{label}" : {count}' for label, count in states.items()]
    return "\n".join(["```mermaid", "pie showData", "    title States", *slices, "```"])


def _counts(counts: Mapping[tuple[str, str], int]) -> str:
    if not counts:
        return ""
    cells, types, states = fold_rare(counts, _MAX_KINDS)
    rows = [
        [_code(row), *(str(cells[row, column] or "") for column in states), str(count)]
        for row, count in types.items()
    ]
    sums = [*states.values(), cells.total()]
    rows.append(["**all**", *(f"**{count}**" for count in sums)])
    return _table(["type", *map(_code, states), "all"], rows)


def _first_enrollments(tally: Tally, *, shows_names: bool) -> str:
    enrollments = tally.first[:MAX_SUMMARY_RECORDS]
    if not enrollments:
        return ""
    count = sum(tally.counts.values())
    heading = "The enrollments"
    if count == 1:
        heading = "The enrollment"
    elif len(enrollments) < count:
        heading = f"The first {len(enrollments)} of {count:,} enrollments"
    rows = []
    for enrollment in enrollments:
        names = [_code(enrollment["id"])]
        if shows_names:
            learner = enrollment.get("user_name") or enrollment.get("user_email")
            names = [
                _escaped(learner or enrollment["user_id"]),
                _escaped(enrollment.get("lo_name") or enrollment["lo_id"]),
            ]
        rows.append(
            [
                *names,
                _code(enrollment["state"]),
                _escaped(enrollment["progress_percent"]),
                _escaped(enrollment["has_passed"]),
                _date(enrollment["date_enrolled"]),
                _date(enrollment["date_completed"]),
            ]
        )
    named = ["learner", "learning object"] if shows_names else ["enrollment"]
    table = _table([*named, "state", "progress %", "passed", "enrolled", "completed"], rows)
    return f"<details><summary>{heading}</summary>\n\n{table}\n\n</details>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _date(text: str | None) -> str:
    moment = parse_utc(text or "")
    return f"{moment:%Y-%m-%d}" if moment else _escaped(text)


def _code(value: object) -> str:
    return f"<code>{_escaped(value)}</code>"


def _escaped(value: object, max_characters: int = _MAX_CELL_CHARACTERS) -> str:
    """Return *value* as Markdown that shows it: possible markup as numbers, also parts of links."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    # Four spaces at the beginning would make it code.
    text = one_line(str(value)).strip()
    if len(text) > max_characters:
        text = text[: max_characters - 1] + "…"
    escaped = ""
    for character in text:
        if character.isalnum() or character in " …" or not character.isascii():
            escaped += character
        else:
            escaped += f"&#{ord(character)};"
        if character in _AUTOLINKED:
            escaped += "<wbr>"
    return escaped
