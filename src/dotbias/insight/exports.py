"""A map in the formats of two tools to look around in: TensorBoard's projector and embedding-atlas.

Both get what the map was made from as well: the projector the vectors, which it places anew in two or
three dimensions, and embedding-atlas the neighbours in the space of the vectors, which it shows beside
those on the plane.
"""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index
from dotbias.data.write import write_table
from dotbias.models.base import Array
from dotbias.whole_file import FileKind, outputs, whole_file

_CONFIG = """\
embeddings {{
  tensor_name: "{name}"
  tensor_path: "vectors.tsv"
  metadata_path: "metadata.tsv"
}}
"""
_CONFIG_NAME = "projector_config.pbtxt"


def _is_projector(path: Path) -> bool:
    """Whether a file lies in a folder that ``write_projector`` has filled."""
    try:
        written = path.with_name(_CONFIG_NAME).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return re.fullmatch(_CONFIG.format(name=r"\w+").replace("{", r"\{"), written) is not None


_PROJECTOR = FileKind("map for the projector", is_ours=_is_projector, makes_folder=True)
MAP_TABLE = FileKind("table of a map", (".parquet",))


def projector_files(folder: Path) -> list[tuple[Path, FileKind]]:
    """The files of a folder that ``write_projector`` fills, and their kind."""
    names = (_CONFIG_NAME, "metadata.tsv", "vectors.tsv")
    return [(folder / name, _PROJECTOR) for name in names]


def write_projector(
    folder: str | Path, table: pl.DataFrame, vectors: Array, *, force: bool = False
) -> Path:
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
            these three files are replaced if they are such a map.
        table: a row for each of the n points, as in ``EmbeddingMap``.
        vectors: of the points, shape (n, k), float32.
        force: replace them whatever they are.

    Returns:
        The path of the folder.

    Raises:
        DataError: naming what cannot be written. Nothing half-written is left behind.
    """
    folder = Path(folder)
    id_name = table.columns[0]
    named = projector_files(folder)
    with outputs(named, force=force), ExitStack() as files:
        parts = [files.enter_context(whole_file(*file)) for file in named]
        # Open files, since Polars takes names of UTF-8 only.
        config, metadata, tensor = (files.enter_context(part.open("wb")) for part in parts)
        config.write(_CONFIG.format(name=f"{id_name}s").encode())
        _metadata(table, id_name).write_csv(metadata, separator="\t", quote_style="never")
        numbers = pl.from_numpy(vectors, orient="row")
        numbers.write_csv(tensor, separator="\t", include_header=False)
    return folder


def write_parquet(
    path: str | Path,
    table: pl.DataFrame,
    neighbours: Index,
    similarities: Array,
    *,
    force: bool = False,
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
        force: whether a file that is there is replaced.

    Returns:
        The path of the file.

    Raises:
        DataError: naming the file, when it cannot be written, has another ending, or is there already.
    """
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
    write_table(written, Path(path), MAP_TABLE, force=force)
    return Path(path)


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
