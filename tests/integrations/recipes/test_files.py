"""The platforms' own schemas and linters find nothing in the recipes' files."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from tests.integrations.recipes.conftest import EXAMPLES, example, recipe
from tests.integrations.recipes.test_scripts import SCRIPTS
from tests.support.process import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    Validator = Callable[[Any, Path], str]

TOOLS = Path(sys.executable).parent
# The oldest version with podFailurePolicy and backoffLimitPerIndex, and the newest one.
KUBERNETES = ("1.33", "1.37")


def run(tool: str, *arguments: str | Path, stdin: str = "") -> str:
    """Return the findings of *tool*."""
    finished = subprocess.run(
        [TOOLS / tool, *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    return finished.stdout + finished.stderr if finished.returncode else ""


def schema(name: str, *options: str) -> Validator:
    """Return the validator that uses a schema of check-jsonschema."""

    def validate(content: Any, folder: Path) -> str:
        file = folder / "recipe.yml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return run("check-jsonschema", "--builtin-schema", name, *options, file)

    return validate


def gitlab(content: dict[str, Any], folder: Path) -> str:
    """Validate by GitLab's schema, which skips hidden jobs unless they are renamed."""
    jobs = {name.removeprefix("."): {"script": ["true"], **job} for name, job in content.items()}
    return schema("vendor.gitlab-ci", "--data-transform", "gitlab-ci")(jobs, folder)


def kubernetes(content: dict[str, Any], _folder: Path) -> str:
    """Validate by the API of Kubernetes, which refuses unknown fields."""
    module = import_module("kubernetes_validate")
    try:
        for version in KUBERNETES:
            module.validate(content, version, strict=True)
    except module.ValidationError as error:
        return str(error)
    return ""


def pod(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a pod with *spec*."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shown"}, "spec": spec}


def tekton(content: dict[str, Any], folder: Path) -> str:
    """Validate the steps of a task: each is a container of Kubernetes."""
    return kubernetes(pod({"containers": content["spec"]["steps"]}), folder)


def cloud_run(content: dict[str, Any], folder: Path) -> str:
    """Validate a service: except for two fields, its template is a pod of Kubernetes."""
    spec = dict(content["spec"]["template"]["spec"])
    assert (spec.pop("timeoutSeconds"), spec.pop("containerConcurrency")) == (30, 50)
    return kubernetes(pod(spec), folder)


def argo(content: dict[str, Any], _folder: Path) -> str:
    """Validate by hera's models, which are generated from Argo's API."""
    models = import_module("hera.workflows.models")
    validator = jsonschema.Draft202012Validator(models.Workflow.model_json_schema(by_alias=True))
    return "\n".join(error.message for error in validator.iter_errors(content))


VALIDATORS: dict[str, Validator] = {
    "gitlab/.gitlab-ci.yml": gitlab,
    "gitlab/nightly.gitlab-ci.yml": gitlab,
    "azure-pipelines/azure-pipelines.yml": schema(
        "vendor.azure-pipelines", "--data-transform", "azure-pipelines"
    ),
    "circleci/config.yml": schema("vendor.circle-ci"),
    "argo/workflow.yaml": argo,
    "tekton/task.yaml": tekton,
    "cloud-run/service.yaml": cloud_run,
    "kubernetes/claim.yaml": kubernetes,
    "kubernetes/cronjob.yaml": kubernetes,
    "kubernetes/indexed-job.yaml": kubernetes,
    "kubernetes/merge-job.yaml": kubernetes,
    "kubernetes/nightly-cronjob.yaml": kubernetes,
}


@pytest.mark.parametrize(("file", "validate"), VALIDATORS.items(), ids=VALIDATORS)
def test_files__are_valid(file: str, validate: Validator, tmp_path: Path) -> None:
    """The platform's own schema finds nothing in the recipe."""
    assert validate(recipe(file), tmp_path) == ""


def test_yaml__is_clean() -> None:
    """No recipe has a finding of yamllint."""
    files = sorted(EXAMPLES.rglob("*.y*ml"))

    assert len(files) > len(VALIDATORS)
    assert run("yamllint", "--strict", "-c", CHECKOUT / ".yamllint.yml", *files) == ""


@pytest.mark.parametrize(("shell", "script"), SCRIPTS.values(), ids=SCRIPTS)
def test_scripts__are_clean(shell: str, script: str) -> None:
    """No script has a finding of shellcheck, or a secret as an argument."""
    assert run("shellcheck", "--shell", shell, "-", stdin=f"set -e\n{script}") == ""
    assert re.search(r"TOKEN|SECRET|CLIENT_ID|set -x|\$\{\{", script) is None


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.sh")), ids=lambda file: file.parent.name)
def test_deployment__is_clean(file: Path) -> None:
    """The commands of a deployment have no finding of shellcheck."""
    assert run("shellcheck", file) == ""


def test_aws__commands_are_in_the_api() -> None:
    """Each command and flag of aws, and the runtime, are in AWS's API as botocore describes it."""
    session = import_module("botocore.session").get_session()
    lines = example("aws-lambda/deploy.sh").replace("\\\n", "").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.strip()[:4] == "aws "]
    unknown = []
    for _, service, name, *words in commands:
        operation = "".join(part.capitalize() for part in name.split("-"))
        members = session.get_service_model(service).operation_model(operation).input_shape.members
        flags = {"--" + re.sub("(?<!^)(?=[A-Z])", "-", member).lower() for member in members}
        unknown += [word for word in words if word.startswith("--") and word not in flags]

    assert (len(commands), unknown) == (5, ["--zip-file"])
    runtimes = session.get_service_model("lambda").shape_for("Runtime").enum
    assert "python3.13" in runtimes
    assert "--runtime python3.13" in example("aws-lambda/deploy.sh")
