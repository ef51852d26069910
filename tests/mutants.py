"""Runs the mutation tester over what safety rests on, and fails below the promised part of mutants noticed: ``make mutants``.

What survives must be explained in docs/MUTANTS.md, by the function that it is in.
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
    """Run it and return the exit code: 0 where enough mutants are noticed, and every survivor's function is explained."""
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
    killed = sum(state in ("killed", "timeout") for state in states.values())
    left = {name: state for name, state in states.items() if state not in ("killed", "timeout")}
    percent = 100 * killed / max(len(states), 1)
    print(
        f"{killed} of {len(states)} mutants noticed, {percent:.1f} % (at least {LEAST_PERCENT} %)"
    )
    for function, count in sorted(Counter(map(function_of, left)).items()):
        print(f"  {count:3} left in {function}")
    explained = (CHECKOUT / "docs" / "MUTANTS.md").read_text(encoding="utf-8")
    unexplained = sorted(
        {function_of(name) for name in left if f"`{function_of(name)}`" not in explained}
    )
    if unexplained:
        print(f"not explained in docs/MUTANTS.md: {', '.join(unexplained)}")
    return int(percent < LEAST_PERCENT or bool(unexplained))


def mutmut(*argv: str) -> str:
    """Return what mutmut prints."""
    return subprocess.run(
        [sys.executable, "-m", "mutmut", *argv],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def parse_results(text: str) -> dict[str, str]:
    """Return each mutant's name with what became of it."""
    return dict(re.findall(r"^\s*(\S+__mutmut_\d+): (.+)$", text, flags=re.MULTILINE))


def function_of(name: str) -> str:
    """Return the function that a mutant's *name* is of: ``connector.alm.rate_limit.RateLimiter.learn``."""
    module, _, rest = re.sub(r"__mutmut_\d+$", "", name).rpartition(".")
    return f"{module}.{rest.removeprefix('x').removeprefix('_').replace('ǁ', '.').strip('.')}"


if __name__ == "__main__":
    sys.exit(main())
