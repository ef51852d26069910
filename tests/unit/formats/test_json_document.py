"""Documents value by value: the same members and records as json.loads, in any layout."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.formats import json_document
from connector.formats.json_document import read_enrollments, read_members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text(), VALUES, max_size=4)


@given(
    members=DOCUMENTS,
    records=st.lists(VALUES, max_size=4),
    place=st.integers(0, 4),
    indent=st.sampled_from([None, 0, 3]),
    chunk=st.integers(1, 9),
)
@settings(max_examples=150)
def test_document__any_layout(
    members: dict[str, Any], records: list[Any], place: int, indent: int | None, chunk: int
) -> None:
    """Members and records are read whatever their order, white space and the size of pieces."""
    members.pop("enrollments", None)
    pairs = list(members.items())
    pairs.insert(place, ("enrollments", records))
    with TemporaryDirectory() as folder, patch.object(json_document, "_CHUNK_CHARACTERS", chunk):
        path = Path(folder, "document.json")
        path.write_text(f" \n{json.dumps(dict(pairs), indent=indent)}\n", encoding="utf-8")

        assert read_members(path) == members
        assert list(read_enrollments(path)) == records


def test_document__compressed(tmp_path: Path) -> None:
    """A compressed document is read."""
    path = tmp_path / "document.json.gz"
    path.write_bytes(gzip.compress(b'{"enrollments": [1, 2], "complete": true}'))

    assert (read_members(path), list(read_enrollments(path))) == ({"complete": True}, [1, 2])


@pytest.mark.parametrize("text", ["[]", "[\n{}\n]\n", "1", '"x"', ""])
def test_document__only_an_object(text: str, tmp_path: Path) -> None:
    """An array, as an output file is, or a single value is no document."""
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")

    assert read_members(path) is None


@pytest.mark.parametrize("text", ["{", '{"a"}', '{"a": [1, 2}', '{"a": tru', '{"enrollments": [1'])
def test_document__broken(text: str, tmp_path: Path) -> None:
    """A text that is no JSON, or ends in the middle, is a ValueError."""
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ValueError, match=r"."):
        read_members(path)
    with pytest.raises(ValueError, match=r"."):
        list(read_enrollments(path))
