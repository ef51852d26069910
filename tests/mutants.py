"""Run the mutation tester over the modules that safety depends on (``make mutants``).

Each group of modules is judged on its own. docs/MUTANTS.md must explain every function of the
strictest one in which a mutant survives.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKOUT = Path(__file__).parents[1]
# How many of a group's mutants tests must notice, in percent, by what its modules begin with.
GROUPS = {
    ("connector.alm.", "connector.redact."): 95,
    ("connector.runner.",): 90,
    ("connector.output.",): 90,
}
EXPLAINED = ("connector.alm.", "connector.redact.")


def main() -> int:
    """Return the exit code: 0 if tests notice enough mutants and every survivor is explained."""
    shutil.rmtree(CHECKOUT / "mutants", ignore_errors=True)
    run = subprocess.run(
        [sys.executable, "-m", "mutmut", "run"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        print(run.stdout[-5_000:], run.stderr[-5_000:])
        return run.returncode
    states = parse_results(mutmut("results", "--all", "true"))
    # Every group is judged and printed, also behind one that fails.
    verdicts = [judge(states, prefixes, least) for prefixes, least in GROUPS.items()]
    return int(not (all(verdicts) and is_explained(states)))


def judge(states: Mapping[str, str], prefixes: tuple[str, ...], least: int) -> bool:
    """Print a group's numbers; return whether tests notice *least* percent of its mutants."""
    group = {name: state for name, state in states.items() if name.startswith(prefixes)}
    left = survivors(group)
    percent = 100 * (len(group) - len(left)) / max(len(group), 1)
    print(
        f"{' and '.join(prefix.removesuffix('.') for prefix in prefixes)}:"
        f" {len(group) - len(left)} of {len(group)} mutants noticed, {percent:.1f} %"
        f" (at least {least} %)"
    )
    for function, count in sorted(Counter(map(function_of, left)).items()):
        print(f"  {count:3} left in {function}")
    return percent >= least


def is_explained(states: Mapping[str, str]) -> bool:
    """Return whether docs/MUTANTS.md names each function that needs it; print those missing."""
    text = (CHECKOUT / "docs" / "MUTANTS.md").read_text(encoding="utf-8")
    functions = sorted(
        {function_of(name) for name in survivors(states) if name.startswith(EXPLAINED)}
    )
    missing = [function for function in functions if f"`{function}`" not in text]
    if missing:
        print(f"not explained in docs/MUTANTS.md: {', '.join(missing)}")
    return not missing


def survivors(states: Mapping[str, str]) -> list[str]:
    """Return the mutants that no test has noticed."""
    return [name for name, state in states.items() if state not in ("killed", "timeout")]


def mutmut(*argv: str) -> str:
    """Return the output of mutmut."""
    return subprocess.run(
        [sys.executable, "-m", "mutmut", *argv],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def parse_results(text: str) -> dict[str, str]:
    """Return each mutant's name with its state."""
    return dict(re.findall(r"^\s*(\S+__mutmut_\d+): (.+)$", text, flags=re.MULTILINE))


def function_of(name: str) -> str:
    """Return the mutated function, such as ``connector.alm.rate_limit.RateLimiter.update``."""
    module, _, rest = re.sub(r"__mutmut_\d+$", "", name).rpartition(".")
    return f"{module}.{rest.removeprefix('x').removeprefix('_').replace('ǁ', '.').strip('.')}"


if __name__ == "__main__":
    sys.exit(main())
