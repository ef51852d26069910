"""Files of object storage (``s3://…``, ``gs://…``) as local files for a run."""

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


def is_remote(path: object) -> bool:
    """Return whether *path* is one of object storage."""
    return isinstance(path, str) and "://" in path


@contextlib.contextmanager
def local_copy(path: str, *, has_journal: bool = False) -> Iterator[str]:
    """Provide a local copy of the object at *path*. Raises UsageError if it does not exist."""
    with tempfile.TemporaryDirectory(prefix="alm-enrollments-") as folder:
        local = Path(folder, ObjectStoragePath(path).name)
        objects = {local: path}
        if has_journal:
            objects[journal_of(local)] = f"{path}.users"
        for file, remote in objects.items():
            try:
                _download(ObjectStoragePath(remote), file)
            except FileNotFoundError as error:
                raise UsageError.of(
                    [Problem("a file", f'"{remote}"', "an object that is there")],
                    hint="Nothing was sent.",
                ) from error
        yield str(local)


@contextlib.contextmanager
def local_output(path: str, *, resume: bool = False) -> Iterator[str]:
    """Provide a local file that becomes the object at *path*, with its journal, also on failure.

    To *resume*, an earlier run's files are downloaded first. Records are uploaded before the
    journal that lists them: if a run is killed in between, a later one that resumes refuses the
    file, and loses no user. Raises OutputError at once if *path* cannot be written.
    """
    _check_writable(path)
    with tempfile.TemporaryDirectory(prefix="alm-enrollments-") as folder:
        local = Path(folder, ObjectStoragePath(path).name)
        part, journal = Path(folder, f"{local.name}.part"), journal_of(local)
        objects = {
            file: ObjectStoragePath(path + file.name.removeprefix(local.name))
            for file in (local, part, journal)
        }
        downloaded: dict[Path, stat_result] = {}
        for file, remote in objects.items() if resume else ():
            with contextlib.suppress(FileNotFoundError):
                _download(remote, file)
                downloaded[file] = file.stat()
        try:
            yield str(local)
        finally:
            for file, remote in objects.items():
                if file.is_file() and file.stat() != downloaded.get(file):
                    remote.fs.put_file(str(file), remote.path)
            if journal.is_file() and not part.is_file():
                # The file has the records that an earlier run left unfinished, or starts anew.
                objects[part].unlink(missing_ok=True)


def _check_writable(path: str) -> None:
    try:
        if ObjectStoragePath(path).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        probe = ObjectStoragePath(f"{path}.check")
        probe.fs.pipe_file(probe.path, b"")
        probe.unlink()
    except (ImportError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"The output file {path} cannot be written: {reason}.",
            hint="Nothing was sent; mend it and run again.",
        ) from error


def _download(remote: ObjectStoragePath, local: Path) -> None:
    remote.fs.get_file(remote.path, str(local))
