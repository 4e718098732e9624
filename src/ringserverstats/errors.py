"""The errors that users see. A message says what failed, on which object, why, and what to do."""


class RingserverStatsError(Exception):
    """Base of all errors below; ``exit_code`` is the exit code of the command line."""

    exit_code = 2


class UsageError(RingserverStatsError):
    """A command, an option, a setting or a name is invalid."""


class SourceError(RingserverStatsError):
    """A file or folder cannot be read."""


class ServiceError(RingserverStatsError):
    """Another service cannot be reached, or refused a request."""

    exit_code = 3


class ExportError(ServiceError):
    """An export failed; ``status`` is the HTTP status of the response, 0 without a response."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_away(self) -> bool:
        """Whether exports of other days would fail alike."""
        return self.status in (0, 401, 403, 404, 429) or self.status >= 500


class StoreError(RingserverStatsError):
    """The store cannot be used; nothing of the current batch was stored."""

    exit_code = 3


class MissingSecretError(StoreError):
    """The secret of the store is missing."""


class RoleError(StoreError):
    """The role of the database connection may not do this."""


class BusyError(StoreError):
    """Another process locked the store for longer than the lock timeout."""
