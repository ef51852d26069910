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


def test_threats__name_their_tests() -> None:
    """SECURITY.md names each test of tests/security, after the threat that it tries."""
    page = (CHECKOUT / "SECURITY.md").read_text(encoding="utf-8")
    section = page.partition("\n## Threats and answers\n")[2].partition("\n## ")[0]
    defined: list[str] = []
    for path in CHECKOUT.glob("tests/security/test_*.py"):
        defined += re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(re.findall(r"`(test_\w+)`", section)) == sorted(defined)
