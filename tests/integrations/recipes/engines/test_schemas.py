"""What each platform publishes about its own files judges the recipes, and finds what is wrong in them."""

from __future__ import annotations

import copy
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from tests.integrations.recipes.engines.machine import CHECKOUT, EXAMPLES, recipe

if TYPE_CHECKING:
    from collections.abc import Callable

TOOLS = Path(sys.executable).parent
KUBERNETES = "1.37"
# The oldest in which nothing of it has to be switched on: podFailurePolicy 1.31, backoffLimitPerIndex 1.33.
OLDEST = "1.33"


def check_jsonschema(name: str, *options: str) -> Callable[[Any, Path], str]:
    """Return the judge that holds a file to a schema that check-jsonschema brings along."""

    def judge(content: Any, folder: Path) -> str:
        file = folder / "recipe.yml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        found = subprocess.run(
            [TOOLS / "check-jsonschema", "--builtin-schema", name, *options, file],
            capture_output=True,
            text=True,
            check=False,
        )
        return found.stdout + found.stderr if found.returncode else ""

    return judge


def gitlab(content: Any, folder: Path) -> str:
    """Return what GitLab's schema finds wrong, in hidden jobs too, which it does not look at by itself."""
    seen = {name.removeprefix("."): {"script": ["true"], **job} for name, job in content.items()}
    return check_jsonschema("vendor.gitlab-ci", "--data-transform", "gitlab-ci")(seen, folder)


def kubernetes(content: Any, _folder: Path) -> str:
    """Return what Kubernetes' own API, unknown fields included, finds wrong."""
    validate = import_module("kubernetes_validate")
    try:
        for version in (OLDEST, KUBERNETES):
            validate.validate(content, version, strict=True)
    except validate.ValidationError as error:
        return str(error)
    return ""


def argo(content: Any, _folder: Path) -> str:
    """Return what hera's models, which are made from Argo's API, find wrong; what they do not know is wrong."""
    schema = import_module("hera.workflows.models").Workflow.model_json_schema(by_alias=True)
    return "\n".join(
        error.message
        for error in jsonschema.Draft202012Validator(_closed(schema)).iter_errors(content)
    )


def tekton_step(content: Any, folder: Path) -> str:
    """Return what is wrong with a task's steps: a step is a container of Kubernetes."""
    containers = content["spec"]["steps"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": content["metadata"],
        "spec": {"containers": containers},
    }
    return kubernetes(pod, folder)


def _closed(schema: Any) -> Any:
    if isinstance(schema, dict):
        closed = {key: _closed(value) for key, value in schema.items()}
        return (
            {**closed, "additionalProperties": False}
            if "properties" in schema and schema.get("type") == "object"
            else closed
        )
    return [_closed(each) for each in schema] if isinstance(schema, list) else schema


JUDGES = {
    "gitlab/.gitlab-ci.yml": gitlab,
    "azure-pipelines/azure-pipelines.yml": check_jsonschema(
        "vendor.azure-pipelines", "--data-transform", "azure-pipelines"
    ),
    "circleci/config.yml": check_jsonschema("vendor.circle-ci"),
    "argo/workflow.yaml": argo,
    "tekton/task.yaml": tekton_step,
    "kubernetes/cronjob.yaml": kubernetes,
    "kubernetes/indexed-job.yaml": kubernetes,
    "kubernetes/merge-job.yaml": kubernetes,
}
# No package has a schema of these; their pages say so.
UNJUDGED = {"tekton/pipeline.yaml", "kestra/alm-enrollments.yaml"}
WRONG: list[tuple[str, list[Any], str, Any]] = [
    ("gitlab/.gitlab-ci.yml", [".alm", "retry"], "exit_code", [75]),
    ("gitlab/.gitlab-ci.yml", ["enrollments", "artifacts", "reports"], "dotenvs", "a.env"),
    ("azure-pipelines/azure-pipelines.yml", ["jobs", 0, "steps", 2], "environ", {}),
    ("circleci/config.yml", ["jobs", "read", "steps", 1, "run"], "comand", "true"),
    ("argo/workflow.yaml", ["spec", "templates", 1, "retryStrategy"], "expresion", "true"),
    ("argo/workflow.yaml", ["spec", "templates", 1, "container"], "arg", ["x"]),
    ("tekton/task.yaml", ["spec", "steps", 0], "arg", ["x"]),
    ("kubernetes/cronjob.yaml", ["spec", "jobTemplate", "spec"], "podFailurePolicies", {}),
    ("kubernetes/indexed-job.yaml", ["spec"], "backoffLimitPerIndices", 3),
    (
        "kubernetes/merge-job.yaml",
        ["spec", "template", "spec", "containers", 0, "securityContext"],
        "runAsNoRoot",
        True,
    ),
]


@pytest.mark.parametrize(("file", "judge"), JUDGES.items(), ids=JUDGES)
def test_recipes__are_what_the_platform_takes(
    file: str, judge: Callable[[Any, Path], str], tmp_path: Path
) -> None:
    """No schema finds anything in a recipe."""
    assert judge(recipe(file), tmp_path) == ""


@pytest.mark.parametrize(("file", "way", "key", "value"), WRONG)
def test_schemas__find_what_is_wrong(
    file: str, way: list[Any], key: str, value: Any, tmp_path: Path
) -> None:
    """A key that the platform does not have is found."""
    content = copy.deepcopy(recipe(file))
    place = content
    for step in way:
        place = place[step]
    place[key] = value

    assert JUDGES[file](content, tmp_path) != ""


def test_recipes__are_all_judged() -> None:
    """No YAML of an engine is left out, but those of which the pages say so; yamllint finds nothing in any."""
    engines = {path.partition("/")[0] for path in (*JUDGES, *UNJUDGED)}
    files = [path for engine in engines for path in (EXAMPLES / engine).rglob("*.y*ml")]

    found = subprocess.run(
        [TOOLS / "yamllint", "--strict", "-c", CHECKOUT / ".yamllint.yml", *files],
        capture_output=True,
        text=True,
        check=False,
    )

    assert {str(path.relative_to(EXAMPLES)) for path in files} == {*JUDGES, *UNJUDGED}
    assert found.stdout + found.stderr == ""
