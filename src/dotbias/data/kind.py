"""What the values of a table can be."""

from typing import Literal, get_args

Kind = Literal["ratings", "counts", "events"]
KINDS: tuple[Kind, ...] = get_args(Kind)
