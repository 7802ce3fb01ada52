"""Excel workbooks, whose members are their sheets."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from dotbias.data.sources.archives import Zip
from dotbias.data.sources.blob import PARSER_ERRORS, Blob, damaged
from dotbias.data.sources.containers import Container
from dotbias.errors import DataError
from dotbias.extras import install

if TYPE_CHECKING:
    from collections.abc import Sequence


class Workbook(Container):
    """A workbook (``.xlsx``); each sheet as the CSV that Excel would make of it.

    So whatever is recognised in text, from a header to a title row, is recognised here, and a row of the
    text is a row of the sheet.
    """

    noun = "sheets"

    def __init__(self, blob: Blob) -> None:
        super().__init__(blob.name)
        self.blob = blob

    def names(self) -> "Sequence[str]":
        """See ``Container``."""
        sheets = list(self._book.sheet_names)
        if len(sheets) == 1:
            return sheets
        # Excel used to make three, of which two stayed empty.
        return [sheet for sheet in sheets if self._sheet(sheet, n_rows=1).total_height]

    def member(self, name: str) -> Blob:
        """See ``Container``."""
        where = f"{self.name}/{name}" if len(self._book.sheet_names) > 1 else self.name
        frame: pl.DataFrame = self._sheet(name).to_polars()
        return Blob(where, _as_csv(frame).encode(), self.blob.limit, format="Excel workbook")

    def _sheet(self, name: str, n_rows: int | None = None) -> Any:
        try:
            return self._book.load_sheet(
                name, header_row=None, skip_rows=0, n_rows=n_rows, dtypes="string"
            )
        except (*PARSER_ERRORS, self._errors) as error:
            raise damaged(f"{self.name}/{name}", "Excel workbook", error) from error

    @cached_property
    def _book(self) -> Any:
        try:
            import fastexcel
        except ImportError as error:
            raise DataError(
                f"{self.name}: Excel workbooks are read with fastexcel: {install('excel')}, "
                "or save the sheet as CSV"
            ) from error
        # Checksums and the limit are looked at here, for the reader asks for neither.
        archive = Zip(self.blob)
        for name in archive.names():
            archive.member(name)
        try:
            return fastexcel.read_excel(self.blob.read())
        except (*PARSER_ERRORS, self._errors) as error:
            raise damaged(self.name, "Excel workbook", error) from error

    @property
    def _errors(self) -> type[Exception]:
        import fastexcel

        found: type[Exception] = fastexcel.FastExcelError
        return found


def _as_csv(frame: pl.DataFrame) -> str:
    """The cells as text, without empty columns; a row above the table is an empty line."""
    frame = frame[[column.name for column in frame if column.null_count() < frame.height]]
    filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    above = filled[0] if filled.len() else 0
    return "\n" * above + frame[above:].write_csv(include_header=False)
