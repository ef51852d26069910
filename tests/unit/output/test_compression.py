"""Files compressed piece by piece: one file to whoever reads it, and to be cut between any two pieces."""

from __future__ import annotations

import gzip
import importlib
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.output.compression import compression_of, compressor_for


def plain(name: str, data: bytes) -> bytes:
    """Return what *data* was before it was compressed."""
    zstd = importlib.import_module(
        "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    )
    return bytes({"x.gz": gzip.decompress, "x.zst": zstd.decompress, "x": bytes}[name](data))


@pytest.mark.parametrize("name", ["x.gz", "x.zst", "x"])
@given(pieces=st.lists(st.binary(max_size=50), min_size=1, max_size=5), kept=st.integers(1, 5))
def test_compressor_for__pieces_are_one_file(name: str, pieces: list[bytes], kept: int) -> None:
    """The pieces, one behind the other, are one compressed file, cut behind any of them as well."""
    written = list(map(compressor_for(Path(name)), pieces))

    assert plain(name, b"".join(written[:kept])) == b"".join(pieces[:kept])


@pytest.mark.parametrize("name", ["x.gz", "x.zst"])
def test_compressor_for__smaller(name: str) -> None:
    """What repeats itself takes less room."""
    assert len(compressor_for(Path(name))(b"course:1_2_31," * 1_000)) < 200


@pytest.mark.parametrize("name", ["x.gz", "x.zst"])
def test_compressor_for__nothing_of_the_time(name: str) -> None:
    """The same records make the same file, whenever they are written."""
    assert compressor_for(Path(name))(b"x")[4:8] == compressor_for(Path(name))(b"x")[4:8]
    assert compressor_for(Path("x.gz"))(b"x")[4:8] == b"\0\0\0\0"


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
    """The last suffix decides."""
    assert compression_of(Path(name)) == compression
