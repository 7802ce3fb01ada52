"""Surfaces and paths, looked at through the figures of matplotlib and the data of pages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dotbias.errors import SettingError
from dotbias.pictures import SurfacePicture

X, Y = np.linspace(-2, 2, 41), np.linspace(-1, 3, 31)
ROSENBROCK = (1 - X) ** 2 + 100 * (Y[:, None] - X**2) ** 2


def spiral(n_steps: int, turns: float = 3.0) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi * turns, n_steps + 1)
    return np.column_stack([np.cos(angle), np.sin(angle)]) * np.linspace(1, 0, n_steps + 1)[:, None]


def surface(**settings: Any) -> SurfacePicture:
    described = {"title": "A valley", "x": X, "y": Y, "heights": ROSENBROCK, "minimum": (1, 1)}
    return SurfacePicture(**described | {"paths": {"sgd": spiral(50)}} | settings)


# Levels


def test_levels_are_evenly_spaced_in_the_logarithm_of_the_height_above_the_lowest_point() -> None:
    logs, levels = surface().levels()
    above = ROSENBROCK - ROSENBROCK.min()
    seen = above >= 1e-5 * above.max()
    np.testing.assert_allclose(10 ** logs[seen], above[seen])
    assert len(levels) >= 8
    np.testing.assert_allclose(np.diff(levels), np.diff(levels)[0])
    assert logs.min() < levels[0]
    assert levels[-1] < logs.max()


def test_levels_do_not_hang_on_the_height_of_the_lowest_point() -> None:
    _, levels = surface().levels()
    _, raised = surface(heights=ROSENBROCK + 1000).levels()
    np.testing.assert_allclose(levels, raised, rtol=1e-6)


@settings(max_examples=20)
@given(arrays(float, (4, 5), elements=st.floats() | st.floats(-1, 1) | st.sampled_from([0.0, 1.0])))
def test_any_heights_can_be_drawn(heights: NDArray[np.float64]) -> None:
    one = surface(x=np.arange(5), y=np.arange(4), heights=heights)
    one._repr_html_()
    one.chart()


@pytest.mark.parametrize("height", [0.0, 7.5, float("nan"), float("inf")])
def test_a_surface_without_hills_is_plain_ground(height: float) -> None:
    one = surface(heights=np.full((31, 41), height))
    _, levels = one.levels()
    assert len(levels) == 1
    one._repr_html_()
    one.chart()


# Paths


def test_the_axes_end_where_the_surface_does_although_a_path_goes_on() -> None:
    away = surface(paths={"sgd": [(0, 0), (5, 5), (50, -3)]})
    (axes,) = away.figure().axes
    assert axes.get_xlim() == (-2, 2)
    assert axes.get_ylim() == (-1, 3)


def test_a_point_very_far_away_keeps_its_direction_from_the_last_point_in_sight() -> None:
    start, far = np.array([0.5, 0.25]), np.array([3e20, -1e20])
    path = surface(paths={"sgd": [start, far, -far]}).drawable_paths()["sgd"]
    assert np.abs(path[1]).max() < 1e5
    way = (path[1] - start) / np.linalg.norm(path[1] - start)
    np.testing.assert_allclose(way, far / np.linalg.norm(far), atol=2e-3)
    assert np.isnan(path[2]).all()  # nothing is known of how it went on


def test_points_in_and_near_the_picture_stay_where_they_are() -> None:
    given_path = np.array([(0, 0), (1.5, 2.5), (40, -30), (-60, 10), (1, 1)], float)
    path = surface(paths={"sgd": given_path}).drawable_paths()["sgd"]
    np.testing.assert_allclose(path, given_path, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lost", [float("nan"), float("inf"), 1e308])
def test_a_path_that_is_lost_ends_where_it_was_last_seen(lost: float) -> None:
    path = [(0, 0), (0.5, 0.5), (lost, 0.5), (lost, lost)]
    one = surface(paths={"sgd": path})
    (axes,) = one.figure().axes
    x, y = axes.lines[0].get_data()
    np.testing.assert_array_equal(x[:2], [0, 0.5])
    np.testing.assert_array_equal(y[:2], [0, 0.5])
    assert np.isnan(x[3])
    assert axes.lines[0].get_markevery() == [2 if lost == 1e308 else 1]
    one._repr_html_()
    one.chart()


def test_a_path_ends_with_its_marker_and_the_minimum_is_a_star() -> None:
    one = surface()
    figure = one.figure()
    (axes,) = figure.axes
    assert axes.lines[0].get_markevery() == [50]
    star = [line for line in axes.lines if line.get_marker() == "*"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in star] == [(1, 1)]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["sgd", "minimum"]


def test_the_legend_stands_beside_the_axes() -> None:
    figure = surface().figure()
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert figure.axes[0].get_tightbbox().x1 < box.x0 < box.x1 <= figure.bbox.x1


# HTML


@pytest.mark.parametrize(
    ("n_steps", "n_moments"), [(0, 1), (1, 2), (50, 51), (119, 120), (120, 120), (20_000, 120)]
)
def test_a_page_has_a_moment_for_each_step_up_to_120(n_steps: int, n_moments: int) -> None:
    chart = surface(paths={"sgd": spiral(n_steps)}).chart()
    assert len(chart["moments"]) == n_moments
    assert (chart["moments"][0], chart["moments"][-1]) == (0, n_steps)


def test_a_page_has_the_place_of_each_path_at_each_moment() -> None:
    paths = {"sgd": spiral(6_000), "adam": spiral(20, turns=1)}
    chart = surface(paths=paths).chart()
    for shown, (name, path) in zip(chart["paths"], paths.items(), strict=True):
        assert shown["name"] == name
        assert {m for m in chart["moments"] if m < len(path)} <= set(shown["steps"])
        places = np.column_stack([shown["x"], shown["y"]])
        np.testing.assert_allclose(places, path[shown["steps"]], atol=1e-6)


def test_a_long_path_that_swings_at_each_step_still_does_in_the_page() -> None:
    n_steps = 10_000
    swinging = np.column_stack(
        [np.linspace(-1, 1, n_steps + 1), np.where(np.arange(n_steps + 1) % 2, 0.5, -0.5)]
    )
    (shown,) = surface(paths={"sgd": swinging}).chart()["paths"]
    assert len(shown["y"]) <= 521
    assert np.mean(np.abs(np.diff(shown["y"])) == 1) > 0.5


def test_a_page_stays_small_however_fine_the_surface_and_long_the_paths(tmp_path: Path) -> None:
    x = np.linspace(-2, 2, 1_000)
    many = {f"rule {k}": spiral(20_000, turns=k) for k in range(11)}
    large = surface(x=x, y=x, heights=(1 - x) ** 2 + 9 * x[:, None] ** 2, paths=many)
    assert large.save(tmp_path / "large.html").stat().st_size < 1_000_000
    assert (large.chart()["x"][0], large.chart()["x"][-1]) == (-2, 2)


def test_a_path_that_lies_beneath_another_is_wider() -> None:
    one = surface(paths={"a": spiral(5), "b": spiral(5) + 1e-4, "c": spiral(5) + 0.2})
    assert one.beneath() == {"a": 1, "b": 0, "c": 0}
    (axes,) = one.figure().axes
    assert axes.lines[0].get_linewidth() > axes.lines[2].get_linewidth()


# Descriptions


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"x": Y}, r"heights\): must have the shape \(ny, nx\) = \(31, 31\), not \(31, 41\)"),
        ({"x": X[::-1]}, r"SurfacePicture\(x\): .* ascending"),
        ({"y": [1]}, r"SurfacePicture\(y\): .* at least two"),
        ({"paths": {"sgd": [1, 2]}}, r"paths\['sgd'\]\): .*\(n_steps \+ 1, 2\), not \(2,\)"),
        ({"paths": {"sgd": np.empty((0, 2))}}, r"not \(0, 2\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(described: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        surface(**described)
