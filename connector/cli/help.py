"""What each command's help shows after its options: examples, and tables of terms."""

from __future__ import annotations

from connector.schemas import load_schema
from connector.settings import credential_names, variable

#: Titles, each with its terms and what they mean.
Tables = dict[str, dict[str, str]]

_EXIT_CODES = {
    "0": "Success.",
    "64": "The inputs are invalid.",
    "65": "Some users failed, the others were read.",
    "67": "ALM has no such user.",
    "69": "The host cannot be reached.",
    "70": "Internal error.",
    "73": "An output cannot be written.",
    "75": "Temporary failure: run again later.",
    "76": "ALM's response breaks the contract of its API.",
    "77": "ALM refuses the token.",
    "130": "SIGINT ended the run.",
    "143": "SIGTERM ended the run.",
}
FETCH_EXAMPLES = {
    "alm-enrollments --user-id 20941371 --base-url sandbox": "Read a sample user, without network"
    " and credentials.",
    "alm-enrollments --user-id 20941371,20941372 | jq .enrollment_ids": "List the ids of two"
    " users' enrollments.",
    "alm-enrollments --user-ids-file users.txt --format csv --output-file all.csv": "Export the"
    " enrollments of a list of users.",
}


def fetch_tables() -> Tables:
    """Return the examples of fetch, the credentials and the exit codes."""
    return {"Examples": FETCH_EXAMPLES, **_common_tables()}


def check_tables() -> Tables:
    """Return the examples of check, the credentials and the exit codes."""
    examples = {
        "alm-enrollments check --user-id 20941371": "Try the token and the host.",
        "alm-enrollments check --user-ids-file users.txt --shard 2/4": "Estimate how long the"
        " second of four shards takes.",
    }
    return {"Examples": examples, **_common_tables()}


def _common_tables() -> Tables:
    rules = load_schema("inputs")["$defs"]["credentials"]["properties"]
    credentials = {variable(name): rule["description"] for name, rule in rules.items()}
    return {
        "Credentials, from the environment, --env-file or /run/secrets": credentials,
        "Exit codes": _EXIT_CODES,
    }


def merge_tables() -> Tables:
    """Return the examples of merge."""
    return {
        "Examples": {
            "alm-enrollments --user-ids-file users.txt --shard 1/2 --output-file 1.json": "Write"
            " the first of two shards.",
            "alm-enrollments merge enrollments.json 1.json 2.json": "Join both.",
        }
    }


def diff_tables() -> Tables:
    """Return the examples of diff, and its exit codes."""
    codes = ("64", "70", "73", "130", "143")
    return {
        "Examples": {
            "alm-enrollments diff monday.ndjson tuesday.ndjson | jq .completed_ids": "List what was"
            " completed since Monday's run.",
            "alm-enrollments diff --output-file changes.csv monday.csv tuesday.csv": "Write every"
            " change, for a spreadsheet.",
        },
        "Exit codes": {
            "0": "Success, with or without changes.",
            "1": "Something changed, with --exit-code.",
            **{code: _EXIT_CODES[code] for code in codes},
        },
    }


def serve_tables() -> Tables:
    """Return the examples of serve and the server's settings."""
    settings = {}
    for name, rule in load_schema("serve")["properties"].items():
        settings[variable(name)] = rule["description"].replace("`", "")
        if "default" in rule:
            settings[variable(name)] += f" Default: {rule['default']}."
    for name in ("base_url", "quota_share", "concurrency", *credential_names()):
        settings[variable(name)] = "As for every command."
    return {
        "Examples": {
            "ALM_SERVE_KEY=a-key-of-16-characters-or-more alm-enrollments serve": "Serve this"
            " machine.",
            "curl -H 'X-API-Key: …' 'http://127.0.0.1:8080/v1/enrollments?user_id=20941371'": "Read"
            " a user.",
        },
        "Settings, from the environment": settings,
    }


def sandbox_tables() -> Tables:
    """Return the examples of sandbox, its users, and its faults."""
    from connector.sandbox.faults import IN_THE_ANSWER, ON_THE_WAY
    from connector.sandbox.learners import DOCUMENTED_USER

    return {
        "Examples": {
            "alm-enrollments sandbox --fault page=2:503x3": "Fail three times on the second page.",
            "alm-enrollments sandbox --fault 'user=7:429/0.42'": "Send user 7 away once.",
            "alm-enrollments sandbox --day 2": "Serve what has changed since --day 1.",
        },
        "Users": {
            DOCUMENTED_USER: "The documented example.",
            "404…": "Unknown.",
            "403…": "Out of the token's scope.",
            "any other id": "8 to 60 enrollments of all four types, always the same.",
            "ada.31@example.com": "The address of user 31; several numbers are several users, and"
            " an address without a number is nobody's.",
        },
        "Faults, as WHERE:WHAT, separated by commas": {
            "WHERE": "page=N, request=N, user=ID, joined by +; or * for everywhere. Page 0 is the"
            " look-up of an address.",
            "WHAT": "A status (400, 401, 403, 404, 406, 429, 5xx), 429/0.42 or 503/5 with that"
            " Retry-After, 400/TEXT with that message, or a name below.",
            "xK": "At the end: K times instead of once; x* for always.",
            **dict(sorted({**IN_THE_ANSWER, **ON_THE_WAY}.items())),
        },
    }
