"""One token and one quota gate for each credential, whichever request brings it. Holds no more of them than it is told."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from connector.alm.auth import TokenSource
from connector.alm.rate_limit import RateLimiter
from connector.redact import Redactor
from connector.runner import Shared

if TYPE_CHECKING:
    from connector.settings import Credentials


@dataclass(frozen=True, slots=True)
class Held:
    """What all runs on a credential share, and the secrets that must be in none of their answers."""

    shared: Shared
    redactor: Redactor


class AccountCache:
    """Keeps what was used last, at most so many; *secrets* are in nobody's answers."""

    def __init__(self, most: int, *secrets: str) -> None:
        self._most = most
        self._secrets = secrets
        self._lock = threading.Lock()
        # By a hash: what is on the shelf names no credential.
        self._held: OrderedDict[bytes, Held] = OrderedDict()

    def take(self, credentials: Credentials, quota_share: float) -> Held:
        """Return what *credentials* have in common with every other run on them."""
        values = [
            secret.get_secret_value()
            for one in fields(credentials)
            if (secret := getattr(credentials, one.name))
        ]
        names = [one.name for one in fields(credentials) if getattr(credentials, one.name)]
        key = hashlib.sha256(json.dumps([names, values]).encode()).digest()
        with self._lock:
            held = self._held.pop(key, None) or self._made(credentials, values, quota_share)
            self._held[key] = held
            while len(self._held) > self._most:
                self._held.popitem(last=False)
            return held

    def _made(self, credentials: Credentials, values: list[str], quota_share: float) -> Held:
        redactor = Redactor()
        for secret in (*self._secrets, *values):
            redactor.add(secret)
        return Held(Shared(TokenSource(credentials, redactor), RateLimiter(quota_share)), redactor)

    def __len__(self) -> int:
        """Return how many are held."""
        return len(self._held)
