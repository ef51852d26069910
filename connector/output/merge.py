"""``alm-enrollments merge``: shards' output files into one, without asking ALM for anything."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.clock import SystemClock
from connector.compact_set import UserIds, canonical_id
from connector.errors import OutputError, Problem, UsageError
from connector.files import files_of, find_shared
from connector.formats import make_format
from connector.output.document import Delivery, build_document, failures_of, partial_error
from connector.output.file import OutputFile, compression_of, is_intact
from connector.output.journal import journal_of, read_entries, read_state
from connector.output.results import RunTotals, name_of
from connector.settings import format_of
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from connector.errors import ConnectorError
    from connector.output.document import Document
    from connector.output.journal import Entry, JournalState
    from connector.redact import Redactor

# Entries of a journal's first line that may differ between the shards of one run.
_DIFFERING = ("alm_enrollments", "end", "crc32", "shard", "moments")
_MAX_LISTED = 3
_MIN_FILES = 2


class _Part:
    """One shard's output file and its journal."""

    def __init__(self, path: Path, state: JournalState) -> None:
        self.path = path
        self.state = state
        self.shard: str | None = state.inputs.get("shard")
        self.inputs = {n: value for n, value in state.inputs.items() if n not in _DIFFERING}
        #: The journal's entries of users who failed.
        self.failed = [entry for entry, _ in read_entries(state.path) if "error" in entry]

    def users(self) -> Iterator[dict[str, Any]]:
        """Yield the journal's entry of each complete user."""
        for entry, _ in read_entries(journal_of(self.path)):
            if "enrollments" in entry:
                yield entry


def merge(names: Sequence[str], redactor: Redactor) -> tuple[Document, ConnectorError | None]:
    """Join output files in the first of *names*.

    Returns the joined document, and the error if users of theirs failed. Raises UsageError unless
    the files are the shards of one run, each complete and given once, and OutputError.
    """
    if len(names) < _MIN_FILES:
        raise _refused("merge got no files", "the file to write, then each shard's output file")
    target, *given = map(Path, names)
    try:
        parts = [_read_part(path, target) for path in given]
        _check_inputs(parts)
        _check_shards(parts)
        _check_users(parts)
        _check_suffix(target, parts[0].inputs["format"])
        inputs = {**parts[0].inputs, "shard": None}
        file = OutputFile(target, inputs["format"], inputs, redactor, SystemClock())
        try:
            return _join(file, parts, redactor)
        finally:
            file.abandon()
    except OSError as error:
        raise OutputError(
            f"{error.filename or target} cannot be read: {error.strerror}.",
            hint="Nothing was written.",
        ) from error


def _read_part(path: Path, target: Path) -> _Part:
    if any(find_shared({"target": files_of(target)}, {"shard": [path, journal_of(path)]})):
        raise _refused(
            f'"{path}" is a file to read and the file to write',
            "a file to write that is not one of the shards",
        )
    if compression_of(path) != compression_of(target):
        raise _refused(
            f'"{path}" and "{target}" are compressed in different ways',
            "names with the same suffix",
        )
    journal = journal_of(path)
    state = read_state(journal)
    if state is None:
        if not path.is_file():
            raise _refused(f'"{path}" does not exist, or is not a file', "an output file")
        raise _refused(
            f'"{path}" has no journal {journal.name} next to it',
            "an output file with its journal",
        )
    if not make_format(state.inputs["format"]).can_grow_again:
        raise _refused(
            f'"{path}" has the format {state.inputs["format"]}, which cannot be read back',
            "files in another format",
        )
    if not path.is_file() or not is_intact(path, state):
        raise _refused(
            f'"{path}" is not finished, or was changed after its run',
            "files of finished runs; `resume` finishes a run",
        )
    if missing := state.last.get("missing"):
        raise _refused(
            f'"{path}" lacks users ({missing} of {state.last["requested"]})',
            "files of complete runs; `resume` completes a run",
        )
    return _Part(path, state)


def _check_inputs(parts: Sequence[_Part]) -> None:
    first = parts[0].inputs
    for part in parts:
        for name in {**first, **part.inputs}:
            value, first_value = part.inputs.get(name), first.get(name)
            if value != first_value:
                raise _refused(
                    f'"{part.path}" was read with {name} {to_json(value)},'
                    f' "{parts[0].path}" with {to_json(first_value)}',
                    "shards of one run",
                )


def _check_suffix(target: Path, format_name: str) -> None:
    suffix_name = format_of(target.name)
    if suffix_name not in (None, format_name):
        raise _refused(
            f'"{target}" has the suffix of {suffix_name}, but the shards are {format_name}',
            f"a name with the suffix of {format_name}",
        )


def _check_shards(parts: Sequence[_Part]) -> None:
    shards = [part.shard for part in parts]
    if set(shards) == {None}:
        return
    counts = {(shard or "").partition("/")[2] for shard in shards}
    if len(counts) > 1:
        listed = ", ".join(str(shard or "none") for shard in shards)
        raise _refused(f"the files are the shards {listed}", "shards of one division")
    count = counts.pop()
    wanted = [f"{number}/{count}" for number in range(1, int(count) + 1)]
    missing = [shard for shard in wanted if shard not in shards]
    twice = sorted({str(shard) for shard in shards if shards.count(shard) > 1})
    found = []
    if missing:
        more = f" and {len(missing) - _MAX_LISTED} more" if len(missing) > _MAX_LISTED else ""
        are_missing = "is missing" if len(missing) == 1 else "are missing"
        found.append(f"shard {', '.join(missing[:_MAX_LISTED])}{more} {are_missing}")
    if twice:
        found.append(f"shard {', '.join(twice)} comes twice")
    if found:
        raise _refused(" and ".join(found), f"each of the {len(wanted)} shards once")


def _check_users(parts: Sequence[_Part]) -> None:
    seen = UserIds()
    for part in parts:
        for entry in part.users():
            if not seen.add(entry["user_id"]):
                raise _refused(
                    f'user {entry["user_id"]} comes twice, the second time in "{part.path}"',
                    "files without a common user",
                )


def _join(
    file: OutputFile, parts: Sequence[_Part], redactor: Redactor
) -> tuple[Document, ConnectorError | None]:
    # Without resume it yields nothing, but checks that the file can be written.
    tuple(file.prepare(resume=False))
    totals = RunTotals(parts[0].inputs.get("base_url"), is_of_many=True)
    for part in parts:
        file.join(part.path, part.state, part.users())
        for entry in part.users():
            totals.add_from_journal(entry)
            totals.add_kept()
    for place, entry in enumerate(_failed(parts)):
        user_id, email, failure = entry["user_id"], entry.get("user_email"), entry["error"]
        file.add_failure(user_id, failure, email)
        totals.add_failure(place, user_id, failure, email)
        totals.add_reason(place, f"user {name_of(user_id, email)}: {failure['message']}")
    totals.end(
        requested=totals.finished, requests=sum(part.state.last["requests"] for part in parts)
    )
    error = None
    if totals.failed:
        listed = failures_of(totals.failed)
        error = partial_error(listed, len(listed), totals.requested, None)
    path = file.finish(totals)
    delivery = Delivery(
        totals.enrollment_ids,
        totals.resource_grade_ids,
        totals.delivered,
        output_file=path,
    )
    return redactor.clean_value(build_document(totals, delivery, error)), error


def _failed(parts: Sequence[_Part]) -> Iterable[Entry]:
    """Return the last entry of each user who failed and whom no file has, not even a later one."""
    entries = [*chain.from_iterable(part.failed for part in parts)]
    # One file may name a user by id only, another one by address only, a third one by both.
    ids = {
        canonical_id(entry["user_email"]): entry["user_id"]
        for entry in entries
        if entry["user_id"] and "user_email" in entry
    }
    failed = {}
    for entry in entries:
        email = canonical_id(entry.get("user_email") or "")
        user = canonical_id(entry["user_id"] or ids.get(email, email))
        names = (user, email) if "user_email" in entry else (user,)
        if not any(name in part.state.finished for part in parts for name in names):
            failed[user] = entry
    return failed.values()


def _refused(problem: str, allowed: str) -> UsageError:
    return UsageError.of([Problem("", problem, allowed)], hint="Nothing was written.")
