"""What every container gives: the names of its members, and each of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from dotbias.data.sources.blob import Blob, Frame


class Container(ABC):
    """Several tables in one place: a folder, an archive, a workbook, a database.

    Args:
        name: in messages.
    """

    # What its members are, in messages.
    noun = "files"

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Names of the members, with their endings where they have any.

        Raises:
            DataError: where the container is damaged, or one of them does harm.
        """

    @abstractmethod
    def member(self, name: str) -> Blob | Frame:
        """The member of a name."""
