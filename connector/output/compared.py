"""A file to compare: the inputs that it was made with, and the users that it has completely."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.clock import parse_moment
from connector.errors import OutputError, PartialError, Problem, UsageError
from connector.formats import read_records
from connector.formats.json_document import read_enrollments, read_members
from connector.output.file import is_intact
from connector.output.journal import journal_of, read_entries, read_state
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from connector.compact_set import UserIds
    from connector.output.journal import JournalState

Record = dict[str, Any]
# What decides which enrollments a run reads. The order in a list decides nothing.
_INPUTS = ("lo_types", "state", "since", "completed_since", "include", "query")
# The moments among them, and the field that each filters by.
_FILTERED = {"since": "date_enrolled", "completed_since": "date_completed"}
_COMPLETE = ("verified", "consistent")


@dataclass(frozen=True)
class ComparedFile:
    """An output file whose records can be compared.

    *read* reads its records. *inputs* are those of its journal, if it has one. *users* are stated
    to be complete or not; any other user with records is complete if it *has_only_complete_users*.
    A user of whom it says nothing is complete, without enrollments, if it *has_every_user*.
    *count* is the number of records, if that is known.
    """

    path: Path
    read: Callable[[Path], Iterator[Any]] = field(default=read_records, repr=False)
    inputs: Mapping[str, Any] | None = None
    users: Iterable[tuple[str, bool]] = field(default=(), repr=False)
    has_only_complete_users: bool = False
    has_every_user: bool = False
    count: int | None = None

    def records(self) -> Iterator[Record]:
        """Yield the records. Raises UsageError if the file cannot be compared, and OutputError."""
        count = 0
        try:
            for record in self.read(self.path):
                count += 1
                if not _is_record(record):
                    raise refused(
                        f'record {count} of "{self.path}" has no id, or no user_id in digits',
                        "an output file with the columns id and user_id",
                    )
                yield record
        except OSError as error:
            raise unreadable(self.path, error) from error
        except ValueError as error:
            given = f'"{self.path}" cannot be read after record {count}: {error}'
            raise refused(given, "an output file in json, ndjson, csv, parquet or xlsx") from error

    def moment(self, name: str) -> datetime | None:
        """Return the moment that the input *name* was for this run, ``yesterday`` resolved."""
        inputs = self.inputs or {}
        text = (inputs.get("moments") or {}).get(name) or inputs.get(name)
        return parse_moment(text) if text else None


def open_compared(path: Path, *, assume_complete: bool) -> ComparedFile:
    """Return the output file *path* with what its journal, or the document itself, says of users.

    Raises UsageError if neither says anything and the file is not to be taken as complete, or if
    it is not as its run left it, and OutputError.
    """
    try:
        if not path.is_file():
            raise refused(f'"{path}" does not exist, or is not a file', "an output file")
        state = read_state(journal_of(path))
        if state is not None:
            return _with_journal(path, state)
        members = read_members(path) if ".json" in path.suffixes else None
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        given = f'"{path}" cannot be read: {error}'
        raise refused(given, "an output file or a document") from error
    if members is not None:
        try:
            return _document(path, members)
        except (LookupError, TypeError, AttributeError) as error:
            given = f'"{path}" is JSON of another program'
            raise refused(given, "an output file or a document") from error
    if not assume_complete:
        raise refused(
            f'"{path}" has no journal {journal_of(path).name} next to it, so its complete users are'
            " unknown",
            "a file with its journal; or `assume_complete`, if the file has every user completely",
        )
    return ComparedFile(path, has_only_complete_users=True, has_every_user=True)


def check_inputs(old: ComparedFile, new: ComparedFile) -> None:
    """Raise UsageError, naming all that differs, if the runs of both files had other inputs."""
    if old.inputs is None or new.inputs is None:
        return
    differing = []
    for name in _INPUTS:
        before, after = old.inputs.get(name), new.inputs.get(name)
        if _as_set(before) != _as_set(after):
            differing.append(f"{name} was {to_json(before)} and is {to_json(after)}")
    if differing:
        raise refused(
            f"the runs had different inputs: {'; '.join(differing)}",
            "two full runs with the same inputs",
        )


def later_moments(old: ComparedFile, new: ComparedFile) -> dict[str, datetime]:
    """Return from when on both runs have read, by the field that a relative moment filters by.

    What one of them left out is neither new nor gone: `7d` began later today than yesterday.
    """
    later = {}
    for name, field_name in _FILTERED.items():
        before, after = old.moment(name), new.moment(name)
        if before and after and before != after:
            later[field_name] = max(before, after)
    return later


def unreadable(path: Path, error: OSError) -> OutputError:
    """Return the error for a file that cannot be read."""
    return OutputError(
        f"The file {path} cannot be read: {error.strerror or error}.", hint="Nothing was written."
    )


def refused(problem: str, allowed: str) -> UsageError:
    """Return the error for files that cannot be compared."""
    return UsageError.of([Problem("", problem, allowed)], hint="Nothing was written.")


def _with_journal(path: Path, state: JournalState) -> ComparedFile:
    if not is_intact(path, state):
        raise refused(
            f'"{path}" does not match its journal: its run has not ended, or the file was changed'
            " after it",
            "a file as its run left it; `resume` ends a run",
        )

    def read(path: Path) -> Iterator[Any]:
        return read_records(path, state.inputs["format"])

    users = _journal_users(journal_of(path), state.finished)
    return ComparedFile(path, read, inputs=state.inputs, users=users, count=state.records)


def _journal_users(journal: Path, finished: UserIds) -> Iterator[tuple[str, bool]]:
    try:
        for entry, _ in read_entries(journal):
            # Of an address that could not be looked up there is no id.
            user = entry.get("user_id") or entry.get("user_email")
            # An address may have been looked up later.
            if user and not ("error" in entry and user in finished):
                yield user, entry.get("status") in _COMPLETE
    except OSError as error:
        raise unreadable(journal, error) from error


def _document(path: Path, document: Mapping[str, Any]) -> ComparedFile:
    """Return the document in *path*: a user is complete if nothing in it says otherwise."""
    if document["output_file"]:
        raise refused(
            f'"{path}" is a document whose records are in {to_json(document["output_file"])}',
            "that file",
        )
    error, reasons = document["error"] or {}, document["completeness"]["reasons"]
    is_partial = error.get("code") == PartialError.exit_code
    incomplete = [user["user_id"] or user["user_email"] for user in document["users"]["failed"]]
    if is_partial:
        # Its status is that of the failed users. Others with a remark may have been cut short.
        # Behind the id is the address if the run was asked by it.
        named = [re.match(r"user ([0-9]+)[ :]", reason) for reason in reasons]
        incomplete += [match[1] for match in named if match]
    is_cut = bool(reasons) and re.fullmatch(r"and [0-9,]+ more reasons?", reasons[-1]) is not None
    return ComparedFile(
        path,
        read_enrollments,
        users=[(user, False) for user in incomplete],
        has_only_complete_users=document["complete"] or (is_partial and not is_cut),
        count=document["enrollment_count"],
    )


def _as_set(value: object) -> object:
    if isinstance(value, list):
        return set(value)
    return value


def _is_record(record: object) -> bool:
    if not isinstance(record, dict):
        return False
    record_id, user_id = record.get("id"), record.get("user_id")
    if not (isinstance(record_id, str) and isinstance(user_id, str)):
        return False
    return user_id.isascii() and user_id.isdecimal()
