"""``alm-enrollments merge``: shards' output files to one, and what their documents say with them. Asks ALM for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.compact_set import UserIds
from connector.errors import OutputError, Problem, UsageError
from connector.output.compression import compression_of
from connector.output.document import Totals, partial_error
from connector.output.file import OutputFile
from connector.output.journal import JournalState, journal_of, read_entries, read_known

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from connector.errors import ConnectorError
    from connector.output.document import Document

_OF_ONE_FILE = ("alm_enrollments", "end", "shard")
_SHOWN = 3


class _Part:
    """One shard's output file, by its journal."""

    def __init__(self, path: Path, known: JournalState) -> None:
        self.path = path
        self.known = known
        self.shard: str | None = known.made_with["shard"]
        self.made_with = {
            name: value for name, value in known.made_with.items() if name not in _OF_ONE_FILE
        }
        #: The users who failed and were not read later, with their errors.
        self.failed: dict[str, dict[str, Any]] = {
            entry["user_id"]: entry["error"]
            for entry, _ in read_entries(journal_of(path))
            if "error" in entry and entry["user_id"] not in known.finished
        }

    @property
    def missing(self) -> int:
        """How many users its last run was asked for and did not reach."""
        return max(0, self.known.requested - len(self.known.finished) - len(self.failed))

    def users(self) -> Iterator[dict[str, Any]]:
        """Yield what is told of each user that is whole."""
        return (entry for entry, _ in read_entries(journal_of(self.path)) if "enrollments" in entry)


def merge(
    names: Sequence[str], clean: Callable[[str], str]
) -> tuple[Document, ConnectorError | None]:
    """Join output files in the first of *names*; return their joined document, and the error where users of theirs failed.

    Raises UsageError for files that are not the whole shards of one run, each once, and OutputError.
    """
    if len(names) < 2:  # noqa: PLR2004 - one to write and one to read
        raise _refused(
            "merge", "without its files", "the file to write, then each shard's output file"
        )
    target, *given = map(Path, names)
    try:
        parts = [_read_part(path, target) for path in given]
        _check_same(parts)
        _check_shards(parts)
        _check_users(parts)
        return _join(target, parts, clean)
    except OSError as error:
        raise OutputError(
            f"{error.filename or target} cannot be read: {error.strerror}.",
            hint="Nothing was written.",
        ) from error


def _read_part(path: Path, target: Path) -> _Part:
    if target.exists() and path.exists() and target.samefile(path):
        raise _refused(
            "merge",
            f'given "{path}" to be read and to be written',
            "a file to write that is none of the shards'",
        )
    if compression_of(path) != compression_of(target):
        raise _refused(
            "merge",
            f'given "{path}", which is not compressed as "{target}" is to be',
            "names that end alike",
        )
    known = read_known(journal_of(path))
    if known is None:
        raise _refused(
            "merge",
            f'given "{path}", which has no journal beside it',
            f"an output file with its {journal_of(path).name}",
        )
    if not path.is_file() or path.stat().st_size != known.size:
        raise _refused(
            "merge",
            f'given "{path}", which no run has finished as it is',
            "files of finished runs; resume finishes one",
        )
    part = _Part(path, known)
    if part.missing:
        told = f'given "{path}", which lacks {part.missing} of its {known.requested} users'
        raise _refused("merge", told, "files of runs that reached their end; resume finishes one")
    return part


def _check_same(parts: Sequence[_Part]) -> None:
    for part in parts:
        for name, value in part.made_with.items():
            if value != parts[0].made_with[name]:
                told = f'given other inputs: {name} is {value} in "{part.path}", not {parts[0].made_with[name]}'
                raise _refused("merge", told, "shards of one run")


def _check_shards(parts: Sequence[_Part]) -> None:
    shards = [part.shard for part in parts]
    if set(shards) == {None}:
        return
    counts = {shard.partition("/")[2] if shard else "" for shard in shards}
    if len(counts) > 1:
        raise _refused(
            "merge",
            f"given shards {', '.join(str(shard) for shard in shards)}",
            "shards of one division",
        )
    count = counts.pop()
    wanted = [f"{number}/{count}" for number in range(1, int(count) + 1)]
    missing = [shard for shard in wanted if shard not in shards]
    twice = sorted({str(shard) for shard in shards if shards.count(shard) > 1})
    if missing or twice:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        told = [f"without shard {', '.join(missing[:_SHOWN])}{more}"] if missing else []
        told += [f"given shard {', '.join(twice)} twice"] if twice else []
        raise _refused("merge", " and ".join(told), f"each of the {len(wanted)} shards once")


def _check_users(parts: Sequence[_Part]) -> None:
    seen = UserIds()
    for part in parts:
        for entry in part.users():
            if not seen.add(entry["user_id"]):
                raise _refused(
                    "merge",
                    f'given user {entry["user_id"]} twice, again in "{part.path}"',
                    "files without a common user",
                )


def _join(
    target: Path, parts: Sequence[_Part], clean: Callable[[str], str]
) -> tuple[Document, ConnectorError | None]:
    file = OutputFile(
        target, parts[0].made_with["format"], {**parts[0].made_with, "shard": None}, clean
    )
    # There is nothing to go on with: it only finds out whether the file can be written.
    tuple(file.prepare(resume=False))
    totals = Totals(is_of_many=True)
    requests = sum(part.known.requests for part in parts)
    for part in parts:
        file.join(part.path, part.known, part.users())
        for entry in part.users():
            totals.resume(entry)
            totals.read += 1
    failed = {user_id: told for part in parts for user_id, told in part.failed.items()}
    for user_id, told in failed.items():
        # Who failed in one file may have been read again into another.
        if not any(user_id in part.known.finished for part in parts):
            file.fail(user_id, told, None)
            totals.failed.append({"user_id": user_id, "error": told})
            totals.note(f"user {user_id}: {told['message']}")
    requested = totals.finished
    listed = [(failed["user_id"], failed["error"]["code"]) for failed in totals.failed]
    error = partial_error(listed, len(listed), requested, None) if listed else None
    path = file.finish(requested, requests)
    return totals.document(
        error, requested=requested, requests=requests, output_file=path, hands_on=True
    ), error


def _refused(name: str, given: str, allowed: str) -> UsageError:
    return UsageError.of([Problem(name, given, allowed)], hint="Nothing was written.")
