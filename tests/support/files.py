"""Read the files and documents that a run leaves, regardless of compression and order."""

from __future__ import annotations

import gzip
import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def text_of(path: Path) -> str:
    """Return the text of a file, decompressed as its name says."""
    module = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    decompress = {".gz": gzip.decompress, ".zst": importlib.import_module(module).decompress}
    return str(decompress.get(path.suffix, bytes)(path.read_bytes()).decode())


def without_order(document: dict[str, Any]) -> dict[str, Any]:
    """Return what a document says regardless of order, the file's name and the time."""
    ids = {name: sorted(document[name]) for name in ("enrollment_ids", "resource_grade_ids")}
    return {**document, **ids, "output_file": None, "next_since": None}
