"""Writes the README's tables and action.yml's names from the schemas and the error classes: ``make docs``. A test holds them to it."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector import errors
from connector.formats.interface import COLUMNS
from connector.formats.parquet import SCHEMA
from connector.schemas import load_schema
from connector.settings import allowed, variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

README = Path(__file__).parents[1] / "README.md"
EXPORT = README.parent / "docs" / "EXPORT.md"
ACTION = README.parent / "action.yml"


def inputs_table() -> str:
    """Return the table of inputs, in the schema's order."""
    schema = load_schema("inputs")
    rows = [
        f"| `{name}` | {_default(rule)} | {rule['description']} Allowed: {allowed(rule)}. |"
        for name, rule in schema["properties"].items()
    ]
    return "\n".join(["| input | default | meaning |", "|---|---|---|", *rows])


def _default(rule: dict[str, Any]) -> str:
    return f"`{_written(rule)}`" if "default" in rule else "none"


def _written(rule: dict[str, Any]) -> str:
    default = rule["default"]
    return (
        ",".join(default)
        if isinstance(default, list)
        else str(default).lower()
        if isinstance(default, bool)
        else str(default)
    )


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
        "UserNotFoundError": ("NOUSER", "no: check the id, and the region in `base_url`"),
        "UnreachableError": (
            "UNAVAILABLE",
            "perhaps: check `base_url`, name server and proxy first",
        ),
        "InternalError": ("SOFTWARE", "no: report it, with what `--debug` tells"),
        "OutputError": ("CANTCREAT", "no: make room, or the folder"),
        "TemporaryError": ("TEMPFAIL", "yes, at `error.retry_at`"),
        "ProtocolError": ("PROTOCOL", "no: report it with the request id"),
        "AuthenticationError": ("NOPERM", "no: a new token, or another scope or region"),
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


def action_inputs() -> str:
    """Return action.yml's inputs: every input and every credential."""
    schema = load_schema("inputs")
    lines = []
    for name, rule in schema["properties"].items():
        lines += [
            f"{_kebab(name)}:",
            _description(f"{rule['description']} Allowed: {allowed(rule)}."),
        ]
        lines += [f"  default: {json.dumps(_written(rule))}"] if "default" in rule else []
    for name, rule in schema["$defs"]["credentials"]["properties"].items():
        lines += [f"{_kebab(name)}:", _description(f"{rule['description']} From a secret.")]
    return "\n".join(lines)


def action_outputs() -> str:
    """Return action.yml's outputs: every field of the document but the enrollments."""
    schema = load_schema("outputs")
    lines = []
    for name, rule in schema["properties"].items():
        if name != "enrollments":
            told = _resolved(rule, schema).get("description", _resolved(rule, schema)["title"])
            lines += [
                f"{name}:",
                _description(told),
                f"  value: ${{{{ steps.run.outputs.{name} }}}}",
            ]
    return "\n".join(lines)


def _description(text: str) -> str:
    return textwrap.fill(
        text,
        130,
        initial_indent="  description: >-\n    ",
        subsequent_indent="    ",
        break_on_hyphens=False,
    )


def action_env() -> str:
    """Return the variables that action.yml's step gives its inputs to the command in."""
    schema = load_schema("inputs")
    names = (*schema["properties"], *schema["$defs"]["credentials"]["properties"])
    return "\n".join(f"{variable(name)}: ${{{{ inputs.{_kebab(name)} }}}}" for name in names)


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def columns_table() -> str:
    """Return the table of the columns of CSV and Parquet."""
    described = load_schema("outputs")["$defs"]["enrollment"]["properties"]
    rows = []
    for name in COLUMNS:
        kind = (
            str(SCHEMA.field(name).type).partition("<")[0]
            if name in SCHEMA.names
            else "not there: in resource_grades"
        )
        rows.append(
            f"| `{name}` | {kind} | {_COLUMN_NOTES.get(name) or described[name].get('description', '')} |"
        )
    return "\n".join(["| column | Parquet | what |", "|---|---|---|", *rows])


_COLUMN_NOTES = {
    "resource_grade_ids": "The ids of its grades, with spaces between.",
    "resource_grades": "In CSV as JSON.",
    "included": "As JSON; nothing where `include` did not ask for it.",
}
TABLES = {
    "inputs": inputs_table,
    "credentials": credentials_table,
    "outputs": outputs_table,
    "exits": exits_table,
}
NAMES = {"inputs": action_inputs, "outputs": action_outputs, "env": action_env}


def updated(text: str, tables: Mapping[str, Callable[[], str]] | None = None) -> str:
    """Return a page's *text* with every table, the README's unless others are named, as the schemas have it now."""
    for name, table in (TABLES if tables is None else tables).items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}{begin}{table()}\n{end}{after}"
    return text


def updated_action(text: str) -> str:
    """Return action.yml's *text* with all that stands below inputs, outputs and env as the schemas have it now."""
    for key, lines in NAMES.items():
        found = re.search(rf"^( *){key}:\n((?:\1  .*\n)+)", text, flags=re.MULTILINE)
        if found is None:
            raise ValueError(f"action.yml has lost its {key}")
        text = (
            text[: found.start(2)]
            + textwrap.indent(lines(), f"{found[1]}  ")
            + "\n"
            + text[found.end(2) :]
        )
    return text


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
    EXPORT.write_text(
        updated(EXPORT.read_text(encoding="utf-8"), {"columns": columns_table}), encoding="utf-8"
    )
    ACTION.write_text(updated_action(ACTION.read_text(encoding="utf-8")), encoding="utf-8")
