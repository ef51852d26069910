"""Files as outputs: whether one can be replaced, with which mode, and which names mean the same."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    #: Files by what names them: paths, and descriptors of open files.
    NamedFiles = Mapping[str, Iterable[Path | int]]

#: What an output file's name is followed by: it grows in the first and is converted in the second;
#: the third is its journal, the fourth a new journal.
PART, CONVERTED, JOURNAL, NEW_JOURNAL = ".part", ".part.new", ".users", ".users.new"
_MOUNTS = Path("/proc/self/mountinfo")


def target_of(path: Path) -> Path:
    """Return the file that *path* names: if it is a symbolic link, what that leads to.

    Replacing the link itself would leave the file that others read as it was.
    """
    with contextlib.suppress(OSError):
        if path.is_symlink():
            return Path(os.path.realpath(path))
    return path


def files_of(path: Path) -> list[Path]:
    """Return the output file *path* and the files that a run writes next to it."""
    target = target_of(path)
    suffixes = (PART, CONVERTED, JOURNAL, NEW_JOURNAL)
    return [target, *(target.parent / f"{target.name}{suffix}" for suffix in suffixes)]


def mode_of_replaced(path: Path) -> int | None:
    """Return the permissions of the file *path*; ``None`` if it does not exist."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


def check_replaceable(path: Path) -> None:
    """Check that another file can take the name *path*. Raises OSError."""
    path = target_of(path)
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, f"{path.name or path} is no regular file", str(path))
    if _is_mount_point(path):
        reason = f"{path.name} is mounted as a single file, which cannot be replaced"
        raise OSError(errno.EBUSY, f"{reason}; mount its folder instead", str(path))


def check_folder_writable(folder: Path) -> None:
    """Check that files can be created in *folder*. Raises OSError, with the folder."""
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))


def _is_mount_point(path: Path) -> bool:
    # `os.path.ismount` misses a file of the same file system, which containers mount most often.
    try:
        mounts = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return os.path.ismount(path)
    escaped = os.fsencode(os.path.realpath(path))
    for character in b"\\ \t\n":
        escaped = escaped.replace(bytes([character]), b"\\%03o" % character)
    return any(mount.split(b" ")[4] == escaped for mount in mounts)


def identity_of(file: Path | int) -> Hashable:
    """Return what all names of *file*, a path or an open file, have in common.

    ``None`` for what several may share, such as a terminal, a pipe or ``/dev/null``.
    """
    try:
        status = os.fstat(file) if isinstance(file, int) else file.stat()
    except (OSError, ValueError):
        return None if isinstance(file, int) else os.path.normcase(os.path.realpath(file))
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_dev, status.st_ino


def find_shared(outputs: NamedFiles, others: NamedFiles) -> Iterator[tuple[str, str]]:
    """Yield the name of each output that is also another file, with that file's name.

    *outputs* are compared with each other and with *others*.
    """
    names: dict[Hashable, str] = {}
    for name, files in others.items():
        names |= dict.fromkeys(map(identity_of, files), name)
    for name, files in outputs.items():
        identities = {identity_of(file) for file in files} - {None}
        for other in sorted({names[identity] for identity in identities if identity in names}):
            yield name, other
        names |= dict.fromkeys(identities, name)


def advice_for(error: OSError) -> str:
    """Return what to do about the *error* of a file that cannot be written."""
    if isinstance(error, FileNotFoundError):
        return "Create the folder and run again."
    # In a container, the folder often belongs to a user of the machine around it.
    if error.errno == errno.EACCES and hasattr(os, "geteuid"):
        return f"This runs as user {os.geteuid()}. Let it write there, and run again."
    return "Fix this and run again."
