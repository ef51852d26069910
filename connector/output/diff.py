"""``alm-enrollments diff``: what changed from one output file to another, without asking ALM."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.clock import parse_moment
from connector.errors import (
    ConnectorError,
    InternalError,
    Problem,
    UsageError,
    error_as_dict,
)
from connector.formats.interface import COLUMNS
from connector.output.changes import changed_fields, is_completion
from connector.output.compared import check_inputs, later_moments, open_compared, refused
from connector.output.diff_file import DiffFile
from connector.output.diff_store import NEW, OLD, DiffStore
from connector.output.results import MAX_LISTED_IDS
from connector.redact import Redactor
from connector.schemas import first_error, is_valid, load_schema
from connector.settings.values import read_list
from connector.text import MAX_SUMMARY_RECORDS, counted, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from connector.output.compared import ComparedFile
    from connector.output.document import Document

Record = dict[str, Any]
#: Opening a course changes this, and nothing else.
IGNORED = ("last_access_date",)
_KINDS = ("added", "removed", "changed")
_FILES = 2
_RECORDS_PER_REPORT = 1_000


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """How two files are compared: *ignore* names fields that do not count as changes."""

    output_file: str | None = None
    ignore: Sequence[str] = IGNORED
    assume_complete: bool = False


@dataclass(frozen=True, slots=True)
class Scan:
    """How many records of a file have been read, of how many, if that is known."""

    path: Path
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The document of a comparison; for a summary, counts by type and change, and completions.

    It *has_names* if the run of the newer file was asked for the names of learners.
    """

    document: Document
    has_names: bool
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    completions: list[Record] = field(default_factory=list)


def diff(
    old: str | Path,
    new: str | Path,
    *,
    output_file: str | Path | None = None,
    ignore: Sequence[str] | str = IGNORED,
    assume_complete: bool = False,
) -> Document:
    """Return what changed from the output file *old* to *new*, as ``alm-enrollments diff`` does.

    Only users that both files have completely are compared. *output_file* (NDJSON or CSV) gets
    each change with the record before and after. *ignore* names fields that do not count.
    *assume_complete* takes a file as complete that neither is a document nor has a journal.
    Raises UsageError and OutputError.
    """
    path = output_file and str(output_file)
    options = DiffOptions(path or None, read_list(ignore), assume_complete)  # type: ignore[arg-type] # compare checks it
    try:
        return compare([str(old), str(new)], options, Redactor()).document
    except ConnectorError as error:
        raise error.replaced(document=failed_difference(error)) from error.__cause__


def compare(
    names: Sequence[str],
    options: DiffOptions,
    redactor: Redactor,
    on_progress: Callable[[Scan], None] = lambda _: None,
) -> Difference:
    """Compare the two files *names*, the older one first.

    Raises UsageError if they cannot be compared, and OutputError. Memory does not grow with the
    files, only with the document's lists.
    """
    problems = list(_problems(names, options))
    if problems:
        raise UsageError.of(problems, hint="Nothing was written.")
    paths = [Path(name) for name in names]
    output = DiffFile(Path(options.output_file)) if options.output_file else None
    if output:
        output.prepare(paths)
    old, new = (open_compared(path, assume_complete=options.assume_complete) for path in paths)
    check_inputs(old, new)
    with DiffStore(old, new, output.folder if output else None) as store:
        comparison = _Comparison(store, options, redactor, on_progress, later_moments(old, new))
        comparison.read_old(old)
        comparison.read_new(new)
        comparison.find_removed()
        if output:
            output.write(store.lines())
        return comparison.result(has_names=bool((new.inputs or {}).get("names")))


def failed_difference(error: ConnectorError) -> Document:
    """Return the document of a comparison that came to nothing."""
    values: Document = {"not_comparable_users": [], "not_comparable_count": 0}
    for kind in (*_KINDS, "completed"):
        values |= {f"{kind}_ids": [], f"{kind}_count": 0}
    return _validated({**values, "output_file": None, "error": error_as_dict(error)})


class _Comparison:
    """Reads the old records into the store, and compares the new ones with them."""

    def __init__(
        self,
        store: DiffStore,
        options: DiffOptions,
        redactor: Redactor,
        on_progress: Callable[[Scan], None],
        later_moments: Mapping[str, datetime],
    ) -> None:
        self._store = store
        self._options = options
        self._redactor = redactor
        self._on_progress = on_progress
        self._later_moments = later_moments
        self._counts: Counter[str] = Counter()
        self._counts_by_type: Counter[tuple[str, str]] = Counter()
        self._completions: list[Record] = []

    def read_old(self, file: ComparedFile) -> None:
        """Keep the records of every user that the old *file* has completely."""
        for record in self._records(file):
            if self._store.is_complete(OLD, record["user_id"]) and not self._store.add(record):
                raise _repeated(file, record)

    def read_new(self, file: ComparedFile) -> None:
        """Compare each record of a comparable user in the new *file* with the old one."""
        for record in self._records(file):
            user_id = record["user_id"]
            is_complete = self._store.is_complete(NEW, user_id)
            if not (is_complete and self._store.is_complete(OLD, user_id, is_read=False)):
                continue
            kind, before = self._store.take(record)
            if kind == "repeated":
                raise _repeated(file, record)
            if kind == "added":
                self._add_change("added", None, record)
            if before is not None:
                fields = changed_fields(before, record, self._options.ignore)
                if fields:
                    self._add_change("changed", before, record, fields)

    def find_removed(self) -> None:
        """Find the old records of comparable users that the new file does not have."""
        for record in self._store.rest():
            if self._store.is_complete(NEW, record["user_id"], is_read=False):
                self._add_change("removed", record, None)

    def result(self, *, has_names: bool) -> Difference:
        """Return the difference."""
        counts = {kind: self._counts[kind] for kind in (*_KINDS, "completed")}
        counts["not_comparable"] = self._store.count_not_comparable()
        values: Document = {f"{kind}_count": count for kind, count in counts.items()}
        for kind in (*_KINDS, "completed"):
            values[f"{kind}_ids"] = self._listed(self._store.ids(kind), counts[kind])
        users = self._store.not_comparable()
        values["not_comparable_users"] = self._listed(users, counts["not_comparable"])
        values["output_file"] = self._options.output_file
        values["error"] = None
        document = self._redactor.clean_value(_validated(values))
        return Difference(document, has_names, self._counts_by_type, self._completions)

    def _listed(self, texts: Iterator[str], count: int) -> list[str] | None:
        if self._options.output_file and count > MAX_LISTED_IDS:
            return None
        return list(texts)

    def _records(self, file: ComparedFile) -> Iterator[Record]:
        done = 0
        for done, record in enumerate(file.records(), 1):
            if done % _RECORDS_PER_REPORT == 0:
                self._on_progress(Scan(file.path, done, file.count))
            if not self._is_in_one_only(file, record):
                yield record
        self._on_progress(Scan(file.path, done, file.count))

    def _is_in_one_only(self, file: ComparedFile, record: Record) -> bool:
        """Return whether the moments of the runs, not the learner, keep it out of one file."""
        for name, moment in self._later_moments.items():
            if name not in record:
                raise refused(
                    f'"{file.path}" has no column {name}, which runs from different moments need',
                    f"files with {name}, or runs with the same moment",
                )
            date = parse_moment(record[name] or "")
            if date and date < moment:
                return True
        return False

    def _add_change(
        self, kind: str, before: Record | None, after: Record | None, fields: Sequence[str] = ()
    ) -> None:
        record: Record = after or before or {}
        completed = after is not None and is_completion(before, after)
        change = {
            "change": kind,
            "user_id": record["user_id"],
            "id": record["id"],
            "completed": completed,
            "fields": list(fields),
            "before": before,
            "after": after,
        }
        change = self._redactor.clean_value(change)
        self._store.add_change(change, has_line=self._options.output_file is not None)
        self._counts[kind] += 1
        self._counts["completed"] += completed
        self._counts_by_type[str(record.get("lo_type")), kind] += 1
        if completed and len(self._completions) < MAX_SUMMARY_RECORDS:
            self._completions.append(change)


def _problems(names: Sequence[str], options: DiffOptions) -> Iterator[Problem]:
    if len(names) != _FILES:
        yield Problem(
            "", f"diff got {counted(len(names), 'file')}", "two output files, the older one first"
        )
    fields = {*load_schema("outputs")["$defs"]["enrollment"]["properties"], *COLUMNS}
    fields -= {"id", "user_id"}
    for name in options.ignore:
        if name not in fields:
            near = "".join(difflib.get_close_matches(str(name), sorted(fields), n=1))
            yield Problem("ignore", to_json(name), "fields of an enrollment", near)
    if options.output_file and not DiffFile(Path(options.output_file)).is_named_well:
        allowed = "a name that ends in .ndjson, .jsonl or .csv, also with .gz or .zst"
        yield Problem("output_file", to_json(options.output_file), allowed)


def _repeated(file: ComparedFile, record: Record) -> UsageError:
    return refused(
        f'"{file.path}" has enrollment {record["id"]} of user {record["user_id"]} twice',
        "each enrollment once",
    )


def _validated(values: Document) -> Document:
    document = {name: values[name] for name in load_schema("diff")["properties"]}
    if not is_valid("diff", document):
        path, _ = first_error("diff", document)
        raise InternalError(
            f"The document of the difference breaks its own schema at {path}.",
            hint="Please report it.",
        )
    return document
