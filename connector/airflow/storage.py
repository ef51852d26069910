"""Files of object storage (``s3://…``, ``gs://…``) as local files for a run."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import ObjectStoragePath

from connector.errors import OutputError, Problem, TemporaryError, UsageError
from connector.files import JOURNAL, NEW_JOURNAL, PART
from connector.output.file import is_intact
from connector.output.journal import read_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from connector.errors import ConnectorError

_log = logging.getLogger(__name__)


def is_remote(path: object) -> bool:
    """Return whether *path* is one of object storage."""
    return isinstance(path, str) and "://" in path


@contextlib.contextmanager
def local_copy(path: str, *, with_journal: bool = False) -> Iterator[str]:
    """Provide a local copy of the object at *path*, and of its journal if it has one.

    Raises UsageError if the object does not exist or may not be read, and TemporaryError if the
    storage fails.
    """
    with tempfile.TemporaryDirectory(prefix="alm-enrollments-") as folder:
        local = Path(folder, PurePosixPath(path).name)
        if not _download(path, local):
            problem = Problem("", f'the object "{path}" does not exist')
            raise UsageError.of([problem], hint="Nothing was sent.")
        if with_journal:
            _download(f"{path}{JOURNAL}", Path(f"{local}{JOURNAL}"))
        yield str(local)


@contextlib.contextmanager
def local_output(path: str, *, resume: bool = False) -> Iterator[str]:
    """Provide a local file that becomes the object at *path*, with its journal, also on failure.

    To *resume*, an earlier run's files are downloaded first. Records are uploaded after a new
    journal, which then replaces the old one: if an upload ends in between, a later run that
    resumes takes the journal that fits the records. Raises OutputError at once if *path* cannot be
    written, and TemporaryError if the earlier files cannot be downloaded, or the files cannot be
    uploaded: then they stay where they are. If the run itself has failed, its error is raised, and
    that of the upload is logged.
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
        self.local = folder / PurePosixPath(path).name
        self._part, self._journal, self._new_journal = (
            Path(f"{self.local}{suffix}") for suffix in (PART, JOURNAL, NEW_JOURNAL)
        )
        self._objects = {
            file: path + file.name.removeprefix(self.local.name)
            for file in (self.local, self._part, self._journal, self._new_journal)
        }
        self._downloaded: dict[Path, tuple[int, ...]] = {}

    def download_earlier_files(self) -> None:
        """Download what an earlier run has left there, as far as it may be read."""
        for file, remote in self._objects.items():
            try:
                if _download(remote, file):
                    self._downloaded[file] = _version(file)
            except UsageError:
                _log.warning("%s cannot be read, so the run does not resume it.", remote)
        if self._new_journal.is_file():
            # An upload ended early, or was not allowed to delete it. A part has its own journal.
            state = read_state(self._new_journal)
            is_of_records = state and self.local.is_file() and is_intact(self.local, state)
            if is_of_records and not self._part.is_file():
                self._new_journal.replace(self._journal)
            self._new_journal.unlink(missing_ok=True)

    def run(self) -> TemporaryError | None:
        """Upload the files that have changed; return the error if one cannot be stored."""
        try:
            for file, path in self._changed():
                with _translated(self._unstored):
                    remote = ObjectStoragePath(path)
                    remote.fs.put_file(str(file), remote.path)
        except TemporaryError as error:
            return error
        if self._journal.is_file():
            _remove(self._objects[self._new_journal])
            if not self._part.is_file():
                # The file has the records that an earlier run left unfinished, or starts anew. If
                # the old part may not be deleted, a run that resumes notices that it is outdated.
                _remove(self._objects[self._part])
        return None

    def _changed(self) -> Iterator[tuple[Path, str]]:
        """Yield the files that have changed, each with its object, in the order of the upload."""
        files = [
            file
            for file in (self.local, self._part, self._journal)
            if file.is_file() and _version(file) != self._downloaded.get(file)
        ]
        if self.local in files and self._journal in files:
            yield self._journal, self._objects[self._new_journal]
        for file in files:
            yield file, self._objects[file]

    def _unstored(self, error: Exception) -> TemporaryError:
        return TemporaryError(
            f"The output file {self._path} cannot be stored: {_reason(error)}.",
            hint=f"The records are kept in {self._folder} on this worker; run again.",
        )


def _check_writable(path: str) -> None:
    def unwritable(error: Exception) -> OutputError:
        return OutputError(
            f"The output file {path} cannot be written: {_reason(error)}.",
            hint="Nothing was sent. Fix this and run again.",
        )

    with _translated(unwritable):
        if _is_folder(ObjectStoragePath(path)):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        probe = ObjectStoragePath(f"{path}.check")
        probe.fs.pipe_file(probe.path, b"")
    _remove(f"{path}.check")


def _version(file: Path) -> tuple[int, ...]:
    # Without the time of access, which the run changes.
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _is_folder(path: ObjectStoragePath) -> bool:
    # If it may not be looked at, writing to it decides.
    with contextlib.suppress(Exception):
        return bool(path.is_dir())
    return False


def _remove(path: str) -> None:
    # A bucket may let us write objects, and nothing else.
    with contextlib.suppress(Exception):
        remote = ObjectStoragePath(path)
        remote.fs.rm_file(remote.path)


def _download(path: str, local: Path) -> bool:
    """Download the object at *path*; return whether it exists.

    Raises UsageError if it may not be read, and TemporaryError if the storage fails.
    """

    def unreadable(error: Exception) -> ConnectorError:
        if _is_permanent(error):
            problem = Problem("", f'the object "{path}" cannot be read: {_reason(error)}')
            return UsageError.of([problem], hint="Nothing was sent. Fix this and run again.")
        return TemporaryError(
            f"The object {path} cannot be read: {_reason(error)}.",
            hint="Nothing was sent. Run again when the storage works.",
        )

    with _translated(unreadable):
        try:
            remote = ObjectStoragePath(path)
            remote.fs.get_file(remote.path, str(local))
        except FileNotFoundError:
            return False
    return True


@contextlib.contextmanager
def _translated(translate: Callable[[Exception], ConnectorError]) -> Iterator[None]:
    """Raise what *translate* makes of any error: every storage has errors of its own."""
    try:
        yield
    except Exception as error:
        raise translate(error) from error


def _is_permanent(error: Exception) -> bool:
    """Return whether the storage refuses access, or is not installed or connected."""
    # gcsfs raises a plain OSError for 403. Azure's errors and Airflow's have a status.
    return (
        isinstance(error, (ImportError, PermissionError, ValueError))
        or str(error).startswith("Forbidden: ")
        or getattr(error, "status_code", None) in (401, 403, 404)
    )


def _reason(error: Exception) -> str:
    # Some have no text, such as that of requests for a proxy.
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
