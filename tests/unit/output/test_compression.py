"""Compression piece by piece: one file to a reader, which can be cut between any two pieces."""

from __future__ import annotations

import gzip
import importlib
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.output.file import compression_of, compressor_for


def decompress(name: str, data: bytes) -> bytes:
    """Return what *data* was before it was compressed."""
    module = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    zstd = importlib.import_module(module)
    return bytes({"x.gz": gzip.decompress, "x.zst": zstd.decompress, "x": bytes}[name](data))


@pytest.mark.parametrize("name", ["x.gz", "x.zst", "x"])
@given(pieces=st.lists(st.binary(max_size=50), min_size=1, max_size=5), kept=st.integers(1, 5))
@settings(max_examples=20)
def test_compressor_for__pieces_are_one_file(name: str, pieces: list[bytes], kept: int) -> None:
    """Compressed pieces in a row are one compressed file, also if it is cut after any of them."""
    written = list(map(compressor_for(Path(name)), pieces))

    assert decompress(name, b"".join(written[:kept])) == b"".join(pieces[:kept])


@pytest.mark.parametrize("name", ["x.gz", "x.zst"])
def test_compressor_for__is_smaller_and_reproducible(name: str) -> None:
    """Compressed records are smaller, and the same at any time of the day."""
    compress = compressor_for(Path(name))

    compressed = compress(b"course:1_2_31," * 1_000)

    assert len(compressed) < 200
    assert compressed == compress(b"course:1_2_31," * 1_000)
    if name == "x.gz":
        # The modification time in a gzip header (RFC 1952).
        assert compressed[4:8] == b"\0\0\0\0"


@pytest.mark.parametrize(
    ("name", "compression"),
    [
        ("x.csv", ""),
        ("x.csv.gz", ".gz"),
        ("x.zst", ".zst"),
        ("x.gz.csv", ""),
        ("x", ""),
        (".gz", ""),
    ],
)
def test_compression_of__by_the_last_suffix(name: str, compression: str) -> None:
    """The last suffix of a file's name decides how it is compressed."""
    assert compression_of(Path(name)) == compression
