"""The options by which a command that was killed goes on."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dotbias.cli import planning
from dotbias.errors import SettingError

if TYPE_CHECKING:
    from dotbias.fitting.checkpoints import Checkpoints

_PANEL = "Checkpoints"


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """What a command leaves behind for one that goes on, as typed; None where it was not given."""

    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Leave checkpoints in this folder while fitting; it is removed when the command has "
            "come to its end.",
            metavar="FOLDER",
            rich_help_panel=_PANEL,
        ),
    ] = None
    checkpoint_every: Annotated[
        str | None,
        typer.Option(
            help="Time after a checkpoint from which the next one is due, at the end of an epoch: "
            "seconds, 30s or 5m.",
            metavar="TIME",
            show_default="1m",
            rich_help_panel=_PANEL,
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the checkpoints of the same command, to the same bits as without a break; "
            "where there are none, begin.",
            rich_help_panel=_PANEL,
        ),
    ] = False

    def checkpoints(self) -> "Checkpoints | None":
        """The checkpoints of the command, or None for none.

        Raises:
            SettingError: for options that need a folder, and as ``Checkpoints``.
            DataError: as ``Checkpoints``.
        """
        from dotbias.fitting.checkpoints import EVERY, Checkpoints

        every = EVERY
        if self.checkpoint_every is not None:
            every = planning.seconds(self.checkpoint_every, "--checkpoint-every")
        if self.checkpoint is None:
            if self.resume or self.checkpoint_every is not None:
                option = "--resume" if self.resume else "--checkpoint-every"
                raise SettingError(f"{option}: name the folder of the checkpoints, --checkpoint")
            return None
        return Checkpoints(self.checkpoint, every=every, resume=self.resume)
