"""What the image is: what is in it and what is not, how it starts, how large it is, and that it is the same each time it is built."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import connector
from tests.integrations.container import engine

if TYPE_CHECKING:
    from tests.integrations.container.conftest import RunImage

HOME = "/opt/alm-enrollments"
PYTHON = f"{HOME}/bin/python3"
OPTIONS = ["-I", "-X", "utf8", "-X", f"pycache_prefix={HOME}/bytecode"]
LARGEST_BYTES = 40_000_000
TARGETS = pytest.mark.parametrize(
    ("target", "user", "folder"), [("runtime", "65532:65532", "/work"), ("action", "", "/")]
)
# Tried by urllib3, and not to be imported without PySocks, so it never is.
NEVER_IMPORTED = f"{HOME}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/urllib3/contrib/socks.py"


def inspected(image: str) -> dict[str, Any]:
    """Return what the engine knows of *image*."""
    (told,) = json.loads(engine.podman("image", "inspect", image))
    return dict(told)


def python(*argv: str, options: tuple[str, ...] = ()) -> str:
    """Return both streams of the image's own Python, started as its entry starts it, with *argv*."""
    return subprocess.run(
        engine.command(
            "run",
            "--rm",
            "--read-only",
            "--network=none",
            *options,
            f"--entrypoint={PYTHON}",
            engine.image(),
            *OPTIONS,
            *argv,
        ),
        env=engine.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


def added() -> list[str]:
    """Return every path that the image has and its base has not."""
    changes = json.loads(engine.podman("diff", "--format=json", engine.image(), engine.base()))
    assert list(changes) == ["added"]
    return sorted(changes["added"])


@TARGETS
def test_config__is_all_that_a_cluster_sees(target: str, user: str, folder: str) -> None:
    """Python itself is the entry, without a shell; the default user is a number; the labels say what it is; no variable is set."""
    config = inspected(engine.image(target))["Config"]
    labels = {
        name.rpartition(".")[2]: text
        for name, text in config.pop("Labels").items()
        if name.startswith("org.opencontainers.image.")
    }

    assert config.pop("Env") == inspected(engine.base())["Config"]["Env"]
    assert (config.pop("User", ""), config.pop("WorkingDir", "/")) == (user, folder)
    assert config == {"Entrypoint": [PYTHON, *OPTIONS, "-m", "connector"]}
    assert labels == {
        "title": "alm-enrollments",
        "description": "Brings every enrollment of an Adobe Learning Manager learner, or says what is missing.",
        "documentation": "https://github.com/OWNER/REPO/blob/main/docs/CONTAINER.md",
        "licenses": "Apache-2.0",
        "source": "https://github.com/OWNER/REPO",
        "version": connector.__version__,
    }


def test_default__is_the_image_for_clusters() -> None:
    """Built without a target, it is `runtime`: nobody is root by mistake."""
    name = "localhost/alm-enrollments-default"
    engine.build(name)
    try:
        assert inspected(name)["Config"]["User"] == "65532:65532"
    finally:
        engine.podman("rmi", name)


def test_content__is_ours_alone() -> None:
    """Our layers add one folder and an empty one; of the connector there is what is in the checkout but for Airflow's part, and no more."""
    paths = added()
    packages = f"{NEVER_IMPORTED.partition('/urllib3/')[0]}/connector/"
    checkout = engine.CHECKOUT / "connector"
    expected = [
        *(
            str(path.relative_to(checkout))
            for path in checkout.rglob("*")
            if path.is_file() and not {"__pycache__", "airflow"} & {*path.parts}
        ),
        *(f"schemas/{path.name}" for path in (engine.CHECKOUT / "schemas").iterdir()),
    ]
    found = [path.removeprefix(packages) for path in paths if path.startswith(packages)]

    assert {"/".join(path.split("/")[:4]) for path in paths} == {
        "/opt",
        HOME,
        *(
            f"{HOME}/{name}"
            for name in ("bin", "bytecode", "include", "lib", "lib64", "pyvenv.cfg")
        ),
        "/work",
    }
    assert sorted(path for path in found if path.partition(".")[1]) == sorted(expected)
    assert [path for path in paths if "/bin/" in path and "/python" not in path] == []
    assert [path for path in paths if "__pycache__" in path] == []


def test_content__the_path_has_nothing_else() -> None:
    """The entry imports from the standard library and from our packages alone: no pip, nothing of the working directory."""
    told = python(
        "-c",
        "import importlib.util, sys; print(*sys.path, importlib.util.find_spec('pip'), sep='\\n')",
    ).splitlines()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = f"/usr/local/lib/{version}"

    assert told[0].startswith("/usr/local/lib/python3")
    assert told[1:] == [
        library,
        f"{library}/lib-dynload",
        f"{HOME}/lib/{version}/site-packages",
        "None",
    ]


def test_content__is_listed() -> None:
    """Every package is known by its metadata in the lock's version, the connector itself by its own, with the licence."""
    told = python(
        "-c",
        "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')",
    )
    lock = (engine.CHECKOUT / "requirements/serve.lock").read_text(encoding="utf-8")
    installed, pinned = (
        {
            re.sub("[-_.]+", "-", line.partition(" ")[0]).lower()
            for line in text.splitlines()
            if "==" in line
        }
        for text in (told, lock)
    )

    assert installed - pinned == {
        re.sub("[.]", "-", f"alm-enrollments-connector=={connector.__version__}")
    }
    assert len(installed) > 15
    assert [
        path
        for path in added()
        if "/alm_enrollments_connector-" in path and path.endswith("/licenses/LICENSE")
    ] != []


def test_bytecode__is_all_there() -> None:
    """A run compiles nothing: every module that it loads comes from the image's bytecode, and none is written."""
    told = python("-v", "-m", "connector", "--base-url", "sandbox", "--user-id", "20941371")
    loaded = [
        line.removeprefix("# code object from ").strip("'")
        for line in told.splitlines()
        if line.startswith("# code object from ")
    ]

    assert '"complete":true' in told
    assert len(loaded) > 200
    assert {path for path in loaded if not path.startswith(f"{HOME}/bytecode/")} <= {NEVER_IMPORTED}
    assert "# wrote" not in told


def test_bytecode__is_compared_with_nothing() -> None:
    """All of it is by hash and unchecked (PEP 552): a file's time, which some builders change, makes none of it stale."""
    read = f"import pathlib; print({{path.read_bytes()[4:8] for path in pathlib.Path('{HOME}/bytecode').rglob('*.pyc')}})"

    assert python("-c", read) == "{b'\\x01\\x00\\x00\\x00'}\n"


def test_folder__belongs_to_the_user() -> None:
    """The working directory is the user's own: Docker gives a new volume the owner of the folder that it is mounted on."""
    assert (
        python("-c", "import os; print(os.stat('.').st_uid, os.stat('.').st_gid, os.getcwd())")
        == "65532 65532 /work\n"
    )


def test_size__of_our_layers() -> None:
    """Our layers add at most 40 MB to the base."""
    ours = inspected(engine.image())["Size"] - inspected(engine.base())["Size"]
    sys.stdout.write(f"our layers: {ours / 1e6:.1f} MB over the base\n")

    assert ours <= LARGEST_BYTES


def test_time__of_a_run(run_image: RunImage) -> None:
    """A run of the embedded sandbox takes about half a second, the engine's own part included."""
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        assert run_image().exit_code == 0
        seconds.append(time.monotonic() - began)
    sys.stdout.write(
        f"a run: {min(seconds):.2f} s of {', '.join(f'{each:.2f}' for each in seconds)}\n"
    )

    assert min(seconds) < 10


def test_build__is_the_same_each_time() -> None:
    """Built twice from nothing, our layers are the same to the byte."""
    names = [f"localhost/alm-enrollments-twice:{number}" for number in (1, 2)]
    for name in names:
        engine.build(name, "--no-cache", "--timestamp=0")
    layers = [inspected(name)["RootFS"]["Layers"] for name in names]
    engine.podman("rmi", *names)

    assert layers[0] == layers[1]


def test_context__has_no_secret(tmp_path: Path) -> None:
    """Of all that may lie in a checkout, only what the image is made of is handed to the engine."""
    context, listed = tmp_path / "context", engine.CHECKOUT
    names = [
        "Dockerfile",
        ".dockerignore",
        "LICENSE",
        "requirements/serve.lock",
        "connector/errors.py",
        "connector/alm/auth.py",
        "schemas/inputs.schema.json",
    ]
    for name in names:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(listed / name, context / name)
    for name in (
        ".env",
        ".git/config",
        ".github/workflows/ci.yml",
        ".netrc",
        ".venv/pyvenv.cfg",
        "connector/.env",
        "connector/__pycache__/errors.cpython-313.pyc",
        "connector/airflow/hook.py",
        "connector/alm/.env",
        "connector/alm/token",
        "connector/id_rsa",
        "connector/sandbox/tokens.json",
        "enrollments.ndjson",
        "learners.csv",
        "requirements/run.lock",
        "schemas/.env",
        "tests/test_it.py",
    ):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text("canary", encoding="utf-8")
    (tmp_path / "everything").write_text("FROM base\nCOPY . /context/\n", encoding="utf-8")
    name = "localhost/alm-enrollments-context"

    engine.build(name, "--file", tmp_path / "everything", context=context)
    changes = json.loads(engine.podman("diff", "--format=json", name, engine.base()))["added"]
    engine.podman("rmi", name)

    folders = {"/context", "connector", "connector/alm", "requirements", "schemas"}
    assert {path.removeprefix("/context/") for path in changes} == {*names, *folders} - {
        "Dockerfile",
        ".dockerignore",
    }


@pytest.mark.parametrize(
    "argv",
    [["hadolint", "Dockerfile"], ["shellcheck", "tests/integrations/container/install"]],
    ids=lambda argv: argv[0],
)
def test_lint__finds_nothing(argv: list[str]) -> None:
    """The linters have nothing to say, about the Dockerfile and about what installs the engine."""
    tool = Path(sys.executable).with_name(argv[0])

    finished = subprocess.run(
        [tool, *argv[1:]], cwd=engine.CHECKOUT, capture_output=True, text=True, check=False
    )

    assert (finished.returncode, finished.stdout) == (0, "")
