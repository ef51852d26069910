"""Files of object storage (``s3://…``, ``gs://…``) as local files for a run."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import ObjectStoragePath

from connector.errors import OutputError, Problem, TemporaryError, UsageError
from connector.output.journal import journal_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import stat_result

_log = logging.getLogger(__name__)


def is_remote(path: object) -> bool:
    """Return whether *path* is one of object storage."""
    return isinstance(path, str) and "://" in path


def has_journal(path: str) -> bool:
    """Return whether the object at *path* has its journal next to it."""
    return bool(ObjectStoragePath(f"{path}.users").exists())


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
                    [Problem("", f'the object "{remote}" does not exist')],
                    hint="Nothing was sent.",
                ) from error
        yield str(local)


@contextlib.contextmanager
def local_output(path: str, *, resume: bool = False) -> Iterator[str]:
    """Provide a local file that becomes the object at *path*, with its journal, also on failure.

    To *resume*, an earlier run's files are downloaded first. Records are uploaded before the
    journal that lists them: if a run is killed in between, a later one that resumes refuses the
    file, and loses no user. Raises OutputError at once if *path* cannot be written, and
    TemporaryError if the files cannot be uploaded: then they stay where they are. If the run
    itself has failed, its error is raised, and that of the upload is logged.
    """
    _check_writable(path)
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="alm-enrollments-"))
        stack.callback(shutil.rmtree, folder)
        upload = _Upload(path, folder)
        if resume:
            upload.download_earlier_files()
        try:
            yield str(upload.local)
        except BaseException:
            if error := upload.run():
                stack.pop_all()
                _log.warning("%s", error)
            raise
        if error := upload.run():
            stack.pop_all()
            raise error


class _Upload:
    """The local files in *folder* that become the object at *path*, its part and its journal."""

    def __init__(self, path: str, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self.local = folder / ObjectStoragePath(path).name
        self._part, self._journal = Path(f"{self.local}.part"), journal_of(self.local)
        self._objects = {
            file: ObjectStoragePath(path + file.name.removeprefix(self.local.name))
            for file in (self.local, self._part, self._journal)
        }
        self._downloaded: dict[Path, stat_result] = {}

    def download_earlier_files(self) -> None:
        """Download what an earlier run has left there, as far as it may be read."""
        for file, remote in self._objects.items():
            try:
                _download(remote, file)
                self._downloaded[file] = file.stat()
            except FileNotFoundError:
                continue
            except PermissionError:
                _log.warning("%s cannot be read, so the run does not resume it.", remote)

    def run(self) -> TemporaryError | None:
        """Upload the files that have changed; return the error if one cannot be stored."""
        try:
            for file, remote in self._objects.items():
                if file.is_file() and file.stat() != self._downloaded.get(file):
                    remote.fs.put_file(str(file), remote.path)
        except Exception as error:  # noqa: BLE001 - every storage has errors of its own
            failure = TemporaryError(
                f"The output file {self._path} cannot be stored: {_reason(error)}.",
                hint=f"The records are kept in {self._folder} on this worker; run again.",
            )
            failure.__cause__ = error
            return failure
        if self._journal.is_file() and not self._part.is_file():
            # The file has the records that an earlier run left unfinished, or starts anew. If the
            # old part may not be deleted, a run that resumes notices that it is out of date.
            with contextlib.suppress(OSError):
                part = self._objects[self._part]
                part.fs.rm_file(part.path)
        return None


def _check_writable(path: str) -> None:
    try:
        if _is_folder(ObjectStoragePath(path)):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        probe = ObjectStoragePath(f"{path}.check")
        probe.fs.pipe_file(probe.path, b"")
        # A bucket may let us write objects, and nothing else.
        with contextlib.suppress(OSError):
            probe.fs.rm_file(probe.path)
    except (ImportError, OSError, ValueError) as error:
        raise OutputError(
            f"The output file {path} cannot be written: {_reason(error)}.",
            hint="Nothing was sent. Fix this and run again.",
        ) from error


def _is_folder(path: ObjectStoragePath) -> bool:
    try:
        return bool(path.is_dir())
    except OSError:
        # It may not be looked at: writing to it decides.
        return False


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error


def _download(remote: ObjectStoragePath, local: Path) -> None:
    remote.fs.get_file(remote.path, str(local))
