"""What the kernel raises, and for whom."""

from __future__ import annotations


class KernelError(Exception):
    """Base of what the kernel raises in the caller."""


class SpecError(KernelError, ValueError):
    """A supervision tree that cannot work: what, where, what is allowed."""


class MailboxFullError(KernelError):
    """Raised in the sender: a message that is never dropped found its receiver's mailbox full."""


class AskInHandlerError(KernelError):
    """`ask` was called by an actor: a waiting actor can deadlock its neighbours; actors tell and hear replies."""


class UnansweredError(KernelError):
    """Raised in the asker: its question became a dead letter, or was handled without an answer."""


class EscalationError(KernelError):
    """A supervisor gives up: its children failed more often than its budget allows."""


class Fenced(BaseException):
    """This incarnation has been superseded: it may neither hear nor say anything.

    Not an Exception: it ends the thread past any `except Exception` of the actor.
    """
