"""What builds and signs a release: who may sign installs nothing, and nothing moves by itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.process import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKFLOWS = sorted((CHECKOUT / ".github/workflows").glob("*.yml"))
SIGNING = {"attestations", "id-token"}
# What a job that may sign may use: it gets files, signs and publishes them.
SIGNERS = {"actions/download-artifact", "actions/attest", "pypa/gh-action-pypi-publish"}
# What its own steps may run, and nothing else.
HARMLESS = re.compile(r"docker login|echo|grep|#")
IMAGE = re.compile(
    r"\b(?:docker\.io|ghcr\.io|quay\.io|gcr\.io)/[\w./-]+(?::[\w.-]+)?(@sha256:[0-9a-f]{64})?"
)


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every job of every workflow, with its name."""
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, job in workflow["jobs"].items():
            yield f"{path.name} {name}", job


JOBS = dict(jobs())


def is_signing(job: dict[str, Any]) -> bool:
    """Return whether *job* may sign."""
    granted = {name for name, access in job["permissions"].items() if access == "write"}
    return bool(granted & SIGNING)


def test_workflows__grant_nothing_to_every_job() -> None:
    """No workflow grants a right to all of its jobs: each job names its own."""
    workflows = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in WORKFLOWS]
    permissions = [workflow["permissions"] for workflow in workflows]

    assert permissions == [{}] * len(WORKFLOWS)
    assert [name for name, job in JOBS.items() if "permissions" not in job] == []


@pytest.mark.parametrize("name", [name for name, job in JOBS.items() if is_signing(job)])
def test_jobs_that_sign__install_nothing(name: str) -> None:
    """A job that may sign neither checks out, nor installs, nor runs anything of others."""
    steps = JOBS[name]["steps"]

    used = {step["uses"].partition("@")[0] for step in steps if "uses" in step}
    lines = [line.strip() for step in steps for line in step.get("run", "").splitlines()]
    assert used <= SIGNERS
    assert [line for line in lines if not HARMLESS.match(line)] == []


def test_jobs_that_sign__are_those_of_the_release() -> None:
    """The wheel, the images and PyPI are signed for, each in a job of its own."""
    signing = {name for name, job in JOBS.items() if is_signing(job)}

    assert signing == {"release.yml sign-wheel", "release.yml sign-image", "release.yml pypi"}


def test_images__are_pinned_by_digest() -> None:
    """The base image, the builder and the scanner of SBOMs are named by their digests."""
    release = (CHECKOUT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    texts = [release, (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")]

    found = [match for text in texts for match in IMAGE.finditer(text)]
    unpinned = [match[0] for match in found if not match[1]]
    assert [name for name in unpinned if not name.startswith("ghcr.io/")] == []
    assert len(found) - len(unpinned) == 3
    assert '--driver-opt "image=$BUILDER"' in release
    assert '--attest "type=sbom,generator=$SCANNER"' in release
    assert "--sbom=true" not in release
    froms = re.findall(r"^FROM (\S+)", texts[1], re.MULTILINE)
    assert [name for name in froms if "/" in name and "@sha256:" not in name] == []


def test_locks__have_hashes() -> None:
    """Every package that a workflow, the image or the action installs is locked with hashes."""
    paths = (*WORKFLOWS, CHECKOUT / "Dockerfile")
    texts = [path.read_text(encoding="utf-8").replace("\\\n", "") for path in paths]
    installs = [line for text in texts for line in re.findall(r".*pip.* install .*", text)]

    assert installs != []
    for line in installs:
        assert "--only-binary :all:" in line, line
        assert "--require-hashes" in line or line.lstrip().startswith("into()"), line
