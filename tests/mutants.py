"""Run the mutation tester over the modules that safety depends on (``make mutants``).

docs/MUTANTS.md must explain every function in which a mutant survives.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
LEAST_PERCENT = 95


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
    survivors = [name for name, state in states.items() if state not in ("killed", "timeout")]
    killed = len(states) - len(survivors)
    percent = 100 * killed / max(len(states), 1)
    print(
        f"{killed} of {len(states)} mutants noticed, {percent:.1f} % (at least {LEAST_PERCENT} %)"
    )
    functions = sorted(Counter(map(function_of, survivors)).items())
    for function, count in functions:
        print(f"  {count:3} left in {function}")
    explained = (CHECKOUT / "docs" / "MUTANTS.md").read_text(encoding="utf-8")
    unexplained = [function for function, _ in functions if f"`{function}`" not in explained]
    if unexplained:
        print(f"not explained in docs/MUTANTS.md: {', '.join(unexplained)}")
    return int(percent < LEAST_PERCENT or bool(unexplained))


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
