"""What the image is: its configuration and content, and that each build is the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import connector
from tests.integrations.container import engine

HOME = "/opt/alm-enrollments"
PYTHON = f"{HOME}/bin/python3"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = f"{HOME}/lib/{VERSION}/site-packages"
OPTIONS = ["-I", "-X", "utf8", "-X", f"pycache_prefix={HOME}/bytecode"]
MAX_BYTES = 48_000_000
# urllib3 tries to import it, and without PySocks it cannot be.
NEVER_IMPORTED = f"{PACKAGES}/urllib3/contrib/socks.py"


def inspected(image: str) -> dict[str, Any]:
    """Return the engine's description of *image*."""
    (description,) = json.loads(engine.podman("image", "inspect", image))
    return dict(description)


def python(*argv: str) -> str:
    """Return both streams of the image's own Python, started as the entry starts it."""
    locked = ("--rm", "--read-only", "--network=none", f"--entrypoint={PYTHON}")
    return subprocess.run(
        engine.command("run", *locked, engine.image(), *OPTIONS, *argv),
        env=engine.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


def added(image: str) -> list[str]:
    """Return every path that *image* has and its base does not have."""
    changes = json.loads(engine.podman("diff", "--format=json", image, engine.base()))
    assert list(changes) == ["added"]
    return sorted(changes["added"])


@pytest.mark.parametrize(
    ("target", "user", "folder"), [("runtime", "65532:65532", "/work"), ("action", "", "/")]
)
def test_config__is_all_that_a_cluster_sees(target: str, user: str, folder: str) -> None:
    """Python is the entry, the user is a number, labels describe the image, nothing else is set."""
    config = inspected(engine.image(target))["Config"]
    prefix = "org.opencontainers.image."
    labels = {name: text for name, text in config.pop("Labels").items() if prefix in name}

    assert config.pop("Env") == inspected(engine.base())["Config"]["Env"]
    assert (config.pop("User", ""), config.pop("WorkingDir", "/")) == (user, folder)
    assert config == {"Entrypoint": [PYTHON, *OPTIONS, "-m", "connector"]}
    assert {name.removeprefix(prefix): text for name, text in labels.items()} == {
        "title": "alm-enrollments",
        "description": (
            "Brings every enrollment of an Adobe Learning Manager learner, or says what is missing."
        ),
        "documentation": "https://github.com/OWNER/REPO/blob/main/docs/CONTAINER.md",
        "licenses": "Apache-2.0",
        "source": "https://github.com/OWNER/REPO",
        "version": connector.__version__,
    }


def test_default__is_the_image_for_clusters() -> None:
    """Without a target the build is `runtime`: nobody is root by mistake."""
    name = "localhost/alm-enrollments-default"
    engine.build(name)
    try:
        assert inspected(name)["Config"]["User"] == "65532:65532"
    finally:
        engine.podman("rmi", name)


def test_content__is_ours_only() -> None:
    """The layers add one folder and `/work`: the connector without Airflow, and no scripts."""
    paths = added(engine.image())
    checkout = engine.CHECKOUT / "connector"
    modules = {
        str(path.relative_to(checkout))
        for path in checkout.rglob("*")
        if path.is_file() and not {"__pycache__", "airflow"} & {*path.parts}
    }
    schemas = {f"schemas/{path.name}" for path in (engine.CHECKOUT / "schemas").iterdir()}
    prefix = f"{PACKAGES}/connector/"
    found = {path.removeprefix(prefix) for path in paths if path.startswith(prefix)}

    folders = ("bin", "bytecode", "include", "lib", "lib64", "pyvenv.cfg")
    top = {"/".join(path.split("/")[:4]) for path in paths}
    assert top == {"/opt", HOME, "/work", *(f"{HOME}/{name}" for name in folders)}
    assert {path for path in found if "." in path} == modules | schemas
    assert [path for path in paths if "/bin/" in path and "/python" not in path] == []
    assert [path for path in paths if "__pycache__" in path] == []


def test_content__the_path_has_nothing_else() -> None:
    """Modules come from the standard library and our packages only, and pip is not there."""
    code = "import importlib.util as u, sys; print(*sys.path, u.find_spec('pip'), sep='\\n')"

    archive, *folders = python("-c", code).splitlines()

    library = f"/usr/local/lib/{VERSION}"
    assert archive.startswith("/usr/local/lib/python3")
    assert folders == [library, f"{library}/lib-dynload", PACKAGES, "None"]


def test_content__is_listed_by_its_metadata() -> None:
    """Every package has its metadata, in the version of the lock, and the licence is there."""
    code = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
    lock = (engine.CHECKOUT / "requirements/serve.lock").read_text(encoding="utf-8")
    locked = {tuple(pin) for pin in re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE)}

    lines = [line.split() for line in python("-c", code).splitlines()]
    installed = {(re.sub("[-_.]+", "-", name).lower(), version) for name, version in lines}

    assert installed - locked == {("alm-enrollments-connector", connector.__version__)}
    assert len(installed) > 15
    licences = [path for path in added(engine.image()) if path.endswith("/licenses/LICENSE")]
    assert [path for path in licences if "/alm_enrollments_connector-" in path] != []


def test_bytecode__is_complete_and_never_stale() -> None:
    """A run compiles nothing: the image has all bytecode, by unchecked hash (PEP 552)."""
    verbose = python("-v", "-m", "connector", "--base-url", "sandbox", "--user-id", "20941371")
    loaded = re.findall(r"^# code object from '?(.*?)'?$", verbose, flags=re.MULTILINE)
    flags = f"""import pathlib
print({{path.read_bytes()[4:8] for path in pathlib.Path('{HOME}/bytecode').rglob('*.pyc')}})"""

    assert '"complete":true' in verbose
    assert len(loaded) > 200
    assert {path for path in loaded if not path.startswith(f"{HOME}/bytecode/")} <= {NEVER_IMPORTED}
    assert "# wrote" not in verbose
    assert python("-c", flags) == "{b'\\x01\\x00\\x00\\x00'}\n"


def test_folder__belongs_to_the_user() -> None:
    """The working directory belongs to the user: a new volume takes over its owner."""
    code = "import os; print(os.stat('.').st_uid, os.stat('.').st_gid, os.getcwd())"

    assert python("-c", code) == "65532 65532 /work\n"


def test_size__of_the_layers() -> None:
    """The layers add at most 48 MB to the base."""
    ours = inspected(engine.image())["Size"] - inspected(engine.base())["Size"]

    assert ours <= MAX_BYTES


def test_build__is_the_same_each_time() -> None:
    """Two builds without a cache have the same layers."""
    names = [f"localhost/alm-enrollments-twice:{number}" for number in (1, 2)]
    for name in names:
        engine.build(name, "--no-cache", "--timestamp=0")
    layers = [inspected(name)["RootFS"]["Layers"] for name in names]
    engine.podman("rmi", *names)

    assert layers[0] == layers[1]


SENT = (
    "LICENSE",
    "connector/alm/auth.py",
    "connector/errors.py",
    "requirements/serve.lock",
    "schemas/inputs.schema.json",
)
NOT_SENT = (
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
)


def test_context__has_no_secret(tmp_path: Path) -> None:
    """The engine gets only the files of a checkout from which the image is made."""
    context, name = tmp_path / "context", "localhost/alm-enrollments-context"
    for path in (*SENT, *NOT_SENT):
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        (context / path).write_text("canary", encoding="utf-8")
    for path in ("Dockerfile", ".dockerignore"):
        shutil.copy(engine.CHECKOUT / path, context / path)
    (tmp_path / "everything").write_text("FROM base\nCOPY . /context/\n", encoding="utf-8")

    engine.build(name, "--file", tmp_path / "everything", context=context)
    found = {path.removeprefix("/context/") for path in added(name)}
    engine.podman("rmi", name)

    folders = {"/context", "connector", "connector/alm", "requirements", "schemas"}
    assert found == {*SENT, *folders}


@pytest.mark.parametrize(
    "argv",
    [["hadolint", "Dockerfile"], ["shellcheck", "tests/integrations/container/install"]],
    ids=lambda argv: argv[0],
)
def test_lint__finds_nothing(argv: list[str]) -> None:
    """No linter finds anything in the Dockerfile, or in the installation of the engine."""
    tool = Path(sys.executable).with_name(argv[0])

    finished = subprocess.run(
        [tool, *argv[1:]], cwd=engine.CHECKOUT, capture_output=True, text=True, check=False
    )

    assert (finished.returncode, finished.stdout) == (0, "")
