"""The recipes' pages: what they show is the source that the tests run, and what they say of limits is what the channels do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from connector.channels import folder
from tests.integrations.recipes.engines.machine import CHECKOUT, EXAMPLES

if TYPE_CHECKING:
    from pathlib import Path

    from connector.channels.interface import Limit

ENGINES = [
    "argo",
    "azure-pipelines",
    "circleci",
    "gitlab",
    "jenkins",
    "kestra",
    "kubernetes",
    "tekton",
]
ID = '"course:6511020_7037048_20941371",'


def page(engine: str) -> str:
    """Return an engine's page."""
    return (CHECKOUT / "docs/recipes" / f"{engine}.md").read_text(encoding="utf-8")


def sources(engine: str) -> list[Path]:
    """Return an engine's sources."""
    return sorted(path for path in (EXAMPLES / engine).rglob("*") if path.is_file())


@pytest.mark.parametrize("engine", ENGINES)
def test_pages__show_the_sources(engine: str) -> None:
    """A page shows each of its sources whole, and links it; it shows no other configuration."""
    shown = re.findall(
        r"^(?:```|~~~)(?:yaml|groovy)\n(.*?)^(?:```|~~~)$", page(engine), re.DOTALL | re.MULTILINE
    )

    assert sorted(shown) == sorted(path.read_text(encoding="utf-8") for path in sources(engine))
    assert [
        path
        for path in sources(engine)
        if f"(../../{path.relative_to(CHECKOUT)})" not in page(engine)
    ] == []


@pytest.mark.parametrize("engine", ENGINES)
def test_pages__are_whole_and_short(engine: str) -> None:
    """Every page says where secrets go, what happens on a failure, and what the limits are, in at most 45 lines beside the sources."""
    prose = re.sub(r"(?ms)^(```|~~~)(?:yaml|groovy)\n.*?^\1$", "", page(engine))

    assert [
        part for part in ("**Secrets", "**When it fails.**", "**Limits.**") if part not in prose
    ] == []
    assert re.search(r"\b75\b", prose)
    assert len([line for line in prose.splitlines() if line]) <= 45
    assert set(
        map(int, re.findall(r"(?<![\d,.])(6\d|7\d)(?![\d,]|\.\d| [a-z]*[sS]econds)", prose))
    ) <= {64, 65, 67, 69, 70, 73, 75, 76, 77}


@pytest.mark.parametrize(
    ("engine", "limit", "told", "ids"),
    [
        ("gitlab", folder._GITLAB, "5 KB", 130),
        ("tekton", folder._TEKTON, "3,072 bytes", 80),
        ("argo", folder._ARGO, "256 KB", 7_700),
    ],
)
def test_limits__are_the_channels(engine: str, limit: Limit, told: str, ids: int) -> None:
    """The limit that a page names is the one that its channel keeps, and as many ids as it says fit in."""
    number, unit = told.split(" ")

    assert told in page(engine)
    assert int(number.replace(",", "")) * (1024 if unit == "KB" else 1) == limit.most
    assert f"about {ids:,} enrollment ids" in page(engine)
    # Of a report or of all results, the document's other fields take their part.
    assert limit.most * 0.85 < ids * len(ID) <= limit.most


@pytest.mark.parametrize("engine", ["tekton", "kestra", "jenkins"])
def test_pages__say_what_nothing_has_checked(engine: str) -> None:
    """Where no schema or platform could judge the recipe, the page says in plain words what the tests hold to."""
    assert "What the tests hold to: " in page(engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_pages__keep_secrets_off_command_lines(engine: str) -> None:
    """No command shown takes a credential as an argument."""
    commands = re.findall(r"^```sh\n(.*?)^```$", page(engine), re.DOTALL | re.MULTILINE)

    assert [
        command
        for command in commands
        if re.search(r"--from-literal|echo|ALM_\w+=(?!/dev/stdin)", command)
    ] == []
