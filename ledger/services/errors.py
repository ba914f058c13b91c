"""What can keep a command from being decided, told apart by what the caller must do next.

    ServiceError
    ├── Overloaded           the queue is full: come again after ``retry_after_seconds``; nothing was recorded
    ├── Stopping             this process is shutting down: ask another, or come again; nothing was recorded
    ├── DatabaseUnavailable  the database cannot be had: come again; nothing was recorded
    ├── OutcomeUnknown       the commit's outcome is not known: repeat with the same idempotency key
    ├── ClockJumped          the clock ran ahead of all reason: an operator must look; nothing was recorded
    ├── LeftLine             the caller left the line before it was its turn; nothing was recorded
    ├── CommandFailed        this one command cannot be processed (a bug); the rest of its batch went on
    └── UnknownBook          the book does not exist in this database

Invariant: after each of these but ``OutcomeUnknown``, nothing of the command is in the book.
"""


class ServiceError(Exception):
    """A command was not decided."""

    retry_after_seconds: int = 1


class Overloaded(ServiceError):
    """The queue is full. Nothing was recorded."""


class Stopping(ServiceError):
    """The process is shutting down. Nothing was recorded."""


class DatabaseUnavailable(ServiceError):
    """The database cannot be had. Nothing was recorded."""


class OutcomeUnknown(ServiceError):
    """Whether the command was recorded is not known; its idempotency key will tell."""


class ClockJumped(ServiceError):
    """The clock is further ahead than is reasonable; deciding now could expire every hold. Nothing was recorded."""

    retry_after_seconds = 30


class LeftLine(ServiceError):
    """The caller left before it was its turn. Nothing was recorded."""


class CommandFailed(ServiceError):
    """The command could not be processed. Nothing of it was recorded."""


class UnknownBook(ServiceError):
    """There is no such book."""
