"""The one tree of errors that the keeper raises on purpose.

An error says what was expected, what came instead, and what the operator can do about it.
"""


class KeeperError(Exception):
    """Base of every error raised on purpose; its text is a sentence fit for an operator."""

    def __init__(self, expected: str, came: str, remedy: str) -> None:
        self.expected = expected
        self.came = came
        self.remedy = remedy
        super().__init__(f"expected {expected}, but {came}; {remedy}")


class ConfigError(KeeperError):
    """The configuration can't be used; the daemon refuses to start."""


class ChainError(KeeperError):
    """A node answered something that can't be true or can't be used."""


class SignerError(KeeperError):
    """A key can't be unlocked or refuses to sign."""


class StoreError(KeeperError):
    """The store can't be read or written, or belongs to something else."""


class ProtocolError(KeeperError):
    """A protocol's contracts are not what the configuration says they are."""
