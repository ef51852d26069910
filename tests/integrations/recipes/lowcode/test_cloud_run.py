"""Cloud Run's service: its container's command is run as Cloud Run runs it, with the port that it names and the probe that it sends."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

from .conftest import (
    CHECKOUT,
    EXAMPLES,
    KEY,
    SHOWN_DOOR,
    Door,
    example,
    newest_first,
    started,
    stop,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE: dict[str, Any] = yaml.safe_load(example("cloud-run/service.yaml"))
SPEC = SERVICE["spec"]["template"]["spec"]
[CONTAINER] = SPEC["containers"]


@pytest.fixture
def container(
    environ: dict[str, str], reaching: dict[str, str], tmp_path: Path
) -> Iterator[tuple[Door, int]]:
    """Return the container's process, and the port that it was told to listen on."""
    secrets = {"alm-serve-key": KEY, "alm-access-token": reaching["ALM_ACCESS_TOKEN"]}
    given = {
        one["name"]: one.get("value") or secrets[one["valueFrom"]["secretKeyRef"]["name"]]
        for one in CONTAINER["env"]
    }
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert CONTAINER["command"] == ["alm-enrollments"]
    argv = [sys.executable, "-m", "connector", *CONTAINER["args"]]
    variables = {**environ, **given, "ALM_BASE_URL": reaching["ALM_BASE_URL"], "PORT": str(port)}
    process, url = started(argv, variables, tmp_path / "log")
    yield Door(url.replace("0.0.0.0", "127.0.0.1")), port  # noqa: S104 - what the recipe binds
    assert stop(process) == 0


def test_container__serves_where_cloud_run_asks(container: tuple[Door, int]) -> None:
    """The command listens on the port that Cloud Run names, on every address, is healthy to the probe, and answers with the document."""
    door, port = container

    answered = door.send(
        "GET",
        f"{SHOWN_DOOR}/v1/enrollments?user_id=20941371&lo_types=all",
        headers={"X-API-Key": KEY},
    )

    assert urlsplit(door.url).port == port
    assert door.status(CONTAINER["startupProbe"]["httpGet"]["path"]) == 200
    assert (answered.status, answered.document["enrollment_ids"]) == (200, newest_first())


def judge(spec: dict[str, Any]) -> str:
    """Return what Kubernetes' own API finds wrong in *spec*: but for two fields, Cloud Run's is a pod's."""
    pod = {
        name: value
        for name, value in spec.items()
        if name not in {"containerConcurrency", "timeoutSeconds"}
    }
    validate = import_module("kubernetes_validate")
    try:
        validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shown"}, "spec": pod},
            "1.37",
            strict=True,
        )
    except validate.ValidationError as error:
        return str(error)
    return ""


def test_service__is_what_the_platform_takes() -> None:
    """Neither the schema nor yamllint finds anything, and the schema finds a field that there is not."""
    found = subprocess.run(
        [
            Path(sys.executable).parent / "yamllint",
            "--strict",
            "-c",
            CHECKOUT / ".yamllint.yml",
            EXAMPLES / "cloud-run/service.yaml",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (judge(SPEC), found.stdout) == ("", "")
    assert "startupprobe" in judge({**SPEC, "containers": [{**CONTAINER, "startupprobe": {}}]})


def test_service__has_longer_than_the_door() -> None:
    """Cloud Run ends a request after the door does, and sends it no more requests at once than it answers."""
    assert SPEC["timeoutSeconds"] == 30
    assert SPEC["containerConcurrency"] == 50
    assert SERVICE["spec"]["template"]["metadata"]["annotations"] == {
        "autoscaling.knative.dev/maxScale": "1"
    }


def test_service__has_its_secrets_from_secret_manager() -> None:
    """Both secrets are references, to those that the commands create from standard input."""
    referred = {
        one["name"]: one["valueFrom"]["secretKeyRef"]
        for one in CONTAINER["env"]
        if "valueFrom" in one
    }
    commands = [
        shlex.split(line, comments=True) for line in example("cloud-run/deploy.sh").splitlines()
    ]
    created = [argv[argv.index("create") + 1 :] for argv in commands if "create" in argv]

    assert referred == {
        "ALM_SERVE_KEY": {"name": "alm-serve-key", "key": "latest"},
        "ALM_ACCESS_TOKEN": {"name": "alm-access-token", "key": "latest"},
    }
    assert created == [["alm-serve-key", "--data-file=-"], ["alm-access-token", "--data-file=-"]]
