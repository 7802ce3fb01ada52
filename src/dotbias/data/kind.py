"""What the values of a table can be."""

from typing import Literal, get_args

from dotbias.errors import SettingError

Kind = Literal["ratings", "counts", "events"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class OfKind:
    """What ratings of a kind say of themselves, wherever they lie."""

    kind: Kind

    @property
    def noun(self) -> str:
        """What the rows are called: "ratings", else "interactions"."""
        return "ratings" if self.kind == "ratings" else "interactions"

    def require_ratings(self) -> None:
        """Refuse counts and events, for what predicts ratings.

        Raises:
            SettingError: for any kind but ratings.
        """
        if self.kind != "ratings":
            raise SettingError(
                f"these are {self.kind}: there is nothing to predict in stars; use ImplicitALS (on the "
                "command line --for recommend), or read them with kind='ratings' (--kind ratings)"
            )
