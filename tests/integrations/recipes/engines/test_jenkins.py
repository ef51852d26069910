"""The recipe for Jenkins: its scripts run, and the Groovy around them is parsed."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from connector.sandbox import ACCESS_TOKEN
from tests.integrations.recipes.engines.machine import EXAMPLES, IDS, PACKAGE

if TYPE_CHECKING:
    from tests.integrations.recipes.engines.machine import Machine

JENKINS = (EXAMPLES / "jenkins/Jenkinsfile").read_text(encoding="utf-8")


def jenkins_scripts() -> list[str]:
    """Return the scripts of the pipeline's `sh` steps, as Groovy reads them."""
    return [
        re.sub(r"\\(.)", r"\1", text)
        for text in re.findall(r"(?:\bsh |script: )'((?:[^'\\]|\\.)*)'", JENKINS)
    ]


def test_jenkins__hands_on_by_the_environment(machine: Machine) -> None:
    """The file that the pipeline reads into the environment is the one that the command writes."""
    install, read, following = jenkins_scripts()
    name, file = re.findall(r"env\.(\w+) = readFile\('(.+)'\)", JENKINS)[0]
    bound = dict(re.findall(r"(\w+) = credentials\('([\w-]+)'\)", JENKINS))
    machine.script(install, {}, interpreter="sh")
    done = machine.script(
        read,
        {key: {"alm-access-token": ACCESS_TOKEN}[value] for key, value in bound.items()},
        interpreter="sh",
    )

    told = machine.script(
        following, {name: (machine.folder / file).read_text(encoding="utf-8")}, interpreter="sh"
    )

    assert (done.code, json.loads(told.stdout), machine.log) == (
        0,
        IDS,
        [f"pip install --quiet --target .alm {PACKAGE}"],
    )
    assert (
        json.loads((machine.folder / re.findall(r"artifacts: '(.+?)'", JENKINS)[0]).read_text())[
            "enrollment_ids"
        ]
        == IDS
    )


def test_jenkins__parses() -> None:
    """The Jenkinsfile is Groovy, and it tells 75 and 65 from all else."""
    assert groovy_errors(JENKINS) == []
    assert re.findall(r"code == (\d+)", JENKINS) == ["75", "65"]
    assert "returnStatus: true" in JENKINS


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("agent {", "agent ("), ("returnStatus: true", "returnStatus: "), ("code != 0", "code !")],
)
def test_jenkins__what_does_not_parse(right: str, wrong: str) -> None:
    """The parser finds what Groovy would not take."""
    assert groovy_errors(JENKINS.replace(right, wrong)) != []


def groovy_errors(text: str) -> list[str]:
    """Return where *text* is no Groovy."""
    tree_sitter = import_module("tree_sitter")
    tree = tree_sitter.Parser(
        tree_sitter.Language(import_module("tree_sitter_groovy").language())
    ).parse(text.encode())

    def broken(node: Any) -> list[str]:
        here = (
            [f"line {node.start_point[0] + 1}: {node.type}"]
            if node.is_error or node.is_missing
            else []
        )
        return here + [found for child in node.children for found in broken(child)]

    return broken(tree.root_node)
