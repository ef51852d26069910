"""Writes the README's tables from the schemas and the error classes: ``make docs``. A test holds the README to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connector import errors
from connector.judge import allowed
from connector.schemas import load_schema
from connector.settings import variable

README = Path(__file__).parents[1] / "README.md"


def inputs_table() -> str:
    """Return the table of inputs, in the schema's order."""
    schema = load_schema("inputs")
    rows = [
        f"| `{name}` | {_default(rule)} | {rule['description']} Allowed: {allowed(rule)}. |" for name, rule in schema["properties"].items()
    ]
    return "\n".join(["| input | default | meaning |", "|---|---|---|", *rows])


def _default(rule: dict[str, Any]) -> str:
    default = rule.get("default")
    if default is None:
        return "none"
    written = ",".join(default) if isinstance(default, list) else str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{written}`"


def credentials_table() -> str:
    """Return the table of credentials."""
    rules = load_schema("inputs")["$defs"]["credentials"]["properties"]
    rows = [f"| `{variable(name)}` | {rule['description']} |" for name, rule in rules.items()]
    return "\n".join(["| variable | meaning |", "|---|---|", *rows])


def outputs_table() -> str:
    """Return the table of the document's fields."""
    schema = load_schema("outputs")
    rows = [
        f"| `{name}` | {_resolved(rule, schema).get('description', _resolved(rule, schema)['title'])} |"
        for name, rule in schema["properties"].items()
    ]
    return "\n".join(["| field | meaning |", "|---|---|", *rows])


def _resolved(rule: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = rule.get("$ref", "").removeprefix("#/$defs/")
    resolved: dict[str, Any] = schema["$defs"][reference] if reference else rule
    return resolved


def exits_table() -> str:
    """Return the table of exit codes, from the error classes."""
    meanings = {
        "UsageError": ("USAGE", "no: mend the input that the message names"),
        "PartialError": ("DATAERR", "those users alone, `users.failed` names them"),
        "UnknownUserError": ("NOUSER", "no: check the id, and the region in `base_url`"),
        "UnreachableError": ("UNAVAILABLE", "perhaps: check `base_url`, name server and proxy first"),
        "DefectError": ("SOFTWARE", "no: report it, with what `--debug` tells"),
        "OutputError": ("CANTCREAT", "no: make room, or the folder"),
        "TemporaryError": ("TEMPFAIL", "yes, at `error.retry_at`"),
        "ProtocolError": ("PROTOCOL", "no: report it with the request id"),
        "RefusedError": ("NOPERM", "no: a new token, or another scope or region"),
    }
    rows = [
        f"| {getattr(errors, name).exit_code} | {short} | {getattr(errors, name).__doc__.splitlines()[0].rstrip('.')} | {retry} |"
        for name, (short, retry) in meanings.items()
    ]
    signals = "| 130, 143 | | SIGINT or SIGTERM ended the run | yes |"
    return "\n".join(
        [
            "| code | name | what happened | run again? |",
            "|---|---|---|---|",
            "| 0 | OK | Nothing is missing that was asked for | |",
            *rows,
            signals,
        ]
    )


TABLES = {"inputs": inputs_table, "credentials": credentials_table, "outputs": outputs_table, "exits": exits_table}


def updated(text: str) -> str:
    """Return the README's *text* with every table as the schemas have it now."""
    for name, table in TABLES.items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}{begin}{table()}\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
