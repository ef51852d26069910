"""What a channel is, what it writes, and how it writes a file. Knows no platform."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from connector.channels.limits import encoded, select_within_limits
from connector.text import one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from connector.channels.limits import Limit
    from connector.errors import ConnectorError

# Lone surrogates, which UTF-8 cannot encode, except those that stand for a file name's bytes.
_UNWRITABLE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True, slots=True)
class ChannelContext:
    """The surroundings of a run, by which channels are found.

    *write_line* writes a line to standard error as it is; *root* is the root of the file system.
    """

    environ: Mapping[str, str]
    write_line: Callable[[str], None]
    output_dir: str | None = None
    dotenv: str | None = None
    root: Path = Path("/")


@dataclass(frozen=True, slots=True)
class Tally:
    """Records that are not in the document: counts by type and state, and the first ones."""

    counts: Mapping[tuple[str, str], int]
    first: Sequence[Mapping[str, Any]]


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


def write_atomically(path: Path, text: str) -> None:
    """Replace *path* by *text*, or leave it as it is. Raises OSError."""
    with _naming(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(encoded(text))
            # mkstemp lets only its own user read, but a sidecar may run as another one.
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def append_atomically(path: Path, text: str) -> None:
    """Append *text* to *path*, on a line of its own, or leave it as it is. Raises OSError."""
    with _naming(path), path.open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            rest = missing_line_end(path) + encoded(text)
            while rest:
                rest = rest[file.write(rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(size)
            raise


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
