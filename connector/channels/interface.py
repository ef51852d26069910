"""What a channel is: where outputs go besides standard output. Knows no platform."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from connector.text import one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from connector.errors import ConnectorError

# Half a surrogate pair stands in no file. Those that are left out here are a file name's: they stand for its bytes.
_UNWRITABLE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the run stands: what tells which channels are there, and how they speak.

    *say* writes one line to standard error as it is; *root* is the file system's.
    """

    environ: Mapping[str, str]
    say: Callable[[str], None]
    output_dir: str | None = None
    dotenv: str | None = None
    root: Path = Path("/")


@dataclass(frozen=True, slots=True)
class Written:
    """What a run has written elsewhere than into its document: how many of each type and state, and the first records."""

    kinds: Mapping[tuple[str, str], int]
    first: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """What a run hands on: its document without a secret, the error that it fails with, and the users that the inputs name."""

    document: Mapping[str, Any]
    error: ConnectorError | None = None
    named_users: tuple[str, ...] = ()
    written: Written | None = None

    def outputs(self) -> dict[str, str]:
        """Return every top-level field but the enrollments as text: a string as it is, null as nothing, all else as JSON."""
        return {
            name: _as_text(value) for name, value in self.document.items() if name != "enrollments"
        }


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a platform takes: at most *most* of what *size_of* counts for an output's name and value, in words *told*."""

    most: int
    told: str
    size_of: Callable[[str, str], int]


class Channel(ABC):
    """One way out. Made where ``is_there`` says so; ``write`` may be called twice, the second time to correct the first."""

    #: As messages call it.
    name: ClassVar[str]

    def __init__(self, place: Place) -> None:
        self.place = place

    @staticmethod
    @abstractmethod
    def is_there(place: Place) -> bool:
        """Return whether *place* has this channel."""

    @abstractmethod
    def write(self, handover: RunOutputs) -> None:
        """Write the outputs, all or none of them. Raises OSError where that cannot be done."""

    def prepare(self) -> None:
        """Find out before anything is asked whether the outputs can be written. Raises OSError where they cannot."""

    def mask(self, secret: str) -> None:
        """Have the platform take *secret* out of its logs."""

    def watch(self, user_ids: Iterable[str]) -> None:
        """Warn of what the platform would do to the outputs of *user_ids*."""

    def open_group(self) -> None:
        """Begin a part of the log that can be folded."""

    def close_group(self) -> None:
        """End that part."""

    def warn(self, text: str) -> None:
        """Tell *text*, which is one line, where it is seen although the run succeeds."""
        self.place.say(f"alm-enrollments: warning: {text}")

    def annotate(self, error: ConnectorError) -> None:
        """Show *error* where the platform shows what failed; standard error has its line already."""

    def whereabouts(self, handover: RunOutputs) -> str:
        """Return in words what has the outputs that are left out here."""
        return handover.document["output_file"] or "the document on standard output"

    def within(
        self, handover: RunOutputs, *, each: Limit | None = None, total: Limit | None = None
    ) -> dict[str, str]:
        """Return the outputs that the platform takes, the largest left out first, and warn of those left out."""
        kept = handover.outputs()
        notes = []
        for limit, name_over in ((each, _one_over), (total, _largest_of_too_many)):
            left_out = []
            while limit and (name := name_over(kept, limit)):
                left_out.append(f"{name} ({limit.size_of(name, kept.pop(name)):,})")
            if limit and left_out:
                notes.append(f"{', '.join(left_out)}, for {limit.told}")
        if notes:
            self.warn(
                one_line(
                    f"Left out of {self.name}: {'; '.join(notes)}. Look in {self.whereabouts(handover)}."
                )
            )
        return kept


def _one_over(outputs: Mapping[str, str], limit: Limit) -> str | None:
    return next(
        (name for name, value in outputs.items() if limit.size_of(name, value) > limit.most), None
    )


def _largest_of_too_many(outputs: Mapping[str, str], limit: Limit) -> str | None:
    sizes = {name: limit.size_of(name, value) for name, value in outputs.items()}
    return max(sizes, key=sizes.__getitem__) if sum(sizes.values()) > limit.most else None


def environment_limit(system: str) -> Limit | None:
    """Return how large an environment variable may be, name included, where a next step is to get an output as one.

    *system* is named as the runners do. Linux: MAX_ARG_STRLEN, 128 KiB with the final
    zero. Windows: 32,767 characters. macOS knows no limit for a single one.
    """
    if system.startswith("Windows"):
        return Limit(
            32_767,
            "an environment variable on Windows holds at most 32,767 characters, its name included",
            _characters,
        )
    if system in ("macOS", "Darwin"):
        return None
    return Limit(
        131_071,
        "an environment variable on Linux holds at most 131,071 bytes, its name included",
        size_in_bytes,
    )


def size_in_bytes(name: str, value: str) -> int:
    """Return the bytes of an output as ``name=value``."""
    return len(encoded(f"{name}={value}"))


def size_in_utf_16(text: str) -> int:
    """Return the bytes of *text* in UTF-16."""
    return len(text.encode("utf-16-le", errors="surrogatepass"))


def encoded(text: str) -> bytes:
    """Return *text* in UTF-8, a file's name in it as it was."""
    return text.encode(errors="surrogateescape")


def _characters(name: str, value: str) -> int:
    return size_in_utf_16(f"{name}={value}") // 2


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return (
        _UNWRITABLE.sub(lambda half: f"\\u{ord(half[0]):x}", value)
        if isinstance(value, str)
        else to_json(value)
    )


def write_whole(path: Path, text: str) -> None:
    """Write *text* to *path*, whole or not at all. Raises OSError."""
    with _named(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(encoded(text))
            # As any new file has it: mkstemp lets nobody else read, and a sidecar of another user has to.
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have an OSError name *path*: nobody knows the file beside it, and a write names none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def missing_line_end(path: Path) -> bytes:
    """Return the line end that *path* lacks, for what is appended to stand on a line of its own."""
    before = path.read_bytes()[-1:] if path.is_file() else b""
    return b"\n" if before not in (b"", b"\n") else b""


def append_whole(path: Path, text: str) -> None:
    """Append *text* to *path*, on a line of its own, whole or not at all. Raises OSError."""
    with _named(path), path.open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            rest = missing_line_end(path) + encoded(text)
            while rest:
                rest = rest[file.write(rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(size)
            raise
