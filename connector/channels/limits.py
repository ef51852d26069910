"""Limits of the platforms that read outputs: what exceeds one is left out, never cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Larger documents stay out of XCom, and so of Airflow's database.
MAX_XCOM_BYTES = 256 * 1024


def encoded(text: str) -> bytes:
    """Encode *text* as UTF-8; the surrogates of a file name become its bytes again."""
    return text.encode(errors="surrogateescape")


def size_of_value(_name: str, value: str) -> int:
    """Count the bytes of an output's value."""
    return len(encoded(value))


def size_of_assignment(name: str, value: str) -> int:
    """Count the bytes of an output as ``name=value``."""
    return len(encoded(f"{name}={value}"))


def size_in_utf_16(text: str) -> int:
    """Count the bytes of *text* in UTF-16."""
    return len(text.encode("utf-16-le", errors="surrogatepass"))


@dataclass(frozen=True, slots=True)
class Limit:
    """At most *maximum* for each output, or for all of them together (*is_total*).

    *size_of* measures an output by its name and value; *reason* names the limit in words.
    """

    maximum: int
    reason: str
    size_of: Callable[[str, str], int]
    is_total: bool = False

    def exceeding(self, outputs: Mapping[str, str]) -> dict[str, int]:
        """Return the outputs to leave out, with their sizes: of a total the largest ones."""
        sizes = {name: self.size_of(name, value) for name, value in outputs.items()}
        if not self.is_total:
            return {name: size for name, size in sizes.items() if size > self.maximum}
        left_out: dict[str, int] = {}
        total = sum(sizes.values())
        for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
            if total <= self.maximum:
                break
            left_out[name] = sizes[name]
            total -= sizes[name]
        return left_out


def select_within_limits(
    outputs: Mapping[str, str], *limits: Limit | None
) -> tuple[dict[str, str], str]:
    """Return the outputs within all *limits*, and a description of the others, "" if all fit."""
    kept = dict(outputs)
    descriptions = []
    for limit in filter(None, limits):
        if exceeding := limit.exceeding(kept):
            names = ", ".join(f"{name} ({size:,})" for name, size in exceeding.items())
            descriptions.append(f"{names}, for {limit.reason}")
            kept = {name: value for name, value in kept.items() if name not in exceeding}
    return kept, "; ".join(descriptions)


def environment_limit(system: str) -> Limit | None:
    """Return the limit of an environment variable, which later steps get an output as.

    *system* is named as CI runners do. Linux: MAX_ARG_STRLEN, 128 KiB with the final zero byte.
    Windows: 32,767 characters. macOS has no limit for a single variable.
    """
    if system.startswith("Windows"):
        return Limit(
            32_767,
            "an environment variable on Windows holds at most 32,767 characters, its name included",
            lambda name, value: size_in_utf_16(f"{name}={value}") // 2,
        )
    if system in ("macOS", "Darwin"):
        return None
    return Limit(
        131_071,
        "an environment variable on Linux holds at most 131,071 bytes, its name included",
        size_of_assignment,
    )


def fit_into_xcom(document: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return *document* within XCom's limit, and a description of what it lacks, "" if nothing.

    The id arrays become null first, then ``users.failed``; then the enrollments are left out, and
    at last the reasons.
    """
    fitted = {**document, "users": {**document["users"]}}
    left_out: list[str] = []

    def is_too_large() -> bool:
        return len(to_json(fitted)) > MAX_XCOM_BYTES

    if is_too_large():
        left_out += ["enrollment_ids", "resource_grade_ids"]
        fitted |= dict.fromkeys(left_out)
    if is_too_large():
        left_out.append("users.failed")
        fitted["users"]["failed"] = None
    if is_too_large() and "enrollments" in fitted:
        left_out.append("enrollments")
        del fitted["enrollments"]
    if is_too_large():
        left_out.append("completeness.reasons")
        reasons = [f"{len(document['completeness']['reasons'])} reasons are left out here"]
        fitted["completeness"] = {**document["completeness"], "reasons": reasons}
    if not left_out:
        return fitted, ""
    return fitted, f"{', '.join(left_out)}, for XCom takes at most {MAX_XCOM_BYTES:,} bytes"
