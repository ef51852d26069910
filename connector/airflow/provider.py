"""The provider as Airflow discovers it, before it imports any of its classes."""

from __future__ import annotations

from typing import Any

from connector import __version__

CONNECTION_TYPE = "alm"
HOOK_NAME = "Adobe Learning Manager"
#: Airflow's form of a connection, in ALM's words.
HIDDEN_FIELDS = ["schema"]
RELABELING = {
    "host": "ALM's address",
    "login": "Client id",
    "password": "Access token; with a client id, the client secret",
}
PLACEHOLDERS = {
    "host": "https://learningmanager.adobe.com",
    "login": "empty where the password is an access token",
    "extra": '{"refresh_token": "with a client id: makes new access tokens"}',
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider, as Airflow's ``provider_info.schema.json`` describes it."""
    return {
        "package-name": "alm-enrollments-connector",
        "name": HOOK_NAME,
        "description": "Brings every enrollment of a learner out of Adobe Learning Manager,"
        " or says what is missing.",
        "versions": [__version__],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": "connector.airflow.hook.AlmHook",
                "hook-name": HOOK_NAME,
                # Airflow reads this from 3.2 on; before, the field is a key of Extra.
                "conn-fields": {
                    "refresh_token": {
                        "label": "Refresh token",
                        "schema": {"type": ["string", "null"], "format": "password"},
                        "description": "With a client id and secret: makes new access tokens.",
                    },
                },
                "ui-field-behaviour": {
                    "hidden-fields": HIDDEN_FIELDS,
                    "relabeling": RELABELING,
                    "placeholders": PLACEHOLDERS,
                },
            }
        ],
    }
