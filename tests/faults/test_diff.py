"""For any two states and any failures, a difference applied to the old file gives the new one."""

from __future__ import annotations

import json
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from connector.output.diff import diff
from tests.faults.conftest import run
from tests.support.pages import answer, body_of, count_cursor, next_link, offset_of, record
from tests.support.server import FaultServer

if TYPE_CHECKING:
    from tests.support.process import Command
    from tests.support.server import Actions, Request

USERS = ("31", "32", "33", "34")
PAGE = 2
FAILURES = ("404", "503", "html", "404 on page 2", "loop", "not asked for")
DATES = (None, "2026-01-02T08:00:00.000Z", "2026-01-03T08:00:00.000Z")
ENROLLMENTS = st.dictionaries(
    st.integers(1, 5),
    st.fixed_dictionaries(
        {
            "state": st.sampled_from(["ENROLLED", "STARTED", "COMPLETED"]),
            "progressPercent": st.sampled_from([0, 50, 50.5, 100]),
            "dateCompleted": st.sampled_from(DATES),
            "lastAccessDate": st.sampled_from(DATES),
        }
    ),
    max_size=4,
)
STATES = st.fixed_dictionaries(dict.fromkeys(USERS, ENROLLMENTS))
FATES = st.fixed_dictionaries(dict.fromkeys(USERS, st.sampled_from(["read"] * 6 + [*FAILURES])))
FILES = st.sampled_from(["ndjson", "csv.gz", "json", "parquet", "xlsx", "document.json"])
KINDS = ("added", "removed", "changed")
Values = tuple[Any, ...]


@dataclass(frozen=True)
class Account:
    """An ALM with *enrollments* by user and number, in which each user has a *fate*."""

    enrollments: dict[str, dict[int, dict[str, Any]]]
    fates: dict[str, str]

    @property
    def asked(self) -> list[str]:
        """The users of the run."""
        return [user for user in USERS if self.fates[user] != "not asked for"]

    def values(self, users: set[str]) -> dict[tuple[str, str], Values]:
        """Return what is compared of the enrollments of *users*."""
        return {
            (user, f"course:{number}_2_{user}"): (
                one["state"],
                one["progressPercent"],
                one["dateCompleted"],
            )
            for user in users
            for number, one in self.enrollments[user].items()
        }

    def answer(self, request: Request) -> Actions:
        """Return a page, or what the user's fate is."""
        user, start = request.user_id, offset_of(request.cursor)
        fate = self.fates[user]
        if fate in ("404", "503") or (fate == "404 on page 2" and start):
            return (answer(int(fate[:3])),)
        if fate == "html":
            return (answer(200, b"<html></html>"),)
        resources = [
            record(f"course:{number}_2_{user}", **attributes)
            for number, attributes in self.enrollments[user].items()
        ]
        end = start + PAGE
        links = {}
        if end < len(resources) or fate == "loop":
            served = [] if fate == "loop" else [one["id"] for one in resources[:end]]
            links["next"] = next_link(user, count_cursor(served))
        return (answer(200, body_of({"links": links, "data": resources[start:end]})),)

    def write(self, path: Path, *, allow_incomplete: bool) -> set[str]:
        """Write the file of a run; return the users that it has completely."""
        kind = path.name.split(".")[1]
        inputs: dict[str, Any] = {"user_id": self.asked, "allow_incomplete": allow_incomplete}
        if kind != "document":
            inputs |= {"format": kind, "output_file": str(path)}
        with FaultServer(otherwise=self.answer) as server:
            document = run(server, **inputs).document
        complete = {user for user in self.asked if self.fates[user] == "read"}
        complete |= {
            user
            for user in self.asked
            if self.fates[user] == "404 on page 2" and len(self.enrollments[user]) <= PAGE
        }
        if kind == "document":
            path.write_text(json.dumps(document), encoding="utf-8")
            # A document names only those who failed: a user without records may be another run's.
            complete = {user for user in complete if self.enrollments[user]}
            error = document["error"] or {"code": 0}
            return complete if error["code"] in (0, 65) else set()
        return complete


@given(STATES, STATES, FATES, FATES, FILES, FILES, st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_diff__applied_to_the_old_file_gives_the_new_one(
    before: dict[str, Any],
    after: dict[str, Any],
    old_fates: dict[str, str],
    new_fates: dict[str, str],
    old_kind: str,
    new_kind: str,
    old_forgives: bool,  # noqa: FBT001
    new_forgives: bool,  # noqa: FBT001
) -> None:
    """Comparable users are exactly those that both files have completely, and nothing else."""
    old, new = Account(before, old_fates), Account(after, new_fates)
    assume(old.asked and new.asked)
    with TemporaryDirectory() as folder:
        old_file, new_file = Path(folder, f"old.{old_kind}"), Path(folder, f"new.{new_kind}")
        comparable = old.write(old_file, allow_incomplete=old_forgives)
        comparable &= new.write(new_file, allow_incomplete=new_forgives)
        # A run that read nobody leaves no file.
        assume(old_file.exists() and new_file.exists())
        event(f"{len(comparable)} comparable users")
        changes = Path(folder, "changes.ndjson")

        document = diff(old_file, new_file, output_file=changes)

        lines = [json.loads(line) for line in changes.read_text().splitlines()]
    assert {line["user_id"] for line in lines} <= comparable
    others = set(document["not_comparable_users"])
    assert comparable.isdisjoint(others)
    if "document.json" not in (old_kind, new_kind):
        assert others == {*old.asked, *new.asked} - comparable
    check(old.values(comparable), new.values(comparable), lines)
    ids = {kind: [line["id"] for line in lines if line["change"] == kind] for kind in KINDS}
    assert {kind: document[f"{kind}_ids"] for kind in KINDS} == ids


def check(
    before: dict[tuple[str, str], Values],
    after: dict[tuple[str, str], Values],
    lines: list[dict[str, Any]],
) -> None:
    """Check that *lines* make *after* of *before*, and name the completions."""
    applied = {**before}
    completed = set()
    for line in lines:
        key = (line["user_id"], line["id"])
        if line["completed"]:
            completed.add(key)
        if line["change"] == "removed":
            del applied[key]
            continue
        new = line["after"]
        assert (key in before) == (line["change"] == "changed")
        applied[key] = (new["state"], new["progress_percent"], new["date_completed"])
    assert applied == after
    changed = {(line["user_id"], line["id"]) for line in lines}
    assert {key for key in before.keys() & after.keys() if before[key] == after[key]}.isdisjoint(
        changed
    )
    assert completed == {
        key for key, (*_, date) in after.items() if date and not (key in before and before[key][2])
    }


def write_large(folder: Path) -> None:
    """Write two files of 30,000 records, half of which differ."""
    for day in (1, 2):
        with (folder / f"{day}.ndjson").open("w", encoding="utf-8") as file:
            for number in range(30_000):
                state = "COMPLETED" if day * number % 2 else "STARTED"
                one = {"id": f"course:{number}_2_31", "user_id": "31", "state": state}
                file.write(f"{json.dumps(one)}\n")


LINE = "diff --assume-complete 1.ndjson 2.ndjson --output-file changes.csv"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_diff__killed_in_the_middle(number: signal.Signals, command: Command) -> None:
    """Whenever a comparison is killed, the earlier file is untouched, or the new one complete."""
    write_large(command.folder)
    began_at = time.monotonic()
    assert command.as_process(LINE).exit_code == 0
    seconds = time.monotonic() - began_at
    complete = (command.folder / "changes.csv").read_bytes()
    codes = []

    for eighths in range(2, 8, 2):
        (command.folder / "changes.csv").write_bytes(b"earlier")
        with command.start(LINE) as process:
            threading.Event().wait(seconds * eighths / 8)
            process.send_signal(number)
        codes.append(process.returncode)
        left = (command.folder / "changes.csv").read_bytes()
        assert left in ([b"earlier"] if process.returncode else [complete])
        names = {path.name for path in command.folder.iterdir()}
        if number == signal.SIGKILL:
            # Killed while it writes the file of changes, it leaves that under another name.
            names = {name for name in names if not name.startswith(".changes.csv.")}
        assert names == {"1.ndjson", "2.ndjson", "changes.csv"}

    assert set(codes) <= {-number, 128 + number, 0}
    assert codes[0] in (-number, 128 + number)
    assert command.as_process(LINE).exit_code == 0
    assert (command.folder / "changes.csv").read_bytes() == complete
