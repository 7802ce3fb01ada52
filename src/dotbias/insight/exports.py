"""A map in the formats of two tools to look around in: TensorBoard's projector and embedding-atlas.

Both get what the map was made from as well: the projector the vectors, which it places anew in two or
three dimensions, and embedding-atlas the neighbours in the space of the vectors, which it shows beside
those on the plane.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index
from dotbias.errors import DataError
from dotbias.models.base import Array
from dotbias.whole_file import whole_file

_CONFIG = """\
embeddings {{
  tensor_name: "{name}"
  tensor_path: "vectors.tsv"
  metadata_path: "metadata.tsv"
}}
"""


def write_projector(folder: str | Path, table: pl.DataFrame, vectors: Array) -> Path:
    """Write vectors and what is known of them for TensorBoard's embedding projector.

    The folder holds ``vectors.tsv`` (a line of k numbers for each point, separated by tabs, without a
    header), ``metadata.tsv`` (with a header: ``title``, by which points are labelled, then the other
    columns except ``x`` and ``y``) and ``projector_config.pbtxt``, which names the two. Open it with
    ``tensorboard --logdir FOLDER``. The distances it lists are 1 - cosine once "Spherize data" is not
    ticked; ticked, it takes the mean from all vectors first.

    The projector knows no quotation marks and takes an empty cell for the number 0. So tabs and line
    breaks in a text become spaces, a point without a title gets its id as in ``item 7``, and other
    texts that are missing become ``unknown``.

    Args:
        folder: where the files belong. It is made when it is not there; of a folder that is there,
            these three files are replaced.
        table: a row for each of the n points, as in ``EmbeddingMap``.
        vectors: of the points, shape (n, k), float32.

    Returns:
        The path of the folder.

    Raises:
        DataError: naming what cannot be written. Nothing half-written is left behind.
    """
    folder = Path(folder)
    id_name = table.columns[0]
    with _named_errors(folder), _whole_folder(folder) as place, ExitStack() as files:
        # No file moves into its place before all of them are written.
        names = ("projector_config.pbtxt", "metadata.tsv", "vectors.tsv")
        config, metadata, tensor = (files.enter_context(whole_file(place / n)) for n in names)
        config.write_text(_CONFIG.format(name=f"{id_name}s"), encoding="utf-8")
        _metadata(table, id_name).write_csv(metadata, separator="\t", quote_style="never")
        numbers = pl.from_numpy(vectors, orient="row")
        numbers.write_csv(tensor, separator="\t", include_header=False)
    return folder


def write_parquet(
    path: str | Path, table: pl.DataFrame, neighbours: Index, similarities: Array
) -> Path:
    """Write a map for embedding-atlas, as one Parquet file.

    Columns are those of the table, with ``projection_x`` and ``projection_y`` for ``x`` and ``y``, and
    ``neighbors``: for each point a struct of two lists, ``ids``, the neighbours as numbers of rows of
    this file, counted from 0, and ``distances``, 1 - cosine. Open it with ``embedding-atlas PATH --x
    projection_x --y projection_y --neighbors neighbors --text title``, of users without ``--text``.

    Args:
        path: of the file, ending in ``.parquet``.
        table: a row for each of the n points, as in ``EmbeddingMap``.
        neighbours: rows of the table, nearest first, shape (n, m); -1 stands for none.
        similarities: their cosines, shape (n, m).

    Returns:
        The path of the file.

    Raises:
        DataError: naming the file, when it cannot be written or has another ending.
    """
    path = Path(path)
    if path.suffix.lower() != ".parquet":
        raise DataError(f"cannot write {path}: the name must end in .parquet")
    known = neighbours >= 0
    # Rounding may take the cosine of equal vectors above 1.
    distances = np.maximum(1 - similarities, 0)
    near = pl.DataFrame(
        {"ids": _kept(neighbours, known), "distances": _kept(distances, known)},
        schema={"ids": pl.List(pl.Int32), "distances": pl.List(pl.Float32)},
    )
    written = table.rename({"x": "projection_x", "y": "projection_y"}).with_columns(
        near.to_struct("neighbors")
    )
    with _named_errors(path), whole_file(path) as partial:
        written.write_parquet(partial)
    return path


def _metadata(table: pl.DataFrame, id_name: str) -> pl.DataFrame:
    """What ``metadata.tsv`` holds, with the titles first."""
    texts = pl.col(pl.String).str.replace_all(r"[\t\r\n]+", " ")
    cleaned = table.select(pl.exclude("x", "y")).with_columns(texts)
    label = pl.format(f"{id_name} {{}}", id_name)
    if "title" in table.columns:
        label = pl.when(_filled(pl.col("title"))).then("title").otherwise(label)
    labelled = cleaned.select(label.alias("title"), pl.exclude("title"))
    every = pl.col(pl.String)
    return labelled.with_columns(pl.when(_filled(every)).then(every).otherwise(pl.lit("unknown")))


def _filled(text: pl.Expr) -> pl.Expr:
    """Whether there is more to a text than white space."""
    return text.str.contains(r"\S").fill_null(False)


def _kept(values: NDArray[Any], known: NDArray[np.bool_]) -> list[NDArray[Any]]:
    """Of each row the values that are known."""
    return [row[own] for row, own in zip(values, known, strict=True)]


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """The folder where it is there; else one beside its place, moved there once all has ended well."""
    if folder.is_dir():
        yield folder
        return
    if folder.exists():
        raise OSError("it is there and is no folder")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    partial.mkdir()
    try:
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # gone, where all has ended well


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Give errors of the file system the name of what was to be written."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
