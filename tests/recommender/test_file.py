"""The recommender's file: the same bytes each time, and nothing in it that no other code expects."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dotbias as db
from dotbias import model_file
from dotbias.errors import DataError, ModelFileError
from dotbias.recommender import file
from dotbias.recommender.facts import Facts
from tests.recommender.altered import FINE, attempt, of_this_version
from tests.recommender.altered import GOLDEN as ALL_GOLDEN

GOLDEN = Path(__file__).parent.parent / "golden" / "0.5.0"
Contents = tuple[dict[str, Any], dict[str, Any]]


def test_the_same_recommender_is_the_same_bytes(tmp_path: Path) -> None:
    """The header's entries used to lie in another order each time."""
    rec = db.Recommender.load(GOLDEN / "samples.dotbias")
    for name in ("a", "b"):
        rec.save(tmp_path / name)
    command = "import sys, dotbias; dotbias.Recommender.load(sys.argv[1]).save(sys.argv[2])"
    files = [str(tmp_path / name) for name in "ac"]
    subprocess.run([sys.executable, "-c", command, *files], check=True)
    first, *others = ((tmp_path / name).read_bytes() for name in "abc")
    assert all(other == first for other in others)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=4), min_size=1))
def test_text_comes_back_from_its_bytes(texts: list[str | None]) -> None:
    column = pl.Series("titles", texts, pl.String)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "_ROWS", 3)
        arrays = file._pack("titles", column)
        back = file._texts(arrays, "titles")
    encoded = [None if text is None else text.encode() for text in texts]
    assert arrays["titles.text"].tobytes() == b"".join(text for text in encoded if text is not None)
    assert arrays["titles.lengths"].tolist() == [-1 if t is None else len(t) for t in encoded]
    assert back is not None
    assert back.dtype == pl.String
    assert back.to_list() == texts


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=8))
def test_items_rise_within_each_user_alone(rows: list[list[int]]) -> None:
    """Looked at a few at a time, so that some users' items are in two parts."""
    arrays = {
        "rated.starts": np.cumsum([0, *map(len, rows)]).astype(np.int64),
        "rated.items": np.array([item for row in rows for item in row], np.int32),
    }
    arrays["rated.values"] = np.ones(len(arrays["rated.items"]), np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "_ROWS", 3)
        if all(row == sorted(set(row)) for row in rows):
            table = file._rated(arrays, len(rows), 7, "ratings")
            assert table.indices.dtype == np.int32  # not copied
            assert [table[[u]].indices.tolist() for u in range(len(rows))] == rows
        else:
            with pytest.raises(DataError, match="rise within"):
                file._rated(arrays, len(rows), 7, "ratings")


def test_factors_in_half_precision(tmp_path: Path) -> None:
    rec = db.Recommender.load(GOLDEN.parent / "0.8.0" / "pair.dotbias")
    assert rec.preference is not None
    large = rec.parameters["item_factors"].copy()
    large[0, 0] = 65_505
    rec = replace(rec, parameters=rec.parameters | {"item_factors": large})
    rec.save(tmp_path / "half", half=True)
    rec.save(tmp_path / "single")
    sizes = [(tmp_path / name).stat().st_size for name in ("half", "single")]
    n_bytes = rec.parameters["user_factors"].nbytes
    assert sizes[1] - sizes[0] >= n_bytes // 2
    half = db.Recommender.load(tmp_path / "half")
    assert half.preference is not None
    assert half.facts.half_precision
    assert not db.Recommender.load(tmp_path / "single").facts.half_precision
    for own, others in (
        (half.parameters, rec.parameters),
        (half.preference.parameters, rec.preference.parameters),
    ):
        for name, array in others.items():
            halved = name in ("user_factors", "item_factors") and array is not large
            wanted = array.astype(np.float16).astype(np.float32) if halved else array
            assert own[name].dtype == np.float32
            np.testing.assert_array_equal(own[name], wanted, name)
    half.save(tmp_path / "again")  # in half precision as well
    assert (tmp_path / "again").read_bytes() == (tmp_path / "half").read_bytes()
    half.save(tmp_path / "wide", half=False)
    assert not db.Recommender.load(tmp_path / "wide").facts.half_precision


def test_settings_and_facts_may_come_from_numpy(tmp_path: Path) -> None:
    ratings, _ = db.simulate(20, 15, 100, seed=1)
    model = db.DotBias(n_factors=np.int64(2))  # type: ignore[arg-type]
    rec = db.fit(ratings, model, db.ALS(n_iterations=np.int32(1)), seed=np.int64(3))  # type: ignore[arg-type]
    replace(rec, facts=replace(rec.facts, notes={"share": np.float32(0.5)})).save(tmp_path / "m")
    same = db.Recommender.load(tmp_path / "m")
    assert same.model == db.DotBias(n_factors=2)
    assert (same.facts.seed, same.facts.notes) == (3, {"share": 0.5})
    assert same.facts.solver_text == repr(db.ALS(n_iterations=1, n_steps=0))  # settled


def test_facts_can_be_read_as_plain_data() -> None:
    rec = db.Recommender.load(GOLDEN / "als.dotbias")
    assert rec.facts["history"]["best_epoch"] == rec.facts.history.best_epoch == 4
    text = rec.facts.solver_text
    assert text == rec.facts["solver"]
    # As that version showed it, which had fewer settings.
    assert text.startswith(
        "ALS(n_iterations=4, weight_decay={'user_bias': 0.2}, weighting='rows', "
    )
    assert rec.facts.get("held_out") is None
    assert rec.facts.partial_fits[0].n_new_users == rec.facts["partial_fits"][0]["n_new_users"] == 1
    noted = db.Recommender.of(
        rec.model, rec.parameters, rec.training_ratings(), {"seed": 3, "mood": 1}
    )
    assert noted.facts == Facts(seed=3, notes={"mood": 1})


# -- refusals ----------------------------------------------------------------------------------------


def with_array(name: str, change: Callable[[Any], Any]) -> Callable[[Contents], None]:
    def alter(contents: Contents) -> None:
        contents[0][name] = change(contents[0][name])

    return alter


def with_value(path: str, value: Any) -> Callable[[Contents], None]:
    def alter(contents: Contents) -> None:
        node: Any = contents[1]
        *keys, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
        for key in keys:
            node = node[key]
        node[last] = value

    return alter


def without(name: str) -> Callable[[Contents], None]:
    return lambda contents: contents[0].pop(name)


def put(at: Any, value: Any) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array[at] = value
        return array

    return change


P = "parameters."
REFUSALS = [
    (
        "als",
        with_array(f"{P}user_factors", lambda a: a[:-1]),
        "array user_factors must have",
    ),
    ("als", with_array(f"{P}user_factors", lambda a: a[:, :2].copy()), "user_factors|item_factors"),
    (
        "als",
        with_array(f"{P}item_bias", lambda a: a.astype(np.float64)),
        "array item_bias must be of",
    ),
    (
        "als",
        with_array(f"{P}item_bias", put(3, np.nan)),
        r"array item_bias is not finite: nan at \[3\]",
    ),
    (
        "als",
        with_array(f"{P}item_bias", put(3, 3e38)),
        "item_bias, .* too large for single precision",
    ),
    ("als", with_array(f"{P}scale", put(1, 1e37)), "scale make predictions as large as 1e"),
    ("als", without(f"{P}global_mean"), "array global_mean is missing"),
    ("als", with_array(f"{P}scale", lambda a: a[::-1]), "array scale must go from low to high"),
    ("als", with_array(f"{P}user_prior_mean", lambda a: a[:-1]), "array user_prior_mean must have"),
    (
        "gibbs",
        with_array(f"{P}user_prior_precision", np.negative),
        "user_prior_precision must be at",
    ),
    (
        "gibbs",
        with_array(f"{P}user_prior_precision", put((0, 1), 1e9)),
        "user_prior_precision must be symmetric",
    ),
    ("samples", without(f"{P}item_noise"), "array item_noise is missing"),
    (
        "samples",
        with_array(f"{P}noise_variance", np.negative),
        "array noise_variance holds variances",
    ),
    ("samples", with_array(f"{P}user_samples", lambda a: a[:0]), "item_samples|user_samples"),
    ("samples", with_array(f"{P}user_samples", lambda a: a * np.float32(1e37)), "user_samples"),
    ("sigmoid", with_value("model.settings.margin", 1e300), "predictions"),
    ("sigmoid", with_value("model.settings.margin", -1), "margin must be above 0"),
    ("net", with_value("model.settings.hidden", [10**5]), "must have the shape|is missing|none of"),
    ("net", without(f"{P}output.bias"), "array output.bias is missing"),
    ("net", with_array(f"{P}hidden.1.running_var", np.negative), "running_var holds variances"),
    ("net", with_array(f"{P}n_rows", put(0, 2**40)), "array n_rows must be"),
    ("network", without(f"{P}user_bias.weight"), "missing.*user_bias.weight"),
    ("sgd", with_value("model.settings.n_factors", 4), "arrays are those of .*n_factors=3"),
    ("sgd", with_value("model.settings.n_factors", 10**400), "n_factors must be at least 1"),
    ("sgd", with_value("model.settings.popularity", True), "DotBias has no setting 'popularity'"),
    ("sgd", with_value("model.settings", []), "model.settings must be a dictionary"),
    ("sgd", with_value("model.name", None), "model.name must be text, not None"),
    (
        "sgd",
        with_value("facts.history.epochs.1.train_rmse", np.nan),
        r"epochs\[1\].train_rmse must be",
    ),
    ("sgd", with_value("facts.seed", "x"), "facts.seed must be a whole number, not 'x'"),
    ("sgd", with_value("facts.note", [np.inf]), r"facts.note\[0\] must be a finite number"),
    ("sgd", with_array("rated.starts", put(2, 2**62)), "array rated.starts must rise from 0"),
    (
        "sgd",
        with_array("rated.starts", lambda a: a[:-1]),
        "array rated.starts must have 41 numbers",
    ),
    (
        "sgd",
        with_array("rated.items", put(2, 25)),
        "array rated.items must hold indices from 0 to 24",
    ),
    ("sgd", with_array("rated.items", put(1, 0)), "array rated.items must rise within each user"),
    (
        "sgd",
        with_array("rated.items", lambda a: a.astype(np.int64)),
        "rated.items must be one row of",
    ),
    (
        "sgd",
        with_array("rated.values", put(0, np.inf)),
        "rated.values: rating 0 is not a finite number",
    ),
    ("sgd", with_array("rated.values", lambda a: a[1:]), "rated.values has .* ratings for"),
    ("sgd", with_array("user_ids", put(1, 1)), "ids in user_ids must rise"),
    ("sgd", without("user_ids"), "array user_ids is missing"),
    ("als", with_array("user_ids.lengths", put(1, -1)), "user_ids.* leaves out|add up"),
    ("als", with_array("item_ids.lengths", put(1, 2**62)), "item_ids.lengths must hold lengths"),
    (
        "als",
        with_array("item_ids.text", put(11, ord("1"))),
        "ids in item_ids.text must be distinct",
    ),
    ("als", with_array("titles.text", put(0, 255)), "array titles.text is not text in UTF-8"),
    ("als", without("titles.text"), "array titles.text is missing"),
    (
        "als",
        with_array("genres.lengths", lambda a: np.append(a, 0)),
        "genres are 26 for 25 item_ids",
    ),
]


@pytest.mark.parametrize(
    ("name", "alter", "reason"),
    REFUSALS,
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_what_is_not_of_the_right_form_is_refused_by_name(
    name: str, alter: Callable[[Contents], None], reason: str, tmp_path: Path
) -> None:
    """Its checksum is right: these were tracebacks, NaN, 8 GB of memory, or the end of the process."""
    contents = model_file.read(GOLDEN / f"{name}.dotbias")
    alter(contents)
    model_file.write(tmp_path / "m", *contents)
    from tests.golden.make import Biases

    with pytest.raises(ModelFileError, match=reason) as refused:
        db.Recommender.load(tmp_path / "m", db.Network(Biases) if name == "network" else None)
    assert re.match(re.escape(f"{tmp_path / 'm'} cannot be used: "), str(refused.value))


def test_altered_files_are_refused_or_work(tmp_path: Path) -> None:
    """A sample; ``python -m tests.recommender.altered 10000`` tries many."""
    (tmp_path / "fresh").mkdir()
    sources = [*ALL_GOLDEN, *of_this_version(tmp_path / "fresh")]
    outcomes = {n: attempt(n, tmp_path, sources) for n in range(70)}
    assert {n: outcome for n, outcome in outcomes.items() if outcome not in FINE} == {}
    assert set(outcomes.values()) >= {"refused", "works in part"}
