"""Surfaces and paths, looked at through the figures of the two libraries."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dotbias.errors import SettingError
from dotbias.pictures import SurfacePicture, style_of

X, Y = np.linspace(-2, 2, 41), np.linspace(-1, 3, 31)
ROSENBROCK = (1 - X) ** 2 + 100 * (Y[:, None] - X**2) ** 2


def spiral(n_steps: int, turns: float = 3.0) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi * turns, n_steps + 1)
    return np.column_stack([np.cos(angle), np.sin(angle)]) * np.linspace(1, 0, n_steps + 1)[:, None]


def surface(**settings: Any) -> SurfacePicture:
    described = {"title": "A valley", "x": X, "y": Y, "heights": ROSENBROCK, "minimum": (1, 1)}
    return SurfacePicture(**described | {"paths": {"sgd": spiral(50)}} | settings)


def path_until(figure: Any, frame: Any) -> dict[str, NDArray[np.float64]]:
    """The points of each path that a frame shows, by the colour of its line."""
    return {
        figure.data[place].line.color: np.column_stack([part.x, part.y])
        for place, part in zip(frame.traces, frame.data, strict=True)
        if part.type == "scatter" and figure.data[place].mode == "lines"
    }


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
    one.plotly_figure().to_json()


@pytest.mark.parametrize("height", [0.0, 7.5, float("nan"), float("inf")])
def test_a_surface_without_hills_is_plain_ground(height: float) -> None:
    one = surface(heights=np.full((31, 41), height))
    _, levels = one.levels()
    assert len(levels) == 1
    one._repr_html_()
    one.plotly_figure().to_json()


# Paths


def test_the_axes_end_where_the_surface_does_although_a_path_goes_on() -> None:
    away = surface(paths={"sgd": [(0, 0), (5, 5), (50, -3)]})
    (axes,) = away.figure().axes
    assert axes.get_xlim() == (-2, 2)
    assert axes.get_ylim() == (-1, 3)
    layout = away.plotly_figure().layout
    assert layout.xaxis.range == (-2, 2)
    assert layout.yaxis.range == (-1, 3)


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
    one.plotly_figure().to_json()


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


# Frames


@pytest.mark.parametrize(
    ("n_steps", "n_frames"), [(0, 1), (1, 2), (50, 51), (119, 120), (120, 120), (20_000, 120)]
)
def test_a_page_has_a_frame_and_a_slider_place_for_each_step_up_to_120(
    n_steps: int, n_frames: int
) -> None:
    figure = surface(paths={"sgd": spiral(n_steps)}).plotly_figure()
    names = [frame.name for frame in figure.frames]
    assert len(names) == n_frames
    assert [names[0], names[-1]] == ["0", str(n_steps)]
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == names
    assert [step.args[0][0] for step in slider.steps] == names
    assert slider.active == n_frames - 1
    (menu,) = figure.layout.updatemenus
    assert [button.label for button in menu.buttons] == ["Play", "Pause"]


def test_frames_show_each_path_up_to_their_step() -> None:
    paths = {"sgd": spiral(60), "adam": spiral(20, turns=1)}
    figure = surface(paths=paths).plotly_figure()
    for frame in figure.frames:
        shown = path_until(figure, frame)
        for index, path in enumerate(paths.values()):
            until = path[: int(frame.name) + 1]
            np.testing.assert_allclose(shown[style_of(index).colour], until, atol=1e-6)


def test_each_frame_names_the_surface_without_repeating_its_heights() -> None:
    # Plotly takes away what a frame does not name: the paths ran over white paper.
    figure = surface().plotly_figure()
    assert figure.data[0].type == "contour"
    for frame in figure.frames:
        assert frame.traces[0] == 0
        assert frame.data[0].to_plotly_json() == {"type": "contour"}
        assert all(part.type == "scatter" for part in frame.data[1:])


def test_a_page_tells_plotly_that_a_surface_may_stay_while_paths_move(tmp_path: Path) -> None:
    # Without it the surface flickers, or is gone for as long as the paths grow.
    text = surface().save(tmp_path / "surface.html").read_text("utf-8")
    script = text[text.rindex("Plotly.newPlot(") :]
    assert 'getElementById("picture")' in script
    assert "surface._module.animatable = true" in script
    layout = surface().plotly_figure().layout
    motions = [step.args[1] for step in layout.sliders[0].steps]
    motions += [button.args[1] for button in layout.updatemenus[0].buttons]
    assert all(motion["frame"]["redraw"] for motion in motions)


def test_a_page_opens_with_the_whole_paths() -> None:
    figure = surface().plotly_figure()
    last = path_until(figure, figure.frames[-1])
    (path,) = figure.select_traces({"type": "scatter", "mode": "lines"})
    np.testing.assert_array_equal(np.column_stack([path.x, path.y]), last[path.line.color])
    assert len(path.x) == 51


def test_a_long_path_that_swings_at_each_step_still_does_in_the_page() -> None:
    n_steps = 10_000
    swinging = np.column_stack(
        [np.linspace(-1, 1, n_steps + 1), np.where(np.arange(n_steps + 1) % 2, 0.5, -0.5)]
    )
    figure = surface(paths={"sgd": swinging}).plotly_figure()
    (shown,) = path_until(figure, figure.frames[-1]).values()
    assert len(shown) <= 401
    np.testing.assert_allclose(shown[[0, -1]], swinging[[0, -1]], atol=1e-6)
    turns = np.mean(np.abs(np.diff(shown[:, 1])) == 1)
    assert turns > 0.5


def test_a_page_stays_small_however_long_the_paths_are(tmp_path: Path) -> None:
    short = surface().save(tmp_path / "short.html").stat().st_size
    many = {f"rule {k}": spiral(20_000, turns=k) for k in range(11)}
    long = surface(paths=many).save(tmp_path / "long.html").stat().st_size
    assert long - short < 6_000_000


def test_the_end_of_a_path_is_hidden_with_it() -> None:
    figure = surface(paths={"a": spiral(5), "b": spiral(5)}).plotly_figure()
    for name in ("a", "b"):
        parts = [trace for trace in figure.data if trace.legendgroup == name]
        assert [trace.mode for trace in parts] == ["lines", "lines+markers"]
        assert [trace.showlegend for trace in parts] == [False, None]


def test_a_surface_without_paths_has_nothing_to_play() -> None:
    one = surface(paths={}, minimum=None)
    figure = one.plotly_figure()
    assert not figure.frames
    assert not figure.layout.sliders
    assert [trace.type for trace in figure.data] == ["contour"]
    one._repr_html_()


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
