"""The file of a recommender: what goes in, and the checks that everything passes on the way out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias import model_file
from dotbias.data.ratings import Kind, as_values
from dotbias.data.vocabulary import Vocabulary
from dotbias.errors import DataError, ModelFileError, SettingError
from dotbias.models import MODELS
from dotbias.models.base import Model
from dotbias.models.dot_product import DotProduct, with_joined_parts
from dotbias.models.network import Network
from dotbias.models.parameters import Parameters
from dotbias.plain import from_plain, settings_from_plain, to_plain
from dotbias.recommender.facts import Facts
from dotbias.recommender.fitted import Fitted, Part
from dotbias.solvers.registry import SOLVERS

Arrays = dict[str, NDArray[Any]]
F = TypeVar("F", bound=Fitted)

# Before the name of each array of the model, and of the second one.
_PARAMETERS, _PREFERENCE = "parameters.", "preference."
# As many rows are looked at at a time, so that a look at many millions takes little memory.
_ROWS = 1 << 20
# What is kept of the items beside their ids.
_DESCRIBED = ("titles", "genres")


@dataclass(frozen=True)
class _SavedModel:
    """The model's class, and its settings as plain data."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class _SavedPart:
    """The second model of a file, and what is known of its fit."""

    model: _SavedModel
    facts: Facts


@dataclass(frozen=True)
class _Saved:
    """The metadata of a file."""

    model: _SavedModel
    facts: Facts
    preference: _SavedPart | None = None


def write(path: Path, rec: Fitted, *, half: bool, force: bool = False) -> None:
    """Write a file, whole or not at all.

    Args:
        path: where to.
        rec: what to write.
        half: whether arrays with a row of numbers for each user or item are written in half precision.
        force: whether a file that is no model of ours is replaced.

    Raises:
        ModelFileError: when it cannot be written, or another file is there.
    """
    items = rec.item_vocabulary
    arrays: Arrays = {f"{_PARAMETERS}{n}": array for n, array in rec.parameters.items()}
    second = rec.preference
    if second is not None:
        arrays |= {f"{_PREFERENCE}{n}": array for n, array in second.parameters.items()}
    if half:
        arrays = {n: _in_half(array, *rec.rated.shape) for n, array in arrays.items()}
    arrays |= _pack("user_ids", rec.user_vocabulary.ids) | _pack("item_ids", items.ids)
    for name in _DESCRIBED:
        column = getattr(items, name)
        arrays |= {} if column is None else _pack(name, column)
    arrays |= {
        "rated.starts": rec.rated.indptr.astype(np.int64, copy=False),
        "rated.items": rec.rated.indices.astype(np.int32, copy=False),
        "rated.values": rec.rated.data,
    }
    part = None if second is None else _SavedPart(_as_saved(second.model), second.facts)
    saved = _Saved(_as_saved(rec.model), replace(rec.facts, half_precision=half), part)
    model_file.write(path, arrays, to_plain(saved), force=force)


def in_half(rec: F) -> F:
    """What a file in half precision gives back."""

    def rounded(parameters: Parameters) -> Parameters:
        halves = {name: _in_half(array, *rec.rated.shape) for name, array in parameters.items()}
        return {name: array.astype(parameters[name].dtype) for name, array in halves.items()}

    second = rec.preference
    if second is not None:
        second = replace(second, parameters=rounded(second.parameters))
    return replace(rec, parameters=rounded(rec.parameters), preference=second)


def read(path: Path, model: Model | None = None, *, verify: bool = True) -> Fitted:
    """A ``Fitted`` from its file, no part of another form than other code expects.

    Args:
        path: the file.
        model: what makes the module of a ``Network``, or a model of your own, for a file holds no code.
        verify: whether the file's checksum is looked at; what the arrays hold always is.

    Raises:
        ModelFileError: when the file is missing, truncated, altered or of a newer format, holds another
            kind of model than the one that is given, or something that is not of the right form: it
            names the array or the field.
    """
    arrays, metadata = model_file.read(path, verify=verify)
    try:
        saved = from_plain(_Saved, metadata)
        users = Vocabulary(_ids(arrays, "user_ids"))
        described = (_texts(arrays, name) for name in _DESCRIBED)
        items = Vocabulary(_ids(arrays, "item_ids"), *described)
        for name in _DESCRIBED:
            column = getattr(items, name)
            if column is not None and column.len() != len(items):
                raise DataError(f"{name} are {column.len():,} for {len(items):,} item_ids")
        rated = _rated(arrays, len(users), len(items), saved.facts.kind)
        made, own = _checked(saved.model, model, arrays, _PARAMETERS, rated.shape)
        second = None
        if saved.preference is not None:
            part = saved.preference
            own_part = _checked(part.model, None, arrays, _PREFERENCE, rated.shape)
            second = Part(*own_part, _of_any_version(part.facts))
        return Fitted(made, own, users, items, rated, _of_any_version(saved.facts), second)
    except (DataError, SettingError) as error:
        raise ModelFileError(f"{path} cannot be used: {error}") from error


def _as_saved(model: Model) -> _SavedModel:
    return _SavedModel(type(model).__name__, model.summary())


def _of_any_version(facts: Facts) -> Facts:
    """Facts of older versions have their solver as text, and do not say what its epochs are called."""
    if isinstance(facts.solver, str):
        facts = replace(facts, solver=model_file.plain_of_text(facts.solver))
    if (solver := SOLVERS.get(facts.solver_name or "")) is not None:
        facts = replace(facts, history=replace(facts.history, epochs_are=solver.epochs_are))
    return facts


def _checked(
    saved: _SavedModel, given: Model | None, arrays: Arrays, prefix: str, shape: tuple[int, int]
) -> tuple[Model, Parameters]:
    """A model with its arrays, which are those with a prefix to their names."""
    made = _model(saved, given)
    own = {
        n.removeprefix(prefix): a.astype(np.float32) if a.dtype == np.float16 else a
        for n, a in arrays.items()
        if n.startswith(prefix)
    }
    if isinstance(made, DotProduct):
        own = with_joined_parts(own)
    made.check(own, *shape)
    fitted = made.fitted(own)
    if given is None and fitted != made:
        raise DataError(f"the arrays are those of {fitted}, not of {made}")
    return fitted, own


def _model(saved: _SavedModel, given: Model | None) -> Model:
    name = saved.name
    if given is not None:
        if type(given).__name__ != name:
            raise DataError(f"it holds a {name}, not a {type(given).__name__}")
        return given
    if name not in MODELS:
        raise DataError(f"it holds a {name}, which this version of dotbias lacks")
    if name == Network.__name__:
        make = from_plain(str, saved.settings.get("make"), "model.settings.make")
        raise DataError(
            f"it holds a network of one's own, {make}, and no code: load it in Python with "
            f"Recommender.load(path, model=Network({make}))"
        )
    made: Model = settings_from_plain({name: saved.settings}, MODELS)
    return made


# -- arrays ------------------------------------------------------------------------------------------


def _in_half(array: NDArray[Any], n_users: int, n_items: int) -> NDArray[Any]:
    """An array in half precision, if it has a row of numbers for each user or item, none too large."""
    # Samples and networks have one row more, for those who are not known.
    rows = (n_users, n_users + 1, n_items, n_items + 1)
    if array.dtype != np.float32 or array.ndim < 2 or array.shape[-2] not in rows:
        return array
    fits = max(-array.min(initial=0), array.max(initial=0)) <= np.finfo(np.float16).max
    return array.astype(np.float16) if fits else array


def _array(arrays: Mapping[str, NDArray[Any]], name: str, kind: type[np.generic]) -> NDArray[Any]:
    """An array of one dimension and a given type."""
    if name not in arrays:
        raise DataError(f"the array {name} is missing")
    array = arrays[name]
    if array.dtype != kind or array.ndim != 1:
        raise DataError(
            f"the array {name} must be one row of {np.dtype(kind)}, not {array.dtype} of shape "
            f"{array.shape}"
        )
    return array


def _rated(arrays: Arrays, n_users: int, n_items: int, kind: Kind) -> csr_array:
    """The table of ratings: each user's items in ascending order."""
    starts = _array(arrays, "rated.starts", np.int64)
    items = _array(arrays, "rated.items", np.int32)
    values = _array(arrays, "rated.values", np.float32)
    n = len(items)
    if len(values) != n:
        raise DataError(f"the array rated.values has {len(values):,} ratings for {n:,} rated.items")
    if len(starts) != n_users + 1:
        raise DataError(
            f"the array rated.starts must have {n_users + 1:,} numbers, one more than there are users, "
            f"not {len(starts):,}"
        )
    if starts[0] != 0 or starts[-1] != n or (starts[1:] < starts[:-1]).any():
        raise DataError(f"the array rated.starts must rise from 0 to the number of ratings, {n:,}")
    if n and not 0 <= items.min() <= items.max() < n_items:
        raise DataError(
            f"the array rated.items must hold indices from 0 to {n_items - 1:,}, not {items.min():,} to "
            f"{items.max():,}"
        )
    for begin in range(0, n - 1, _ROWS):
        end = min(begin + _ROWS, n - 1)
        rises = items[begin + 1 : end + 1] > items[begin:end]
        # But from one user's to the next one's.
        first, last = np.searchsorted(starts, (begin + 1, end + 1))
        rises[starts[first:last] - (begin + 1)] = True
        if not rises.all():
            raise DataError("the array rated.items must rise within each user's items")
    if n:
        try:
            as_values(values, kind)
        except DataError as error:
            raise DataError(f"the array rated.values: {error}") from None
    if n <= np.iinfo(np.int32).max:  # otherwise items would be copied to be of the type of starts
        starts = starts.astype(np.int32)
    return csr_array((values, items, starts), shape=(n_users, n_items))


def _ids(arrays: Arrays, name: str) -> pl.Series:
    """Distinct ids, of which there is at least one."""
    ids = pl.Series(_array(arrays, name, np.int64)) if name in arrays else _texts(arrays, name)
    if ids is None or ids.len() == 0:
        raise DataError(f"the array {name} is missing or empty")
    if ids.null_count():
        raise DataError(
            f"the array {name}.lengths leaves out the id in row {ids.is_null().arg_max()}"
        )
    if ids.dtype == pl.String:
        if ids.n_unique() < ids.len():
            raise DataError(f"the ids in {name}.text must be distinct")
    elif not (ids[1:] > ids[:-1]).all():  # they are searched by bisection
        raise DataError(f"the ids in {name} must rise")
    return ids


def _pack(name: str, column: pl.Series) -> Arrays:
    """A column of integers or strings (or nulls) as plain arrays."""
    if column.dtype == pl.Int64:
        return {name: column.to_numpy()}
    lengths = column.str.len_bytes().cast(pl.Int64).fill_null(-1).to_numpy()
    joined = b"".join(
        column.slice(begin, _ROWS).str.join("").item().encode()
        for begin in range(0, column.len(), _ROWS)
    )
    return {f"{name}.text": np.frombuffer(joined, np.uint8), f"{name}.lengths": lengths}


def _texts(arrays: Arrays, name: str) -> pl.Series | None:
    """The column of text that ``_pack`` took apart, or None where there was none."""
    if f"{name}.lengths" not in arrays and f"{name}.text" not in arrays:
        return None
    lengths = _array(arrays, f"{name}.lengths", np.int64)
    joined = _array(arrays, f"{name}.text", np.uint8)
    if lengths.min(initial=0) < -1 or lengths.max(initial=0) > len(joined):
        raise DataError(f"the array {name}.lengths must hold lengths, or -1 for no text")
    parts = [pl.Series(name, [], pl.String)]
    end = 0
    for row in range(0, len(lengths), _ROWS):
        part = lengths[row : row + _ROWS]
        sizes = np.maximum(part, 0)
        ends = np.cumsum(sizes)
        begin, end = end, end + int(ends[-1])
        if end > len(joined):
            break
        places = pl.DataFrame({"begin": ends - sizes, "size": sizes, "is_text": part >= 0})
        text = pl.lit(joined[begin:end].tobytes()).bin.slice(pl.col("begin"), pl.col("size"))
        try:
            parts.append(
                places.select(pl.when("is_text").then(text).cast(pl.String).alias(name)).to_series()
            )
        except pl.exceptions.PolarsError:
            raise DataError(f"the array {name}.text is not text in UTF-8") from None
    if end != len(joined):
        raise DataError(
            f"the array {name}.lengths does not add up to the {len(joined):,} bytes of text"
        )
    return pl.concat(parts, rechunk=True)
