"""Files of object storage (``s3://…``, ``gs://…``) beside a run, which itself knows local ones alone."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import ObjectStoragePath

from connector.errors import Problem, UsageError
from connector.journal import journal_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import stat_result


@contextlib.contextmanager
def fetched(path: str | None, *, has_journal: bool = False) -> Iterator[str | None]:
    """Give *path* where it is local, else a copy of the object that it names. Raises UsageError where there is none."""
    if path is None or not _is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="alm-enrollments-") as folder:
        remote = ObjectStoragePath(path)
        local = Path(folder, remote.name)
        for file in (local, journal_of(local)) if has_journal else (local,):
            try:
                _fetch(remote.parent / file.name, file)
            except FileNotFoundError as error:
                problem = Problem("a file", f'"{remote.parent / file.name}"', "an object that is there")
                raise UsageError.of([problem], hint="Nothing was sent.") from error
        yield str(local)


@contextlib.contextmanager
def stored(path: str | None, *, resume: bool = False) -> Iterator[str | None]:
    """Give *path* where it is local, else a file that becomes the object which it names, with its journal, also where the run fails.

    To *resume*, what an earlier run has stored is there. Records are put in their
    place before the journal that tells of them: after a kill in between, a run that
    resumes refuses the file, and loses nobody.
    """
    if path is None or not _is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="alm-enrollments-") as folder:
        remote = ObjectStoragePath(path)
        local = Path(folder, remote.name)
        part, journal = Path(folder, f"{local.name}.part"), journal_of(local)
        as_fetched: dict[Path, stat_result] = {}
        for file in (local, part, journal) if resume else ():
            with contextlib.suppress(FileNotFoundError):
                _fetch(remote.parent / file.name, file)
                as_fetched[file] = file.stat()
        try:
            yield str(local)
        finally:
            for file in (local, part, journal):
                if file.is_file() and file.stat() != as_fetched.get(file):
                    (remote.parent / file.name).fs.put_file(str(file), (remote.parent / file.name).path)
            if journal.is_file() and not part.is_file():
                # What an earlier run left unfinished is in the file, or was begun anew.
                (remote.parent / part.name).unlink(missing_ok=True)


def _is_remote(path: str) -> bool:
    return "://" in path


def _fetch(remote: ObjectStoragePath, local: Path) -> None:
    remote.fs.get_file(remote.path, str(local))
