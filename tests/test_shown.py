"""What a prompt or a notebook shows of every result: short, well-formed, and all text is text."""

import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from importlib import import_module
from typing import Any

import numpy as np
import polars as pl
import pytest

import dotbias as db
from dotbias.errors import DataError
from dotbias.insight.curvature import Slice
from dotbias.insight.spectrum import SpectralDensity
from dotbias.pictures.palette import style_of
from dotbias.pictures.picture import Picture
from dotbias.recommender.fitted import Fitted
from dotbias.settings import Settings
from dotbias.shown import Shown, as_html, brief
from dotbias.solvers.epochs import EpochLoop

HOSTILE = "<script>alert('1 & 2')</script>"
# Nothing closes these.
VOID = {"img", "br", "meta"}


def public_members(kind: type) -> Iterator[Any]:
    """What completion offers of a class: its methods and properties, as functions."""
    names = dir(kind)
    if issubclass(kind, Fitted):
        names = dir(db.Recommender.__new__(db.Recommender))
    for name in names:
        if not name.startswith("_"):
            member = inspect.getattr_static(kind, name, None)
            for inner in ("fget", "__func__", "func"):  # properties, class methods, cached ones
                member = getattr(member, inner, member)
            if inspect.isfunction(member):
                yield member


def result_types() -> set[type]:
    """Every class of ours that a public function, or a method of what it returns, may give."""
    by_name: dict[str, set[type]] = {}
    for module in pkgutil.walk_packages(db.__path__, "dotbias."):
        if re.match(r"dotbias\.(serving|cli|testing|__main__|sklearn)", module.name) is None:
            for name, kind in vars(import_module(module.name)).items():
                if inspect.isclass(kind) and kind.__module__ == module.name:
                    by_name.setdefault(name, set()).add(kind)
    found: set[type] = set()

    def follow(annotation: object) -> None:
        for name in re.findall(r"\w+", str(annotation)):
            for kind in by_name.get(name, ()):
                visit(kind)

    def visit(kind: type) -> None:
        # Settings' methods are for whoever writes one; errors and tuples show themselves.
        if kind in found or issubclass(kind, (BaseException, Settings)):
            return
        found.add(kind)
        if issubclass(kind, EpochLoop):  # so are its methods
            return
        for member in public_members(kind):
            follow(inspect.signature(member).return_annotation)
        if is_dataclass(kind):
            for spec in fields(kind):
                follow(spec.type)

    for name in db.__all__:
        public = getattr(db, name)
        if inspect.isclass(public):
            visit(public)
        elif callable(public):
            follow(inspect.signature(public).return_annotation)
    follow(inspect.signature(db.GradientDescent.start).return_annotation)
    return {kind for kind in found if not issubclass(kind, tuple)}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[Any]:
    """One of each result, of items whose titles are markup."""
    ratings, truth = db.simulate(n_users=60, n_items=40, n_ratings=1500, seed=0)
    ids = ratings.item_vocabulary.ids
    titles = pl.DataFrame(
        {"id": ids, "title": [f"{HOSTILE} {id}" for id in ids], "genres": [HOSTILE] * len(ids)}
    )
    ratings = replace(ratings, item_vocabulary=ratings.item_vocabulary.with_titles(titles))
    told = pl.DataFrame({"id": ids, "kind": [HOSTILE] * len(ids)})
    ratings = ratings.with_features(items=told, ratings={"mood": np.arange(len(ratings)) % 2})
    train, test = ratings.split(0.2, seed=1)
    model, solver = db.DotBias(n_factors=3), db.GradientDescent(n_epochs=3)
    rec = db.fit(train, model, solver, preference=db.ImplicitALS(n_iterations=1), seed=0)
    stars = rec.by("rating")
    item, user = train.item_vocabulary.raw(0), train.user_vocabulary.raw(0)
    new = db.Ratings.from_columns([user, 10_001], [item, item], [3.0, 3.0])
    two, cut = np.array([2.0, 1.0]), np.arange(9.0)
    bent = db.Curvature(
        model="DotBias",
        n_parameters=300,
        n_ratings=len(train),
        loss=0.3,
        gradient_norms={"user_bias": 0.1},
        largest=two,
        smallest=-two,
        gauss_newton_largest=two,
        gauss_newton_smallest=two,
        density=SpectralDensity(two, two, 300),
        slice=Slice(cut, cut, np.add.outer(cut, cut), (2.0, 1.0), (0.0, 0.0)),
    )
    run = solver.start(model, train).run(1)
    prepared = db.prepare(train, tmp_path_factory.mktemp("shown") / "ratings.blocks")
    return [
        *(truth, ratings, rec, stars.partial_fit(new), rec.training_ratings()),
        db.fit(train, budget=30),
        db.evaluate(rec, test, new_users="fold"),
        db.cross_validate(ratings, db.Baseline(), n_folds=2, ranking=True),
        db.lr_find(model, solver, train, n_trials=1),
        db.race(train, [db.SGD(), db.Adam()], model, solver, rates={"sgd": 0.02, "adam": 0.01}),
        db.surface_race("valley", [db.SGD()], n_steps=5),
        db.tune(train, db.ALS(weight_decay=3.0, n_iterations=3), n_trials=10),
        db.principal_components(stars, n=1, k=2),
        db.neighbour_stability(stars, item, k=2, n_fits=1),
        db.embedding_map(stars, method="pca"),
        db.choose_solver(train),
        db.convergence(db.Gibbs(n_samples=8, burn_in=4), train),
        bent,
        *(rec.explain(user, item), rec.explain(user, item, of="rating")),
        *(rec.fold_in_user({item: 3}), rec.fold_in_item({user: 3})),
        *(run, run.checkpoint(), model, solver, prepared),
        *(rec.preference, style_of(0), db.read_ratings(ratings.to_frame())),
    ]


def with_parts(results: list[Any]) -> list[Any]:
    """The results and all that their public names hold, one of each class."""
    found: dict[type, Any] = {}
    seen: dict[int, Any] = {}  # kept, lest another get the number

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            value = tuple(value.values())
        if isinstance(value, (list, tuple)):
            for each in value[:3]:
                visit(each)
        elif type(value).__module__.startswith("dotbias.") and id(value) not in seen:
            seen[id(value)] = value
            found.setdefault(type(value), value)
            for name in () if isinstance(value, (Settings, EpochLoop)) else dir(value):
                held = inspect.getattr_static(type(value), name, None)
                if not name.startswith("_") and not callable(held):
                    visit(getattr(value, name, None))
            if callable(getattr(value, "picture", None)):
                visit(value.picture())
            if callable(getattr(value, "surface", None)):
                visit(value.surface())

    for result in results:
        visit(result)
    return list(found.values())


class Markup(HTMLParser):
    """Elements that are opened and closed, and the text between."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.styles = ""
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.styles += dict(attrs).get("style") or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def pages(results: list[Any]) -> list[tuple[Any, str]]:
    """Each, and what a notebook shows of it; pictures are shown with what they are of."""
    made = with_parts(results)
    return [(v, "<img>" if isinstance(v, Picture) else v._repr_html_()) for v in made]


def test_no_class_of_results_is_forgotten(pages: list[tuple[Any, str]]) -> None:
    """A new class joins by ``Shown`` among its bases, and above by one of its kind."""
    wanted = {kind for kind in result_types() if not inspect.isabstract(kind)}
    assert {kind.__name__ for kind in wanted if not issubclass(kind, Shown)} == set()
    made = tuple({type(value) for value, _ in pages})
    assert {k.__name__ for k in wanted if not any(issubclass(own, k) for own in made)} == set()


def test_every_result_is_a_short_line(pages: list[tuple[Any, str]]) -> None:
    for value, _ in pages:
        line = repr(value)
        assert len(line) <= 2_000, line
        assert not re.search(r"array\(|\n| at 0x|shape: \(", line), line


def test_every_result_is_a_page_without_colours(pages: list[tuple[Any, str]]) -> None:
    tags = {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "img"}
    for value, page in pages:
        markup = Markup(page)
        assert not markup.open, value
        assert markup.seen <= tags, value
        assert "color" not in markup.styles, value
        assert "background" not in markup.styles, value
        assert markup.text or "img" in markup.seen, value
        assert "Gain(" not in markup.text, value  # what has a sentence says it
        assert len(re.sub(r"base64,[^\"]*", "", page)) < 30_000, value


def test_titles_are_text(pages: list[tuple[Any, str]]) -> None:
    escaped = {type(v).__name__ for v, page in pages if "&lt;script&gt;alert(" in page}
    assert escaped >= {"Components", "Explanation", "NeighbourStability", "Vocabulary"}
    assert not any("<script" in page for _, page in pages)


def test_a_picture_that_cannot_be_drawn_is_left_out(results, monkeypatch):
    (curve,) = (value for value in results if isinstance(value, db.LrCurve))
    assert "<img" in curve._repr_html_()

    def refuse(*_):
        raise DataError("drawing needs the extra")

    monkeypatch.setattr("dotbias.pictures.common_png.drawing_library", refuse)
    monkeypatch.setattr("dotbias.pictures.picture.drawing_library", refuse)
    page = curve._repr_html_()
    assert "<img" not in page
    assert "steepest" in page


def test_long_tables_say_how_much_more_there_is(results):
    (ratings,) = (v for v in results if isinstance(v, db.Ratings) and v.features is not None)
    page = ratings._repr_html_()
    assert page.count("<tr>") == 7 + 1 + 10
    assert f"and {len(ratings) - 10:,} more" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((3, 4), np.float32), "float32 (3, 4)"),
        (np.float32(0.5), "0.5"),
        (np.True_, "True"),
        (pl.DataFrame({"a": [1, 2]}), "2 rows"),
        ({"a": np.zeros(2), "b": None}, "{'a': float64 (2,), 'b': None}"),
        ([[1.0] * 1000], "[list of 1,000]"),
        (["x" * 50, "x" * 50], "list of 2"),
        (db.fit, "'fit'"),
    ],
)
def test_a_value_in_a_few_words(value, text):
    assert brief(value) == text


def test_names_are_text_too():
    assert "<b>" not in as_html(object(), [{"<b>": "<b>"}, pl.DataFrame({"<b>": ["<b>"]}), "<b>"])
