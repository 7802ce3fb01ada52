"""The picture of a map: what goes into the page, and labels that stay apart in the image."""

import json
import re
from itertools import combinations

import numpy as np
import pytest

from dotbias.errors import SettingError
from dotbias.pictures import Amounts, Groups, MapPicture
from dotbias.pictures.map_png import _MOST_LABELS
from dotbias.pictures.palette import GROUNDS, INKS

N = 300
NASTY = [
    "<script>alert(1)</script>",
    "</script><!--",
    "$x^2$ and \\frac",
    "\u2028",
    "_under",
    "日本 🎬",
    "",
]


def picture(n=N, **changed):
    rng = np.random.default_rng(0)
    settings = {
        "title": "A map",
        "x": rng.normal(size=n),
        "y": rng.normal(size=n),
        "labels": [*NASTY, *(f"A film of number {i} (19{i % 100})" for i in range(n))][:n],
        "facts": {"ratings": np.arange(n), "bias": rng.normal(size=n).astype(np.float32)},
        "colourings": (
            Groups(name="kind", names=tuple("abcdefghijk"), of_point=np.arange(n) % 12 - 1),
        ),
        "sizes": np.arange(n)[::-1],
        "neighbours": np.tile(np.arange(3) % n, (n, 1)),
        "similarities": np.tile([0.91234, 0.5, -0.2], (n, 1)),
    }
    return MapPicture(**settings | changed)


def data(page):
    """What the script of a page reads."""
    (text,) = re.findall(
        r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL
    )
    return json.loads(text)


# -- the page ------------------------------------------------------------------------------------


def test_the_page_holds_all_labels_as_data_and_none_as_markup(tmp_path):
    page = picture().save(tmp_path / "map.html").read_text("utf-8")
    content = data(page)
    assert content["labels"] == list(picture().labels)
    assert "<script>alert" not in page
    assert page.count("</script>") == 2
    assert "\u2028" not in page


def test_the_page_names_no_other_place(tmp_path):
    page = picture().save(tmp_path / "map.html").read_text("utf-8")
    assert "://" not in page
    assert "default-src 'none'" in page


def test_title_note_and_warning_are_text(tmp_path):
    texts = {name: f"<b>{name}</b> & more" for name in ("title", "note", "warning")}
    page = picture(**texts, evidence={"<i>": "<u>"}).save(tmp_path / "map.html").read_text("utf-8")
    for name in texts:
        assert f"&lt;b&gt;{name}&lt;/b&gt; &amp; more" in page
        assert f"<b>{name}" not in page
    assert "<th>&lt;i&gt;</th><td>&lt;u&gt;</td>" in page


def test_places_keep_their_proportions(tmp_path):
    one = picture(x=np.linspace(5, 9, N), y=np.linspace(-1, 1, N))
    content = data(one.save(tmp_path / "map.html").read_text("utf-8"))
    assert (content["x"][0], content["x"][-1]) == (0, 1)
    assert (content["y"][0], content["y"][-1]) == (0, 0.5)


def test_numbers_are_short_and_what_is_missing_is_null(tmp_path):
    bias = np.array([1.23456, np.nan, np.inf, *range(N - 3)], np.float32)
    content = data(picture(facts={"bias": bias}).save(tmp_path / "map.html").read_text("utf-8"))
    assert content["facts"]["bias"][:4] == [1.235, None, None, 0.0]
    assert content["similarities"][0] == [0.912, 0.5, -0.2]


def test_groups_are_their_own_members_unless_told_otherwise(tmp_path):
    content = data(picture().save(tmp_path / "map.html").read_text("utf-8"))
    assert content["colourings"][0]["members"][:3] == [[], [0], [1]]
    groups = Groups(name="g", names=("a", "b"), of_point=np.zeros(N, int), members=[(0, 1)] * N)
    other = picture(colourings=(groups,)).save(tmp_path / "map.html").read_text("utf-8")
    assert data(other)["colourings"][0]["members"][0] == [0, 1]


# -- scales of numbers ---------------------------------------------------------------------------


def test_a_scale_goes_from_the_first_to_the_last_hundredth():
    share, (low, high) = Amounts(name="a", values=[*range(101), np.nan]).on_scale()
    assert (low, high) == (1, 99)
    assert (share[0], share[1], share[50], share[99], share[100]) == (0, 0, 0.5, 1, 1)
    assert np.isnan(share[101])


def test_a_logarithmic_scale_has_no_place_for_zero():
    share, (low, high) = Amounts(name="a", values=[0, -1, 1, 100], log=True).on_scale()
    assert np.isnan(share[:2]).all()
    assert share[2:].tolist() == [0, 1]
    assert (low, high) == pytest.approx((1, 100), rel=0.1)


@pytest.mark.parametrize("values", [[3.0, 3.0], [np.nan, np.nan], [np.inf, -np.inf]])
def test_equal_or_missing_numbers_have_a_scale_too(values, tmp_path):
    share, ends = Amounts(name="a", values=values).on_scale()
    assert not np.isinf(share).any()
    assert np.isfinite(ends).all()
    two = picture(2, colourings=(Amounts(name="a", values=values),))
    two.save(tmp_path / "map.png")
    two.save(tmp_path / "map.html")


# -- the image -----------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", GROUNDS)
def test_labels_never_overlap_and_are_never_cut(theme):
    figure = picture(theme=theme).figure()
    renderer = figure.canvas.get_renderer()
    (axes,) = figure.axes
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert 15 < len(boxes) <= _MOST_LABELS
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    inside = axes.get_window_extent(renderer)
    for box in boxes:
        assert inside.x0 <= box.x0 <= box.x1 <= inside.x1
        assert inside.y0 <= box.y0 <= box.y1 <= inside.y1


def test_the_best_known_are_named_first():
    points = np.arange(5) * 10.0
    five = picture(5, x=points, y=points, labels=list("abcde"), sizes=[1, 9, 5, 0, 3])
    assert [text.get_text() for text in five.figure().axes[0].texts] == list("bcead")
    close = picture(
        5, x=points * 0, y=points * 0, labels=["long label " * 2] * 5, sizes=[1, 9, 5, 0, 3]
    )
    assert 1 <= len(close.figure().axes[0].texts) < 5


def test_labels_are_shortened_and_no_formula():
    label = "$x$ " + "long " * 20
    (text,) = picture(1, labels=[label], sizes=[1], x=[0], y=[0]).figure().axes[0].texts
    assert text.get_text().startswith("$x$ long")
    assert text.get_text().endswith("…")
    assert len(text.get_text()) <= 28
    assert not text.get_parse_math()


@pytest.mark.parametrize("theme", GROUNDS)
def test_the_legend_names_the_first_eight_groups_and_the_others(theme):
    (legend,) = picture(theme=theme).figure().legends
    assert [text.get_text() for text in legend.get_texts()] == [*"abcdefgh", "other"]
    assert legend.get_texts()[0].get_color() == INKS[theme]
    few = Groups(name="kind", names=("_x", "y"), of_point=np.arange(N) % 2)
    (legend,) = picture(colourings=(few,)).figure().legends
    assert [text.get_text() for text in legend.get_texts()] == ["_x", "y"]


def test_a_scale_has_a_bar_with_its_ends():
    figure = picture(colourings=(Amounts(name="$bias$", values=np.linspace(-1, 1, N)),)).figure()
    bar = figure.axes[1]
    assert bar.get_ylabel() == "$bias$"
    assert bar.get_ylim() == pytest.approx((-0.98, 0.98), abs=0.01)


def test_the_small_print_says_how_good_the_map_is():
    one = picture(note="A note.", warning="It is poor.", evidence={"trust": "0.5"})
    assert one.figure()._supxlabel.get_text() == "A note. Trust: 0.5. It is poor."


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_points_and_points_in_one_place_can_be_drawn(n, tmp_path):
    for spread in (0, 1):
        few = picture(n, x=spread * np.arange(n), y=np.zeros(n))
        for ending in ("png", "html"):
            assert few.save(tmp_path / f"map.{ending}").stat().st_size > 1_000


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": []}, "at least one point"),
        ({"colourings": ()}, "colourings.*at least one"),
        ({"theme": "pink"}, "theme='pink'.*light or dark"),
        ({"x": [1, 2]}, r"MapPicture\(x\): must have the shape \(300,\), not \(2,\)"),
        ({"sizes": np.ones((N, 1))}, r"sizes.*shape \(300,\)"),
        ({"facts": {"year": [1]}}, r"facts\['year'\].*shape \(300,\)"),
        ({"colourings": (Amounts(name="b", values=[1.0]),)}, r"colourings\['b'\]"),
        ({"neighbours": np.zeros((N, 2), int)}, r"neighbours, similarities.*\(300, 2\)"),
        ({"y": np.full(N, np.nan)}, "must be finite"),
    ],
)
def test_a_field_of_the_wrong_shape_is_named(wrong, message):
    with pytest.raises(SettingError, match=message):
        picture(**wrong)
