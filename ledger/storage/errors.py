"""What can go wrong between Bursar and its database, told apart by what the caller must do next.

    StorageError
    ├── Unavailable        cannot connect, or the connection was lost before a commit was asked for: nothing was written
    ├── Busy               the lock was not had before the deadline: nothing was written
    ├── Conflict           the head moved, a deadlock, a serialization failure: decide again from a fresh snapshot
    ├── CommitUnknown      the connection was lost while committing: ask the idempotency keys on a new connection
    ├── Refused            a constraint of the database refused a row: a bug in what was decided, nothing was written
    ├── NoRoom             no partition takes the next records, and none could be made: nothing was written
    ├── RecordArchived     what was asked for was detached from the database and stands in an archive
    ├── BookMissing        the book that was asked for is not in this database
    ├── SchemaOutdated     the tables are not those of this version: run ``bursar migrate``
    └── UnsupportedUrl     the database URL names something that Bursar cannot use

Invariant: no exception of a driver leaves the storage room through the writer seam; each is one of these, with the
driver's own as its cause.
"""


class StorageError(Exception):
    """The database could not do what was asked."""


class Unavailable(StorageError):
    """The database cannot be reached, or was lost before a commit was asked for. Nothing was written."""


class Busy(StorageError):
    """Somebody else held the lock until the deadline. Nothing was written."""


class Conflict(StorageError):
    """The book changed under the decision, or the database broke a deadlock. Nothing was written."""


class CommitUnknown(StorageError):
    """Whether the commit happened is not known."""


class Refused(StorageError):
    """A constraint refused a row. Nothing was written."""


class NoRoom(StorageError):
    """No partition takes the next records, and this role could make none. Nothing was written."""


class RecordArchived(StorageError):
    """The records that were asked for were detached into an archive. The message names it."""


class BookMissing(StorageError):
    """There is no such book in this database."""


class SchemaOutdated(StorageError):
    """The tables of the database are not those that this version needs."""


class UnsupportedUrl(StorageError):
    """The database URL is malformed, or names a database or driver that Bursar does not use."""
