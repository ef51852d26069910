"""Bytes compressed piece by piece, each piece whole in itself, so that a file can be cut between any two of them."""

from __future__ import annotations

import gzip
import importlib
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType


def compressor_for(path: Path) -> Callable[[bytes], bytes]:
    """Return what makes a piece of the file *path*, by its suffix."""
    if path.suffix == ".gz":
        # Without a time in it, the same records make the same file.
        return lambda piece: gzip.compress(piece, compresslevel=6, mtime=0)
    if path.suffix == ".zst":
        compress = _zstd().compress
        return lambda piece: cast("bytes", compress(piece))
    return lambda piece: piece


def compression_of(path: Path) -> str:
    """Return by which suffix the file *path* is compressed, empty where by none."""
    return path.suffix if path.suffix in (".gz", ".zst") else ""


def _zstd() -> ModuleType:
    return importlib.import_module(
        "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    )
