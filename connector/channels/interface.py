"""What a channel is, what it writes, and how it writes a file. Knows no platform."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from connector.channels.limits import encoded, select_within_limits
from connector.files import (
    check_folder_writable,
    check_replaceable,
    mode_of_replaced,
    target_of,
)
from connector.text import one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from connector.channels.limits import Limit
    from connector.errors import ConnectorError

# Without it, Windows writes two bytes for each line end.
_BINARY = getattr(os, "O_BINARY", 0)
# Lone surrogates, which UTF-8 cannot encode, except those that stand for a file name's bytes.
_UNWRITABLE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True, slots=True)
class ChannelContext:
    """The surroundings of a run, by which channels are found.

    *write_line* writes a line to standard error as it is; *root* is the root of the file system;
    *is_action* is whether the GitHub Action runs, whose standard error goes to the runner only.
    """

    environ: Mapping[str, str]
    write_line: Callable[[str], None]
    output_dir: str | None = None
    dotenv: str | None = None
    root: Path = Path("/")
    is_action: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """Records that are not in the document: counts by type and state, and the first ones.

    *users* is how many users they are of, requested by this run or in the file already.
    """

    counts: Mapping[tuple[str, str], int]
    first: Sequence[Mapping[str, Any]]
    users: int = 0


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """The results of a run, without secrets, and the users that its inputs name.

    Only if it *shows_names* does a summary have the names and addresses of learners.
    """

    document: Mapping[str, Any]
    error: ConnectorError | None = None
    named_users: tuple[str, ...] = ()
    tally: Tally | None = None
    shows_names: bool = False

    def as_text(self) -> dict[str, str]:
        """Return each field except the enrollments: strings as they are, the rest as JSON."""
        texts = {}
        for name, value in self.document.items():
            if name == "enrollments":
                continue
            if value is None:
                texts[name] = ""
            elif isinstance(value, str):
                texts[name] = _UNWRITABLE.sub(lambda half: f"\\u{ord(half[0]):x}", value)
            else:
                texts[name] = to_json(value)
        return texts


class Channel(ABC):
    """An output besides standard output; a second ``write`` corrects the first."""

    #: As messages call it.
    name: ClassVar[str]
    #: Whether later steps rely on it, so that the run fails without it; else it informs people.
    has_results: ClassVar[bool] = True
    #: By which flag the user names its files; empty if the platform does.
    flag: ClassVar[str] = ""

    def __init__(self, context: ChannelContext) -> None:
        self.context = context

    @staticmethod
    @abstractmethod
    def is_available(context: ChannelContext) -> bool:
        """Return whether *context* has this channel."""

    @abstractmethod
    def write(self, outputs: RunOutputs) -> None:
        """Write all *outputs*, or none if that raises OSError."""

    def prepare(self) -> None:
        """Check before the first request that outputs can be written. Raises OSError."""

    def files(self) -> Iterable[Path]:
        """Return the files that it writes, of which no other file of the run may be one."""
        return ()

    def mask(self, secret: str) -> None:
        """Make the platform remove *secret* from its logs."""

    def check_user_ids(self, user_ids: Iterable[str]) -> None:
        """Warn if the platform would drop outputs that contain *user_ids*."""

    def open_group(self) -> None:
        """Begin a group of log lines that readers can fold."""

    def close_group(self) -> None:
        """End the group."""

    def warn(self, text: str) -> None:
        """Show *text*, which is one line, although the run succeeds."""
        self.context.write_line(f"alm-enrollments: warning: {text}")

    def annotate(self, error: ConnectorError) -> None:
        """Show *error* on the platform's page of the run; standard error has it already."""

    def full_output_location(self, outputs: RunOutputs) -> str:
        """Name the file or stream that has the outputs that this channel leaves out."""
        return outputs.document["output_file"] or "the document on standard output"

    def select_within_limits(self, outputs: RunOutputs, *limits: Limit | None) -> dict[str, str]:
        """Return the outputs within all *limits*, and warn of the others."""
        kept, left_out = select_within_limits(outputs.as_text(), *limits)
        if left_out:
            location = self.full_output_location(outputs)
            self.warn(one_line(f"Left out of {self.name}: {left_out}. Look in {location}."))
        return kept


def write_atomically(path: Path, text: str, *, mode: int | None = None) -> None:
    """Replace *path* by *text*, or leave it as it is. Raises OSError.

    The file has *mode*; without it that of the file that it replaces, or else of any new file.
    """
    with _naming(path):
        # A run that fails on its inputs was not prepared, and must not replace a device.
        check_replaceable(path)
        target = target_of(path)
        mode = mode or mode_of_replaced(target)
        temporary = target.parent / f".{target.name}.{secrets.token_hex(8)}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
            with os.fdopen(os.open(temporary, flags, mode or 0o666), "wb") as file:
                file.write(encoded(text))
            if mode is not None:
                temporary.chmod(mode)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def check_appendable(path: Path) -> None:
    """Check that text can be appended to *path*, or that it can be created. Raises OSError."""
    if path.is_file():
        path.open("ab").close()
    elif not path.exists():
        check_folder_writable(target_of(path).parent)
    elif path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def append_atomically(path: Path, text: str) -> None:
    """Append *text* to *path*, on a line of its own, or leave it as it is. Raises OSError."""
    with _naming(path), _open_to_append(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            rest = missing_line_end(path) + encoded(text)
            while rest:
                rest = rest[file.write(rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(size)
            raise


def _open_to_append(path: Path) -> FileIO:
    """Open *path* to append to it. Raises OSError, also for a pipe that nobody reads."""
    # Windows has no pipes among its files.
    no_wait = getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _BINARY | no_wait, 0o666)
    if no_wait:
        os.set_blocking(handle, True)
    return FileIO(handle, "ab")


def missing_line_end(path: Path) -> bytes:
    """Return the line end that *path* needs before text can be appended on a line of its own."""
    if not path.is_file():
        return b""
    return b"" if path.read_bytes()[-1:] in (b"", b"\n") else b"\n"


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name *path* in every OSError: a write names no file, and mkstemp a temporary one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
