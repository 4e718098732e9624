"""The errors that a user can meet. Each names the thing, the place and the next step."""


class RingserverStatsError(Exception):
    """Base of all errors below; ``exit_code`` is what the command line ends with."""

    exit_code = 2


class UsageError(RingserverStatsError):
    """The command, its options, a setting or a name do not fit."""


class SourceError(RingserverStatsError):
    """A file or folder cannot be read at all."""


class ServiceError(RingserverStatsError):
    """A service that something is sent to cannot be reached, or refuses it."""

    exit_code = 3


class ExportError(ServiceError):
    """An exporter cannot be reached, or does not take all; ``status`` is that of its answer, or 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_away(self) -> bool:
        """Whether it would say the same of every day just now."""
        return self.status in (0, 401, 403, 404, 429) or self.status >= 500


class StoreError(RingserverStatsError):
    """The store cannot be used; nothing of the current batch was stored."""

    exit_code = 3


class MissingSecretError(StoreError):
    """The secret of the store is not where it should be."""


class BusyError(StoreError):
    """Another process has used the store for too long."""
