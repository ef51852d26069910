"""No test is forgotten: each folder of tests belongs to a command that runs it."""

from __future__ import annotations

import re
import tomllib

from tests.support.process import CHECKOUT


def test_folders__belong_to_a_command() -> None:
    """Each test module is under one of pytest's own paths, or one of `make engines`."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    paths = [
        *project["tool"]["pytest"]["ini_options"]["testpaths"],
        *re.findall(r"tests/integrations/\w+", makefile),
    ]

    modules = [path.relative_to(CHECKOUT) for path in CHECKOUT.glob("tests/**/test_*.py")]
    uncovered = [
        module for module in modules if not any(module.is_relative_to(path) for path in paths)
    ]
    assert uncovered == []
    assert [path for path in paths if not (CHECKOUT / path).is_dir()] == []
