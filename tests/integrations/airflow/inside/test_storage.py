"""Records in object storage: written, resumed and merged there, and never lost."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from connector.airflow.failures import is_retryable
from connector.airflow.operators import AlmDiffOperator, AlmEnrollmentsOperator, AlmMergeOperator
from connector.airflow.storage import local_output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import RunDag, RunResult, StartServer, TimedServer

store = importlib.import_module(
    "airflow.io.store" if airflow.__version__.startswith("2.") else "airflow.sdk.io"
)
USERS = ["20941371", *map(str, range(1000, 1006))]


class Storage(importlib.import_module("fsspec.implementations.memory").MemoryFileSystem):  # type: ignore[misc] # it has no types
    """Keep files in memory, record the order of uploads, and fail with *errors*.

    These are by method, or by method and name of the object.
    """

    uploads: list[str] = []  # noqa: RUF012 - of the class, as the files of the class above are
    errors: dict[str, Exception] = {}  # noqa: RUF012 - the same

    def _fail(self, method: str, path: str) -> None:
        for key in (method, f"{method} {path.rsplit('/', 1)[1]}"):
            if key in self.errors:
                raise self.errors[key]

    def put_file(self, lpath: str, rpath: str, **settings: Any) -> None:
        """Upload a file."""
        self._fail("put_file", rpath)
        self.uploads.append(rpath.rsplit("/", 1)[1])
        super().put_file(lpath, rpath, **settings)

    def get_file(self, rpath: str, lpath: str, **settings: Any) -> None:
        """Download a file."""
        self._fail("get_file", rpath)
        super().get_file(rpath, lpath, **settings)

    def pipe_file(self, path: str, value: bytes, **settings: Any) -> None:
        """Write *value* to a file."""
        self._fail("pipe_file", path)
        super().pipe_file(path, value, **settings)

    def rm_file(self, path: str) -> None:
        """Delete a file."""
        self._fail("rm_file", path)
        super().rm_file(path)

    def info(self, path: str, **settings: Any) -> Any:
        """Return size and kind of a file."""
        self._fail("info", path)
        return super().info(path, **settings)


class HttpError(Exception):
    """An error of a storage's own library, which is no OSError."""

    def __init__(self, status_code: int = 503) -> None:
        super().__init__(f"The storage answered {status_code}")
        self.status_code = status_code


FULL = OSError(28, "No space left on device")
# What storages raise for 403: most of them, gcsfs, and those for Azure.
FORBIDDEN = [
    PermissionError(13, "Permission denied"),
    OSError("Forbidden: https://storage.googleapis.com/…\nAccess denied."),
    HttpError(403),
]


@pytest.fixture
def memory() -> Iterator[str]:
    """Return an empty folder of storage in memory, reached by a connection, as a bucket is."""
    store.attach("memory", conn_id="aws_default", fs=Storage())
    Storage.store.clear()
    Storage.uploads.clear()
    yield "memory://aws_default@bucket"
    Storage.errors.clear()


@pytest.fixture(params=["file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, memory: str) -> str:
    """Return a folder of object storage: local files, and files in memory."""
    (tmp_path / "bucket").mkdir()
    return {"file": f"file://{tmp_path}/bucket", "memory": memory}[request.param]


def objects_in(folder: str) -> dict[str, bytes]:
    """Return the content of every object in *folder*, by name."""
    root = ObjectStoragePath(folder)
    paths = [root / str(path).rsplit("/", 1)[1] for path in root.fs.find(root.path)]
    return {path.name: path.read_bytes() for path in sorted(paths, key=lambda path: path.name)}


def without_times(objects: dict[str, bytes]) -> dict[str, bytes]:
    """Return *objects* without the moments that their journals name."""
    return {name: re.sub(rb'"answered_at":"[^"]*"', b"", data) for name, data in objects.items()}


def users_in(data: bytes) -> set[str]:
    """Return the users whose records NDJSON *data* has."""
    return {json.loads(line)["user_id"] for line in data.splitlines()}


def read(folder: str, name: str = "out.ndjson", **inputs: Any) -> Any:
    """Return a function that makes a task that reads *USERS* to *folder*."""
    values = {"user_id": USERS, "format": "ndjson", "output_file": f"{folder}/{name}", **inputs}
    return lambda: AlmEnrollmentsOperator(task_id="read", **values)


def test_local__file_and_journal(run_dag: RunDag, server: TimedServer, tmp_path: Path) -> None:
    """The run itself writes to a path of the worker, which the document names."""
    result = run_dag(read(str(tmp_path)))

    document, file = result.xcom(), tmp_path / "out.ndjson"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.ndjson", "out.ndjson.users"]
    assert document["output_file"] == str(file)
    assert document["enrollment_count"] == len(file.read_bytes().splitlines())
    assert "enrollments" not in document
    assert set(server.users) == set(USERS)


@pytest.mark.usefixtures("server")
def test_remote__as_a_local_file(folder: str, run_dag: RunDag, tmp_path: Path) -> None:
    """The object has a local file's records and journal; the document has the path as given."""
    (tmp_path / "local").mkdir()
    local = run_dag(read(str(tmp_path / "local"), concurrency=1))

    result = run_dag(read(folder, concurrency=1))

    files = sorted((tmp_path / "local").iterdir())
    objects = without_times(objects_in(folder))
    assert objects == without_times({path.name: path.read_bytes() for path in files})
    expected = {"output_file": f"{folder}/out.ndjson", "next_since": result.xcom()["next_since"]}
    assert result.xcom() == {**local.xcom(), **expected}


def test_remote__resumed(memory: str, run_dag: RunDag, server: TimedServer) -> None:
    """A run that resumes keeps the users that the object has, and reads only the others."""
    run_dag(read(memory, user_id=USERS[:3], resume=True))
    server.requests.clear()

    result = run_dag(read(memory, resume="true"))

    objects = objects_in(memory)
    assert set(server.users) == set(USERS[3:])
    assert result.xcom()["users"] == {"requested": len(USERS), "read": len(USERS), "failed": []}
    assert list(objects) == ["out.ndjson", "out.ndjson.users"]
    assert result.xcom()["enrollment_count"] == len(objects["out.ndjson"].splitlines())


@pytest.mark.usefixtures("server")
def test_remote__not_resumed(memory: str, run_dag: RunDag) -> None:
    """Without resume, nothing of the earlier object is left."""
    run_dag(read(memory))

    run_dag(read(memory, user_id=USERS[:1]))

    assert users_in(objects_in(memory)["out.ndjson"]) == {USERS[0]}


def test_remote__may_not_be_deleted(
    memory: str, run_dag: RunDag, start_server: StartServer
) -> None:
    """Objects that remain because they may not be deleted do not hide later ones."""
    server = start_server("user=1005:401")
    Storage.errors["rm_file"] = FORBIDDEN[0]
    run_dag(read(memory, user_id=USERS[:3], resume=True))
    run_dag(read(memory, concurrency=1, resume=True))
    assert "out.ndjson.users.new" in objects_in(memory)
    server.requests.clear()

    result = run_dag(read(memory, resume=True))

    assert (result.states, set(server.users)) == ({"read": "success"}, {"1005"})
    assert users_in(objects_in(memory)["out.ndjson"]) == set(USERS)


def test_remote__keeps_complete_users(
    folder: str, run_dag: RunDag, start_server: StartServer
) -> None:
    """A failed run stores the users it read; the retry reads the others, and no part stays."""
    server = start_server("user=1005:401")
    failed = run_dag(read(folder, concurrency=1, resume=True))
    kept = objects_in(folder)
    server.requests.clear()

    result = run_dag(read(folder, resume=True))

    assert failed.xcom()["error"]["code"] == 77
    assert list(kept) == ["out.ndjson.part", "out.ndjson.users"]
    assert users_in(kept["out.ndjson.part"]) == set(USERS[:-1])
    assert set(server.users) == {"1005"}
    objects = objects_in(folder)
    assert list(objects) == ["out.ndjson", "out.ndjson.users"]
    assert result.xcom()["users"]["read"] == len(USERS)
    assert result.xcom()["enrollment_count"] == len(objects["out.ndjson"].splitlines())


@pytest.mark.parametrize("inputs", [{}, {"resume": True}, {"page_limit": 11}])
def test_remote__failure_leaves_the_object(
    inputs: dict[str, Any], memory: str, run_dag: RunDag, start_server: StartServer
) -> None:
    """A run that fails leaves the records of an earlier one unchanged."""
    start_server()
    run_dag(read(memory))
    before = objects_in(memory)
    start_server(token="refused-token")

    result = run_dag(read(memory, user_id=["31"], **inputs))

    assert result.states == {"read": "failed"}
    assert objects_in(memory)["out.ndjson"] == before["out.ndjson"]


@pytest.mark.usefixtures("server")
def test_remote__errors_name_the_object(memory: str, run_dag: RunDag) -> None:
    """An error about the file has the path of the object, not of the worker's copy."""
    run_dag(read(memory))
    ObjectStoragePath(f"{memory}/out.ndjson").write_text("changed\n")

    result = run_dag(read(memory, resume=True))

    message = (
        f'1 input is not valid: output_file is "{memory}/out.ndjson", which, or whose journal, was'
        " changed after its run (allowed: the file as the earlier run left it)."
    )
    hint = "Nothing was sent. Without `resume` the run writes a new file."
    assert result.errors == [("AirflowFailException", f"{message} {hint}")]
    assert result.xcom()["error"]["message"] == message


def test_remote__list_of_users(memory: str, run_dag: RunDag, server: TimedServer) -> None:
    """The list of learners may be an object; a missing one is named, and nothing is sent."""
    ObjectStoragePath(f"{memory}/learners.csv").write_text("user_id\n31\n32\n")

    result = run_dag(read(memory, user_id=None, user_ids_file=f"{memory}/learners.csv"))
    missing = run_dag(read(memory, user_id=None, user_ids_file=f"{memory}/no.csv"), retries=2)

    assert (set(server.users), result.xcom()["users"]["read"]) == ({"31", "32"}, 2)
    message = (
        f'1 input is not valid: the object "{memory}/no.csv" does not exist. Nothing was sent.'
    )
    assert missing.errors == [("AirflowFailException", message)]
    assert missing.xcom()["error"]["code"] == 64


@pytest.mark.parametrize("earlier", [[], USERS[:3]])
def test_remote__without_its_records(
    earlier: list[str], memory: str, run_dag: RunDag, server: TimedServer
) -> None:
    """If the records are not stored, a run that resumes keeps the learners of the earlier one."""
    if earlier:
        run_dag(read(memory, user_id=earlier, resume=True))
        assert Storage.uploads == ["out.ndjson.users.new", "out.ndjson", "out.ndjson.users"]
    Storage.errors["put_file out.ndjson"] = FULL

    interrupted = run_dag(read(memory, resume=True))
    Storage.errors.clear()
    server.requests.clear()
    run_dag(read(memory, resume=True))

    assert interrupted.states == {"read": "failed"}
    assert set(server.users) == set(USERS) - set(earlier)
    assert users_in(objects_in(memory)["out.ndjson"]) == set(USERS)


@pytest.mark.parametrize("name", ["out.ndjson", "out.json", "out.parquet"])
@pytest.mark.parametrize("earlier", [[], USERS[:3]])
def test_remote__without_its_journal(
    earlier: list[str], name: str, memory: str, run_dag: RunDag, server: TimedServer
) -> None:
    """If only the records are stored, a run that resumes keeps all of them."""
    inputs: dict[str, Any] = {"name": name, "format": None, "resume": True}
    if earlier:
        run_dag(read(memory, **inputs, user_id=earlier))
    Storage.errors[f"put_file {name}.users"] = FULL

    interrupted = run_dag(read(memory, **inputs))
    Storage.errors.clear()
    server.requests.clear()
    result = run_dag(read(memory, **inputs))

    assert (interrupted.states, interrupted.xcom()["error"]["code"]) == ({"read": "failed"}, 75)
    assert (result.states, server.requests) == ({"read": "success"}, [])
    assert result.xcom()["users"]["read"] == len(USERS)
    assert list(objects_in(memory)) == [name, f"{name}.users"]


@pytest.mark.usefixtures("server")
def test_remote__unchanged_records_are_not_stored(memory: str, run_dag: RunDag) -> None:
    """A run that had nothing to do does not store the records again."""
    run_dag(read(memory))
    Storage.uploads.clear()

    run_dag(read(memory, resume=True))

    assert "out.ndjson" not in Storage.uploads


def test_local_output__only_read(memory: str) -> None:
    """A file that the run has only read is not stored again."""
    ObjectStoragePath(f"{memory}/out.ndjson").write_text("records\n")

    with local_output(f"{memory}/out.ndjson", resume=True) as local:
        os.utime(local, ns=(0, Path(local).stat().st_mtime_ns))

    assert Storage.uploads == []


def test_local_output__after_any_exception(memory: str) -> None:
    """Whatever ends a run, such as KeyboardInterrupt, its files are stored."""

    def interrupted_run() -> None:
        with local_output(f"{memory}/out.ndjson") as local:
            Path(f"{local}.part").write_text("records\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_run()

    assert objects_in(memory) == {"out.ndjson.part": b"records\n"}


def test_remote__ended_by_a_signal(memory: str, start_server: StartServer) -> None:
    """Airflow 3 calls on_kill on SIGTERM: it ends the run, and complete users are stored."""
    server = start_server("*:slow/0.4x*")
    users = [str(number) for number in range(1000, 1012)]
    task = read(memory, user_id=users, concurrency=1)()

    def end_after_some_users() -> None:
        while len(server.requests) < 4:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, lambda *_: task.on_kill())
    threading.Thread(target=end_after_some_users, daemon=True).start()
    try:
        with pytest.raises(SystemExit) as ended:
            task.execute({})
    finally:
        signal.signal(signal.SIGALRM, before)

    objects = objects_in(memory)
    assert ended.value.code == 143
    assert list(objects) == ["out.ndjson.part", "out.ndjson.users"]
    assert set() < users_in(objects["out.ndjson.part"]) < set(users)


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("file:///nowhere/at/all", "No such file or directory"),
        ("file:///proc/self", "Is a directory"),
        ("nosuchstore://bucket", "nosuchstore"),
    ],
)
def test_remote__cannot_be_written(
    folder: str, reason: str, run_dag: RunDag, server: TimedServer
) -> None:
    """If the object cannot be written, nothing is sent and no retry is made."""
    result = run_dag(read(folder, "fd"), retries=2)

    ((kind, message),) = result.errors
    assert kind == "AirflowFailException"
    assert message.startswith(f"The output file {folder}/fd cannot be written: ")
    assert reason in message
    assert result.xcom()["error"]["code"] == 73
    assert server.requests == []


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("task_id", ["read", "merge"])
def test_remote__not_stored_after_a_failure(task_id: str, memory: str, run_dag: RunDag) -> None:
    """If users failed for good and the others are not stored, Airflow retries to store them."""
    files = read_shards(memory, run_dag, user_id=["31", "4041"])
    Storage.errors["put_file out.ndjson"] = HttpError()
    tasks = {
        "read": read(memory, user_id=["31", "4041"]),
        "merge": lambda: AlmMergeOperator(
            task_id="merge", files=files, output_file=f"{memory}/out.ndjson"
        ),
    }

    result = run_dag(tasks[task_id], retries=1)

    message = (
        "1 of 2 users could not be read: 4041 (exit code 67)."
        f" The output file {memory}/out.ndjson cannot be stored: The storage answered 503."
    )
    assert [name for name, _ in result.errors] == ["AirflowException"] * 2
    assert all(text.startswith(f"{message} The records are kept in ") for _, text in result.errors)
    document = result.xcom(task_id)
    error = document["error"]
    assert (error["code"], error["message"], is_retryable(document)) == (75, message, True)
    assert [document[name] for name in ("output_file", "next_since")] == [None, None]
    assert (document["enrollment_count"], document["enrollment_ids"]) == (0, [])
    assert [user["user_id"] for user in document["users"]["failed"]] == ["4041"]


@pytest.mark.parametrize("error", [*FORBIDDEN, HttpError(), ConnectionError()])
def test_remote__refuses_the_probe(
    error: Exception, memory: str, run_dag: RunDag, server: TimedServer
) -> None:
    """Whatever the storage raises before the first request, the output cannot be written."""
    Storage.errors["pipe_file"] = error

    result = run_dag(read(memory), retries=2)

    ((kind, message),) = result.errors
    assert kind == "AirflowFailException"
    assert message.startswith(f"The output file {memory}/out.ndjson cannot be written: ")
    assert ": ." not in message
    assert result.xcom()["error"]["code"] == 73
    assert server.requests == []


@pytest.mark.parametrize("error", FORBIDDEN)
def test_remote__may_only_be_written(
    error: Exception, memory: str, run_dag: RunDag, server: TimedServer
) -> None:
    """Without permission to look at objects, read or delete them, nothing is resumed."""
    run_dag(read(memory, user_id=USERS[:1]))
    server.requests.clear()
    Storage.errors |= dict.fromkeys(("info", "get_file", "rm_file"), error)

    result = run_dag(read(memory, resume=True))

    Storage.errors.clear()
    assert (result.states, set(server.users)) == ({"read": "success"}, set(USERS))
    assert users_in(objects_in(memory)["out.ndjson"]) == set(USERS)


def tasks_that_read(folder: str) -> dict[str, Any]:
    """Return tasks that each read the object ``old.ndjson``, by what they read it for."""
    old, new = (f"{folder}/{name}.ndjson" for name in ("old", "new"))
    return {
        "list": lambda: AlmEnrollmentsOperator(task_id="read", user_ids_file=old),
        "resume": read(folder, "old.ndjson", resume=True),
        "merge": lambda: AlmMergeOperator(task_id="read", files=[old], output_file=new),
        "diff": lambda: AlmDiffOperator(task_id="read", old=old, new=old),
    }


@pytest.mark.parametrize("error", [HttpError(), TimeoutError()])
@pytest.mark.parametrize("purpose", ["list", "resume", "merge", "diff"])
def test_remote__cannot_be_read_now(
    purpose: str, error: Exception, memory: str, run_dag: RunDag, server: TimedServer
) -> None:
    """If the storage fails, Airflow retries the task, and nothing is sent."""
    Storage.errors["get_file old.ndjson"] = error

    result = run_dag(tasks_that_read(memory)[purpose], retries=1)

    reason = str(error) or "TimeoutError"
    message = f"The object {memory}/old.ndjson cannot be read: {reason}."
    hint = "Nothing was sent. Run again when the storage works."
    assert result.errors == [("AirflowException", f"{message} {hint}")] * 2
    document = result.xcom()
    assert (document["error"]["code"], document["error"]["message"]) == (75, message)
    assert server.requests == []


@pytest.mark.parametrize("error", FORBIDDEN)
@pytest.mark.parametrize("purpose", ["list", "merge", "diff"])
def test_remote__may_not_be_read(
    purpose: str, error: Exception, memory: str, run_dag: RunDag, server: TimedServer
) -> None:
    """An object that may not be read is an invalid input: no retry helps."""
    Storage.errors["get_file old.ndjson"] = error

    result = run_dag(tasks_that_read(memory)[purpose], retries=1)

    ((kind, message),) = result.errors
    problem = f'1 input is not valid: the object "{memory}/old.ndjson" cannot be read: '
    assert (kind, message[: len(problem)]) == ("AirflowFailException", problem)
    assert (result.xcom()["error"]["code"], server.requests) == (64, [])


@pytest.mark.usefixtures("server")
def test_diff__journal_cannot_be_read_now(memory: str, run_dag: RunDag) -> None:
    """Files are not compared without the journal that one of them has."""
    run_dag(read(memory, "old.ndjson"))
    Storage.errors["get_file old.ndjson.users"] = HttpError()

    result = run_dag(tasks_that_read(memory)["diff"])

    assert (result.states, result.xcom()["error"]["code"]) == ({"read": "failed"}, 75)


def test_remote__output_is_the_list(memory: str, run_dag: RunDag, server: TimedServer) -> None:
    """The object that the run reads its users from is not replaced."""
    path = f"{memory}/users.ndjson"
    ObjectStoragePath(path).write_text("31\n")

    result = run_dag(
        lambda: AlmEnrollmentsOperator(task_id="read", user_ids_file=path, output_file=path)
    )

    ((kind, message),) = result.errors
    assert (kind, objects_in(memory)) == ("AirflowFailException", {"users.ndjson": b"31\n"})
    assert "output_file is also the file of user_ids_file" in message
    assert server.requests == []


def read_shards(folder: str, run_dag: RunDag, **inputs: Any) -> list[str]:
    """Read *USERS* in two shards to *folder*, and return the files."""
    results = [run_dag(read(folder, f"{n}.ndjson", shard=f"{n}/2", **inputs)) for n in (1, 2)]
    return [result.xcom()["output_file"] for result in results]


def merge(run_dag: RunDag, files: Any, output_file: str) -> RunResult:
    """Run the task ``merge`` on *files*, with retries."""
    values = {"output_file": output_file, "files": files}
    return run_dag(lambda: AlmMergeOperator(task_id="merge", **values), retries=3)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("source", "target"), [("memory", "memory"), ("memory", "local"), ("local", "memory")]
)
def test_merge__as_one_run(
    source: str, target: str, memory: str, run_dag: RunDag, tmp_path: Path
) -> None:
    """Merged shards equal the result of one undivided run, for any kind of path."""
    folders = {"memory": memory, "local": str(tmp_path)}
    files = read_shards(folders[source], run_dag)
    output_file = f"{folders[target]}/all.ndjson"

    document = merge(run_dag, files, output_file).xcom("merge")
    expected = run_dag(read(memory, "undivided.ndjson")).xcom()

    merged = objects_in({"memory": memory, "local": f"file://{tmp_path}"}[target])
    undivided = objects_in(memory)["undivided.ndjson"]
    assert sorted(merged["all.ndjson"].splitlines()) == sorted(undivided.splitlines())
    assert "all.ndjson.users" in merged
    assert document["output_file"] == output_file
    names = ("users", "enrollment_count", "complete", "error")
    assert [document[name] for name in names] == [expected[name] for name in names]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["1.ndjson"], "shard 2/2 is missing"),
        (["1.ndjson", "1.ndjson"], "shard 2/2 is missing and shard 1/2 comes twice"),
        (["1.ndjson", "no.ndjson"], 'the object "{folder}/no.ndjson" does not exist'),
        (
            ["1.ndjson", "all.ndjson"],
            'output_file is "{folder}/all.ndjson", which is also one of the files to read',
        ),
        ("1.ndjson", 'files is "1.ndjson"'),
        (None, "files is null"),
    ],
)
def test_merge__refused(files: Any, problem: str, memory: str, run_dag: RunDag) -> None:
    """Files that are not each shard once are refused without a retry; the target stays."""
    merge(run_dag, read_shards(memory, run_dag), f"{memory}/all.ndjson")
    before = objects_in(memory)
    if isinstance(files, list):
        files = [f"{memory}/{name}" for name in files]

    result = merge(run_dag, files, f"{memory}/all.ndjson")

    assert (result.states, result.tries) == ({"merge": "failed"}, {"merge": 1})
    ((kind, message),) = result.errors
    assert kind == "AirflowFailException"
    assert problem.format(folder=memory) in message
    assert result.xcom("merge")["error"]["code"] == 64
    assert objects_in(memory) == before


@pytest.mark.usefixtures("server")
def test_merge__names_failed_users(memory: str, run_dag: RunDag) -> None:
    """Learners who failed in the shards are named, the others merged, and nothing is retried."""
    files = read_shards(memory, run_dag, user_id=[*USERS, "4041"])

    result = merge(run_dag, files, f"{memory}/all.ndjson")

    assert (result.states, result.tries) == ({"merge": "failed"}, {"merge": 1})
    ((kind, message),) = result.errors
    assert kind == "AirflowFailException"
    assert message.startswith("1 of 8 users could not be read: 4041 (exit code 67).")
    failed = result.xcom("merge")["users"]["failed"]
    assert [user["user_id"] for user in failed] == ["4041"]
    assert users_in(objects_in(memory)["all.ndjson"]) == set(USERS)
