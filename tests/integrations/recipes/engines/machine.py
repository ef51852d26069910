"""What an engine does with a recipe, in small: it runs a script or a container, and has a store of secrets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKOUT = Path(__file__).parents[4]
EXAMPLES = CHECKOUT / "examples"
PACKAGE = "alm-enrollments-connector"
IMAGE = "ghcr.io/OWNER/REPO:VERSION"
USER = "20941371"
IDS = [
    "course:6511020_7037048_20941371",
    "course:7236650_7877507_20941371",
    "course:7236827_7877699_20941371",
]

_COMMAND = f'#!/bin/sh\nPYTHONPATH="{CHECKOUT}" exec "{sys.executable}" -m connector "$@"\n'
_PYTHON = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
# The distribution is not on an index that a test could ask: what is to be installed is told, and where it is wanted, laid.
_PIP = """#!/bin/sh
echo "pip $*" >> "$MACHINE_LOG"
while [ $# -gt 1 ]; do
  if [ "$1" = --target ]; then mkdir -p "$2" && ln -sf "$CHECKOUT/connector" "$CHECKOUT/schemas" "$2"; fi
  shift
done
"""
_SLEEP = '#!/bin/sh\necho "sleep $*" >> "$MACHINE_LOG"\n'


def recipe(path: str) -> dict[str, Any]:
    """Return the mapping in a recipe's source."""
    content: dict[str, Any] = yaml.safe_load((EXAMPLES / path).read_text(encoding="utf-8"))
    return content


@dataclass(frozen=True, slots=True)
class Finished:
    """What a process left behind."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of an engine: *folder* is where it works, *variables* are what it has for every process."""

    folder: Path
    tools: Path
    variables: Mapping[str, str]

    def run(
        self, argv: list[str], environ: Mapping[str, str], *, folder: Path | None = None
    ) -> Finished:
        """Run *argv* to its end, with *environ* beside the machine's own variables."""
        own = {
            "PATH": f"{self.tools}{os.pathsep}{os.environ['PATH']}",
            "MACHINE_LOG": str(self._log),
            "CHECKOUT": str(CHECKOUT),
        }
        finished = subprocess.run(
            argv,
            env={**own, **self.variables, **environ},
            cwd=folder or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Finished(finished.returncode, finished.stdout, finished.stderr)

    def script(
        self,
        text: str,
        environ: Mapping[str, str],
        *,
        interpreter: str = "bash",
        folder: Path | None = None,
    ) -> Finished:
        """Run a script as the engines do: it ends with its first command that fails."""
        return self.run([interpreter, "-e", "-c", text], environ, folder=folder)

    def container(
        self, container: Mapping[str, Any], environ: Mapping[str, str], mounts: Mapping[str, str]
    ) -> Finished:
        """Run a container of Kubernetes: *mounts* tells where on this machine its folders are."""
        words = container.get("command", [sys.executable, "-m", "connector"]) + container.get(
            "args", []
        )
        argv = [expand(word, environ) for word in words]
        for inside, outside in mounts.items():
            argv = [word.replace(inside, outside) for word in argv]
        return self.run(argv, {**environ, "PYTHONPATH": str(CHECKOUT)})

    @property
    def log(self) -> list[str]:
        """What was installed and waited for, in order."""
        return self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []

    @property
    def _log(self) -> Path:
        return self.tools / "log"


def make_machine(root: Path, variables: Mapping[str, str]) -> Machine:
    """Lay out a machine that has the command, pip and sleep, which installs nothing and does not wait."""
    for name in ("work", "tools"):
        (root / name).mkdir()
    programs = {"alm-enrollments": _COMMAND, "python": _PYTHON, "pip": _PIP, "sleep": _SLEEP}
    for name, text in programs.items():
        (root / "tools" / name).write_text(text, encoding="utf-8")
        (root / "tools" / name).chmod(0o755)
    return Machine(root / "work", root / "tools", variables)


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return *text* as Kubernetes hands it on: ``$(NAME)`` is the variable, or stays where there is none; ``$$`` is ``$``."""
    return re.sub(
        r"\$\$|\$\(([^)]*)\)",
        lambda found: "$" if found[1] is None else environ.get(found[1], found[0]),
        text,
    )


def variables_of(
    container: Mapping[str, Any],
    secrets: Mapping[str, Mapping[str, str]],
    labels: Mapping[str, str],
) -> dict[str, str]:
    """Return a container's variables, from the cluster's *secrets* and the pod's *labels*."""
    found = {}
    for entry in container.get("env", []):
        source = entry.get("valueFrom", {})
        if "secretKeyRef" in source:
            found[entry["name"]] = secrets[source["secretKeyRef"]["name"]][
                source["secretKeyRef"]["key"]
            ]
        elif "fieldRef" in source:
            (label,) = re.fullmatch(
                r"metadata\.labels\['(.+)'\]", source["fieldRef"]["fieldPath"]
            ).groups()  # type: ignore[union-attr] # another path is to fail here
            found[entry["name"]] = labels[label]
        else:
            found[entry["name"]] = entry["value"]
    return found
