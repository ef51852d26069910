"""The command, and the sandbox that it reads over real HTTP."""

from tests.support.process import Command, Finished, command
from tests.support.sandbox import StartSandbox, sandbox, start_sandbox

__all__ = ["Command", "Finished", "StartSandbox", "command", "sandbox", "start_sandbox"]
