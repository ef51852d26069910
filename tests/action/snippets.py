"""The YAML of README and docs, laid out as a repository with the files of its readers."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

import yaml

from tests.support.process import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# A block for another system says in its first line which file it is.
FOLDERS = {"# .gitlab-ci.yml": "shown/gitlab", "# azure-pipelines.yml": "shown/azure"}
TEMPLATES = sorted((CHECKOUT / "examples/github").glob("*.yml"))
_BLOCK = re.compile(r"^```ya?ml\n(.*?)^```", re.DOTALL | re.MULTILINE)
_WORKFLOW = "name: shown\non: push\npermissions: {}\njobs:\n  shown:\n"


def lay_out(pages: Iterable[Path], root: Path) -> None:
    """Write the templates and every block of *pages* under *root*, next to the action.

    A block is named by page and line.
    """
    # actionlint finds the action `./` by this folder, and checks inputs and outputs against it.
    (root / ".git").mkdir()
    for name in ("action.yml", ".github/zizmor.yml"):
        _write(root / name, (CHECKOUT / name).read_text(encoding="utf-8"))
    for template in TEMPLATES:
        own = template.read_text(encoding="utf-8").replace("OWNER/REPO@v0", "./")
        _write(root / ".github/workflows" / f"template-{template.name}", own)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for block in _BLOCK.finditer(text):
            line = text.count("\n", 0, block.start()) + 2
            folder, content = file_of(block[1])
            _write(root / folder / f"{page.stem}-{line}.yml", content)


def file_of(block: str) -> tuple[str, str]:
    """Return the folder and the content of the file that *block* is; steps become a workflow."""
    first = block.partition("\n")[0]
    content = yaml.safe_load(block)
    own = block.replace("OWNER/REPO@v0", "./")
    if first in FOLDERS:
        return FOLDERS[first], block
    if "jobs" in content:
        return ".github/workflows", own
    if "steps" in content:
        return ".github/workflows", _workflow(own)
    if isinstance(content, list):
        return ".github/workflows", _workflow(f"steps:\n{textwrap.indent(own, '  ')}")
    if re.fullmatch(r"# [\w./-]+\.ya?ml", first):
        return "shown/other", block
    raise ValueError(f"Name the file of this block in a first comment line.\n{block}")


def _workflow(job: str) -> str:
    runner = "" if re.search("^runs-on:", job, re.MULTILINE) else "    runs-on: ubuntu-latest\n"
    return f"{_WORKFLOW}{runner}{textwrap.indent(job, '    ')}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
