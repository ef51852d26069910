"""The YAML that README and docs show, laid out as the repository in which a reader would put it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

CHECKOUT = Path(__file__).parents[2]
OWN_ACTION = "OWNER/REPO@v1"
# What is not GitHub's says in its first line which file it is; those that have a schema have a folder of their own.
FOLDERS = {"# .gitlab-ci.yml": "shown/gitlab", "# azure-pipelines.yml": "shown/azure"}
_BLOCK = re.compile(r"^```ya?ml\n(.*?)^```", re.DOTALL | re.MULTILINE)
_WORKFLOW = "name: shown\non: push\npermissions: {}\njobs:\n  shown:\n"


def lay_out(pages: Iterable[Path], root: Path) -> None:
    """Write every block of *pages* under *root*, as a file named for its page and line, beside the action and the linters' settings."""
    # By this folder actionlint knows where `./` is, and holds inputs and outputs to action.yml.
    (root / ".git").mkdir()
    for name in ("action.yml", ".github/zizmor.yml"):
        _write(root / name, (CHECKOUT / name).read_text(encoding="utf-8"))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for block in _BLOCK.finditer(text):
            line = text.count("\n", 0, block.start()) + 2
            folder, content = place(block[1])
            _write(root / folder / f"{page.stem}-{line}.yml", content)


def place(block: str) -> tuple[str, str]:
    """Return the folder that *block* belongs to, and the file that it is there: steps become a workflow."""
    first = block.partition("\n")[0]
    if first in FOLDERS:
        return FOLDERS[first], block
    content = yaml.safe_load(block)
    if isinstance(content, dict) and "jobs" in content:
        return ".github/workflows", block.replace(OWN_ACTION, "./")
    if isinstance(content, dict) and "steps" in content:
        return _workflow(block)
    if isinstance(content, list) and all(isinstance(step, dict) for step in content):
        return _workflow(f"steps:\n{textwrap.indent(block, '  ')}")
    if re.fullmatch(r"# [\w./-]+\.ya?ml", first):
        return "shown/other", block
    raise ValueError(
        f"Neither workflow nor steps: say in a first comment line which file it is.\n{block}"
    )


def _workflow(job: str) -> tuple[str, str]:
    runner = "" if re.search("^runs-on:", job, re.MULTILINE) else "    runs-on: ubuntu-latest\n"
    return ".github/workflows", f"{_WORKFLOW}{runner}{textwrap.indent(job, '    ')}".replace(
        OWN_ACTION, "./"
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
