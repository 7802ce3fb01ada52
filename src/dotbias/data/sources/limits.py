"""What packed files may unpack to, so that a small file cannot fill the memory."""

from dataclasses import dataclass

from dotbias.errors import DataError, SettingError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_ADVICE = (
    "if that is right, pass max_unpacked=, the largest size in bytes (on the command line "
    "--max-unpacked, as in --max-unpacked 40GB)"
)


@dataclass(frozen=True)
class Limit:
    """How large the content of a packed file or an archive may be.

    Args:
        largest: bytes of all content.
        ratio: unpacked bytes for each packed one, of files that unpack to more than ``harmless``.
        harmless: bytes below which no ratio is suspect.
    """

    largest: float = 20 * 10**9
    ratio: float = 200
    harmless: float = 10**6

    def fault(self, packed: int, unpacked: int) -> str | None:
        """Why content of this size is refused, where it is.

        >>> Limit().fault(1_000, 900_000) is None, Limit().fault(9_000, 1_000_000) is None
        (True, True)
        >>> Limit().fault(1_000, 2_000_000)
        'is a bomb: it unpacks from 1,000 to 2,000,000 bytes or more, over 200 times its size'
        """
        if unpacked > self.largest:
            return f"unpacks to {unpacked:,} bytes or more, above the limit of {self.largest:,}"
        if unpacked > max(self.harmless, self.ratio * packed):
            return (
                f"is a bomb: it unpacks from {packed:,} to {unpacked:,} bytes or more, over "
                f"{self.ratio:g} times its size"
            )
        return None

    def check(self, name: str, packed: int, unpacked: int) -> None:
        """Refuse content of this size, or what has come of it so far.

        Raises:
            DataError: naming the source and the option.
        """
        if fault := self.fault(packed, unpacked):
            raise DataError(f"{name} {fault}; {_ADVICE}")


LIMIT = Limit()
"""What holds where nobody says."""


def limit_of(max_unpacked: int | str | None) -> Limit:
    """The limit a user has set, as bytes or as text such as ``"40GB"``; no ratio is asked for then.

    Raises:
        SettingError: for what is no size.

    >>> limit_of("40 GB").largest, limit_of(None) == LIMIT
    (40000000000, True)
    """
    if max_unpacked is None:
        return LIMIT
    text = str(max_unpacked).replace(" ", "").upper()
    number = text.rstrip("KMGTB")
    unit = text[len(number) :]
    if not number.isdecimal() or unit not in _UNITS or not int(number):
        raise SettingError(
            f"max_unpacked={max_unpacked!r}: a size in bytes above 0, or as in '40GB', is needed"
        )
    return Limit(int(number) * _UNITS[unit], float("inf"))
