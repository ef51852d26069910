"""Files of object storage (``s3://…``, ``gs://…``) beside a run, which itself knows local ones alone."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import ObjectStoragePath

from connector.errors import OutputError, Problem, UsageError
from connector.output.journal import journal_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import stat_result


@contextlib.contextmanager
def fetched(path: str, *, has_journal: bool = False) -> Iterator[str]:
    """Give a copy of the object at *path*. Raises UsageError where there is none."""
    with tempfile.TemporaryDirectory(prefix="alm-enrollments-") as folder:
        local = Path(folder, ObjectStoragePath(path).name)
        objects = (
            {local: path, journal_of(local): f"{path}.users"} if has_journal else {local: path}
        )
        for file, named in objects.items():
            try:
                _fetch(ObjectStoragePath(named), file)
            except FileNotFoundError as error:
                raise UsageError.of(
                    [Problem("a file", f'"{named}"', "an object that is there")],
                    hint="Nothing was sent.",
                ) from error
        yield str(local)


@contextlib.contextmanager
def stored(path: str, *, resume: bool = False) -> Iterator[str]:
    """Give a file that becomes the object at *path*, with its journal, also where the run fails.

    To *resume*, what an earlier run has stored is there. Records are put in their
    place before the journal that tells of them: after a kill in between, a run that
    resumes refuses the file, and loses nobody. Raises OutputError where nothing can be
    written, before anything is read.
    """
    _check_writable(path)
    with tempfile.TemporaryDirectory(prefix="alm-enrollments-") as folder:
        local = Path(folder, ObjectStoragePath(path).name)
        part, journal = Path(folder, f"{local.name}.part"), journal_of(local)
        objects = {
            file: ObjectStoragePath(path + file.name.removeprefix(local.name))
            for file in (local, part, journal)
        }
        as_fetched: dict[Path, stat_result] = {}
        for file, remote in objects.items() if resume else ():
            with contextlib.suppress(FileNotFoundError):
                _fetch(remote, file)
                as_fetched[file] = file.stat()
        try:
            yield str(local)
        finally:
            for file, remote in objects.items():
                if file.is_file() and file.stat() != as_fetched.get(file):
                    remote.fs.put_file(str(file), remote.path)
            if journal.is_file() and not part.is_file():
                # What an earlier run left unfinished is in the file, or was begun anew.
                objects[part].unlink(missing_ok=True)


def is_remote(path: object) -> bool:
    """Return whether *path* is one of object storage."""
    return isinstance(path, str) and "://" in path


def _check_writable(path: str) -> None:
    try:
        if ObjectStoragePath(path).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        probe = ObjectStoragePath(f"{path}.check")
        probe.fs.pipe_file(probe.path, b"")
        probe.unlink()
    except (ImportError, OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise OutputError(
            f"The output file {path} cannot be written: {reason}.",
            hint="Nothing was sent; mend it and run again.",
        ) from error


def _fetch(remote: ObjectStoragePath, local: Path) -> None:
    remote.fs.get_file(remote.path, str(local))
