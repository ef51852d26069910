"""Outputs in CI systems: found to be unwritable in time, and harmless where they only inform."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.action.runner import parse_outputs, read_github
from tests.field.conftest import WITH_MOUNTS, WITHOUT_POWERS, needs_mounts
from tests.support.sandbox import DOCUMENTED_IDS, DOCUMENTED_USER, EMBEDDED, reaching

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command

UNWRITABLE = {
    "GITHUB_OUTPUT cannot be written: Permission denied (output).": (
        "",
        "touch output; chmod 444 output; export GITHUB_OUTPUT=output",
    ),
    "GITHUB_OUTPUT cannot be written: Not a directory (out).": (
        "",
        "export GITHUB_OUTPUT=out/output",
    ),
    "The output folder cannot be written: Permission denied (out).": (
        "--output-dir out",
        "mkdir -m 555 out",
    ),
    "The dotenv report cannot be written: Permission denied ({folder}/out).": (
        "--dotenv out/report",
        "mkdir -m 555 out",
    ),
    "The output file out/x.csv cannot be written: Permission denied.": (
        "--output-file out/x.csv --format csv",
        "mkdir -m 555 out",
    ),
}


@pytest.mark.parametrize("message", UNWRITABLE)
def test_results__found_before_the_first_request(
    message: str, command: Command, sandbox: SandboxServer
) -> None:
    """A channel that carries results and cannot be written ends the run before any request."""
    line, preparation = UNWRITABLE[message]
    script = f"{preparation}; {WITHOUT_POWERS} alm-enrollments {line}"

    finished = command.shell(script, **reaching(sandbox, ALM_USER_ID=DOCUMENTED_USER))

    assert (finished.exit_code, sandbox.requests) == (73, [])
    assert finished.error["message"] == message.format(folder=command.folder)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no user ids")
def test_output_file__in_a_folder_of_another_user(command: Command) -> None:
    """The hint has the user id that the folder must be writable for, as containers need it."""
    script = f"mkdir -m 555 out; {WITHOUT_POWERS} alm-enrollments --output-file out/x.csv"

    finished = command.shell(script, **EMBEDDED)

    assert finished.exit_code == 73
    assert finished.error["hint"] == (
        f"This runs as user {os.geteuid()}. Let it write there, and run again."
    )


@needs_mounts
@pytest.mark.parametrize("mode", ["ro", "mode=0555"])
def test_results__of_airflow(mode: str, command: Command) -> None:
    """An XCom folder that cannot be written ends the run before the first request."""
    code = (
        "from pathlib import Path; from connector.channels import *;"
        " prepare(find_channels(ChannelContext({}, print, root=Path('/mnt'))))"
    )
    script = (
        f"mount -t tmpfs tmpfs /mnt && mkdir -p /mnt/airflow/xcom && mount -t tmpfs -o {mode} tmpfs"
        f' /mnt/airflow/xcom && {WITHOUT_POWERS} {sys.executable} -c "{code}"'
    )

    finished = command.shell(script, prefix=WITH_MOUNTS)

    message = "Airflow's XCom cannot be written: Permission denied (/mnt/airflow/xcom)."
    assert message in finished.stderr.splitlines()[-1]


INFORMING = {
    "summary": (
        "touch summary; chmod 444 summary",
        "The step summary cannot be written: Permission denied (summary).",
    ),
    "summary's folder": (
        "ln -s missing/summary summary",
        "The step summary cannot be written: No such file or directory (summary).",
    ),
    "summary is a folder": (
        "mkdir summary",
        "The step summary cannot be written: Is a directory (summary).",
    ),
}


@pytest.mark.parametrize("name", INFORMING)
def test_information__costs_a_warning(name: str, command: Command) -> None:
    """A step summary that cannot be written costs a warning; the run's results are delivered."""
    preparation, warning = INFORMING[name]
    script = f"{preparation}; touch output; {WITHOUT_POWERS} alm-enrollments"
    variables = {"GITHUB_OUTPUT": "output", "GITHUB_STEP_SUMMARY": "summary"}

    finished = command.shell(script, **EMBEDDED, **variables)

    assert (finished.exit_code, finished.document["enrollment_ids"]) == (0, DOCUMENTED_IDS)
    written = (command.folder / "output").read_bytes()
    assert (written.count(b"enrollment_ids<<"), parse_outputs(written)["complete"]) == (1, "true")
    log = read_github(finished.stderr)
    assert [found.data for found in log.named("warning")] == [warning]


@needs_mounts
@pytest.mark.parametrize("user", [DOCUMENTED_USER, "4041"])
def test_information__of_a_pod(user: str, command: Command) -> None:
    """A termination log that cannot be written costs a warning, whatever the run came to."""
    script = (
        "mount -t tmpfs tmpfs /mnt && mkdir /mnt/dev && cp -a /dev/null /dev/urandom /mnt/dev"
        " && mount --bind /mnt/dev /dev && touch /dev/termination-log"
        f" && chmod 444 /dev/termination-log && {WITHOUT_POWERS} alm-enrollments --user-id {user}"
    )

    finished = command.shell(script, prefix=WITH_MOUNTS, ALM_BASE_URL="sandbox")

    warning = (
        "alm-enrollments: warning: The container's termination message cannot be written:"
        " Permission denied (/dev/termination-log)."
    )
    assert finished.exit_code == (0 if user == DOCUMENTED_USER else 67)
    assert finished.stderr.splitlines()[-1] == warning
    assert (finished.document["error"] is None) == (finished.exit_code == 0)


@needs_mounts
def test_channels__below_a_folder_of_others(command: Command) -> None:
    """A folder that this user may not enter has no channel in it."""
    code = (
        "from pathlib import Path; from connector.channels import *;"
        " print(find_channels(ChannelContext({}, print, root=Path('/mnt'))))"
    )
    script = (
        "mount -t tmpfs tmpfs /mnt && mkdir -p /mnt/airflow/xcom /mnt/dev && chmod 0 /mnt/*"
        f' && {WITHOUT_POWERS} {sys.executable} -c "{code}"'
    )

    finished = command.shell(script, prefix=WITH_MOUNTS)

    assert (finished.exit_code, finished.stdout) == (0, "()\n")


@pytest.mark.parametrize("kind", ["ndjson", "parquet", "json"])
def test_head__under_github(kind: str, command: Command) -> None:
    """A reader that closes the pipe early loses nothing for the channels, and is no error."""
    users = ",".join([DOCUMENTED_USER, *map(str, range(31, 40))])
    script = (
        f"alm-enrollments --format {kind} --user-id {users} --lo-types all --dotenv report"
        " | head -c 10 > /dev/null; exit ${PIPESTATUS[0]}"
    )

    finished = command.shell(script, GITHUB_OUTPUT="output", ALM_BASE_URL="sandbox")

    outputs = parse_outputs((command.folder / "output").read_bytes())
    assert (finished.exit_code, outputs["complete"], outputs["error"]) == (0, "true", "")
    assert '"read":10' in outputs["users"]
    assert "COMPLETE=true\n" in command.files()["report"]


def test_head__without_channels(command: Command) -> None:
    """Without channels the run ends when its reader has."""
    script = "alm-enrollments --format ndjson | head -n 1; exit ${PIPESTATUS[0]}"

    finished = command.shell(script, **EMBEDDED)

    assert (finished.exit_code, len(finished.stdout.splitlines())) == (0, 1)


def test_stdout__closed(command: Command, sandbox: SandboxServer) -> None:
    """A closed standard output is found before the first request."""
    variables = reaching(sandbox, ALM_USER_ID=DOCUMENTED_USER)

    finished = command.shell("alm-enrollments >&-", GITHUB_OUTPUT="output", **variables)

    assert (finished.exit_code, sandbox.requests) == (73, [])
    assert "error: Standard output is closed." in finished.stderr
    assert '"code":73' in parse_outputs((command.folder / "output").read_bytes())["error"]
