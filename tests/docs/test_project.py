"""No test is left out: each folder of tests belongs to one of the two commands that run them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_folders__belong_to_a_command() -> None:
    """Every folder with tests is one of pytest's own paths, or one that `make engines` names."""
    paths = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "pytest"
    ]["ini_options"]["testpaths"]
    engines = re.findall(
        r"pytest.* (tests/\S+) (tests/\S+)$",
        (CHECKOUT / "Makefile").read_text(encoding="utf-8"),
        re.MULTILINE,
    )[0]

    assert sorted([*paths, *engines]) == sorted(
        {
            f"tests/{path.relative_to(CHECKOUT / 'tests').parts[0]}"
            for path in CHECKOUT.glob("tests/*/**/test_*.py")
        }
    )
