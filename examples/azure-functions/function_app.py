"""Serve the HTTP API as a function app."""

import azure.functions as func

from connector.server import application

app = func.WsgiFunctionApp(app=application, http_auth_level=func.AuthLevel.ANONYMOUS)
