"""Sources of settings: a higher one decides, whatever is wrong with a lower one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.field.conftest import WITH_MOUNTS, WITHOUT_POWERS, needs_mounts
from tests.support.sandbox import DOCUMENTED_IDS, DOCUMENTED_USER, EMBEDDED, reaching
from tests.support.secrets import CANARY

if TYPE_CHECKING:
    from collections.abc import Callable

    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command
    from tests.support.server import FaultServer

    Play = Callable[..., FaultServer]


@needs_mounts
@pytest.mark.parametrize(
    "secrets",
    [
        "mkdir -m 0 /run/secrets",
        "touch /run/secrets",
        "mkdir /run/secrets; echo x > /run/secrets/alm_access_token; chmod 0 /run/secrets/*",
        r"mkdir /run/secrets; printf '\xff' > /run/secrets/ALM_ACCESS_TOKEN",
        "mkdir -p /run/secrets/ALM_ACCESS_TOKEN",
    ],
    ids=["unreadable folder", "file", "unreadable file", "not UTF-8", "folder"],
)
def test_secrets__trouble_below_the_environment(
    secrets: str, command: Command, sandbox: SandboxServer
) -> None:
    """Trouble in /run/secrets does not matter if the environment has the token."""
    script = f"mount -t tmpfs tmpfs /run && {{ {secrets}; }} && {WITHOUT_POWERS} alm-enrollments"

    finished = command.shell(
        script, prefix=WITH_MOUNTS, **reaching(sandbox, ALM_USER_ID=DOCUMENTED_USER)
    )

    assert (finished.exit_code, finished.document["enrollment_ids"]) == (0, DOCUMENTED_IDS)


@needs_mounts
def test_secrets__folder_of_another_user(command: Command) -> None:
    """If credentials are missing, the message names a folder that this user may not enter."""
    script = (
        "mount -t tmpfs tmpfs /run && mkdir -m 0 /run/secrets"
        f" && {WITHOUT_POWERS} alm-enrollments --user-id {DOCUMENTED_USER}"
    )

    finished = command.shell(script, prefix=WITH_MOUNTS)
    in_sandbox = command.shell(f"{script} --base-url sandbox", prefix=WITH_MOUNTS)

    assert (finished.exit_code, in_sandbox.exit_code) == (64, 0)
    assert finished.error["message"] == (
        "1 input is not valid:"
        " ALM_ACCESS_TOKEN is missing, and this user may not enter /run/secrets."
    )


@needs_mounts
def test_secrets__trouble_next_to_a_token(command: Command, sandbox: SandboxServer) -> None:
    """Unreadable credentials do not matter if the environment has enough, only without."""
    names = "/run/secrets/ALM_CLIENT_ID /run/secrets/ALM_CLIENT_SECRET"
    script = (
        f"mount -t tmpfs tmpfs /run && mkdir /run/secrets && touch {names} && chmod 0 {names}"
        f" && {WITHOUT_POWERS} alm-enrollments"
    )
    given = reaching(sandbox, ALM_USER_ID=DOCUMENTED_USER)

    finished = command.shell(script, prefix=WITH_MOUNTS, **given)
    without_token = command.shell(script, prefix=WITH_MOUNTS, **{**given, "ALM_ACCESS_TOKEN": ""})

    assert (finished.exit_code, finished.document["enrollment_ids"]) == (0, DOCUMENTED_IDS)
    assert without_token.exit_code == 64


@needs_mounts
def test_secrets__with_byte_order_mark(command: Command, sandbox: SandboxServer) -> None:
    """A byte order mark, as PowerShell writes it, is no part of a secret."""
    variables = reaching(sandbox, ALM_USER_ID=DOCUMENTED_USER)
    token = variables.pop("ALM_ACCESS_TOKEN")
    secret = rf"printf '\xef\xbb\xbf{token}\r\n' > /run/secrets/ALM_ACCESS_TOKEN"
    script = f"mount -t tmpfs tmpfs /run && mkdir /run/secrets && {secret} && alm-enrollments"

    finished = command.shell(script, prefix=WITH_MOUNTS, **variables)

    assert (finished.exit_code, finished.document["enrollment_ids"]) == (0, DOCUMENTED_IDS)


@pytest.mark.parametrize(
    ("line", "variables"),
    [
        ("--user-ids-file list", {"ALM_USER_ID": "1"}),
        (f"--user-id {DOCUMENTED_USER}", {"ALM_USER_IDS_FILE": "/does/not/exist"}),
        (f"--user-id {DOCUMENTED_USER}", {"ALM_USER_ID": "no id"}),
        ("--env-file env", {"ALM_USER_IDS_FILE": "list"}),
        ("--page-limit 5", {"ALM_PAGE_LIMIT": "many", "ALM_USER_ID": DOCUMENTED_USER}),
        ("--deadline 9", {"ALM_DEADLINE": "-1", "ALM_USER_IDS_FILE": "list"}),
    ],
)
def test_precedence(line: str, variables: dict[str, str], command: Command) -> None:
    """An input of a higher source hides a lower source's, also one that excludes it."""
    (command.folder / "list").write_text(DOCUMENTED_USER)
    (command.folder / "env").write_text("ALM_USER_ID=1")

    finished = command(line, **{"ALM_BASE_URL": "sandbox", **variables})

    assert (finished.exit_code, finished.document["enrollment_ids"]) == (0, DOCUMENTED_IDS)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_env_file__begins_with_the_address(
    mark: str, line_end: str, command: Command, play: Play
) -> None:
    """The first line counts, with a byte order mark too: else the token reaches another host."""
    server = play()
    lines = [f"ALM_BASE_URL={server.url}", f'ALM_ACCESS_TOKEN="{CANARY}"', "ALM_USER_ID=31", ""]
    text = mark + line_end.join(lines)
    (command.folder / "env").write_text(text, encoding="utf-8", newline="")

    finished = command("--env-file env")

    assert (finished.exit_code, server.order) == (0, "AB")
    assert server.requests[0].headers["authorization"] == f"oauth {CANARY}"


def test_env_file__utf_16(command: Command) -> None:
    """A file in UTF-16, as PowerShell writes it, is refused, and nothing is sent."""
    (command.folder / "env").write_text("ALM_USER_ID=1", encoding="utf-16")

    finished = command("--env-file env", **EMBEDDED)

    assert (finished.exit_code, finished.error["message"]) == (
        64,
        (
            '1 input is not valid: --env-file is "env", which cannot be read: it is not UTF-8 text'
            " (allowed: a readable file)."
        ),
    )
