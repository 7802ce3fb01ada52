"""Every mistake of a user that dotbias can name, as one family of exceptions.

The command line turns each of them into one message on stderr and an exit code, so a message says
what is wrong, where, and what to do about it.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

# Names that a message lists: there may be as many as columns or ids.
_LISTED = 10


def listed(names: Iterable[object], most: int = _LISTED) -> str:
    """Names in a message: the first few, and how many more there are.

    >>> listed(range(13))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 3 more'
    """
    texts = [str(name) for name in names]
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question about the known name that is most like one that is not known; empty where none is.

    >>> did_you_mean("adm", ["sgd", "adam"]), did_you_mean("als", ["sgd", "adam"])
    ("; did you mean 'adam'?", '')
    """
    by_lower = {each.lower(): each for each in known}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


class DotbiasError(Exception):
    """Base of all errors that are reported to the user without a traceback."""


class DataError(DotbiasError, ValueError):
    """Ratings that cannot be read or used: names the file, row, column and value."""


class NothingLeftError(DataError):
    """Rows of which none is left that says anything: of a part of a source that is no mistake.

    Args:
        text: the message.
        n_bad: how many rows were left out because they are bad.
        bad_sample: the first few of them.
    """

    def __init__(self, text: str, n_bad: int = 0, bad_sample: tuple[Any, ...] = ()) -> None:
        super().__init__(text)
        self.n_bad, self.bad_sample = n_bad, bad_sample


class SettingError(DotbiasError, ValueError):
    """A setting outside its legal range: names the setting, its value and the range."""


class UnknownIdError(DotbiasError, KeyError):
    """A user or item that was not there at training, or a title that is not unique."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would quote and escape the message.
        return str(self.args[0])


class AmbiguousTitleError(UnknownIdError):
    """A title, or a part of one, that several items have."""


class ModelFileError(DotbiasError, ValueError):
    """A model file that is truncated, altered, of a newer format, or no model file at all."""


class DownloadError(DotbiasError, OSError):
    """A named set that could not be fetched or whose checksum does not match."""


class DivergenceError(DotbiasError, ArithmeticError):
    """Training whose loss stopped being finite or kept growing."""
