"""Line styles as people with colour-blindness, and copiers, see them."""

from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from dotbias.pictures import LineStyle, style_of, styles
from dotbias.pictures.palette import GREYS, GROUNDS, GROUP_COLOURS, INKS, ON_DARK, SCALES

FIRST = [style_of(index) for index in range(12)]

# What of linear red, green and blue is seen when one kind of cone is missing: Machado, Oliveira &
# Fernandes (2009), table 1, severity 1.
EYES = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def linear(colour: str) -> NDArray[np.float64]:
    """Linear red, green and blue (IEC 61966-2-1)."""
    coded = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* of linear red, green and blue under D65."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / to_xyz.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_lab_of_white_black_and_red_is_known() -> None:
    np.testing.assert_allclose(lab(linear("#ffffff")), [100, 0, 0], atol=0.01)
    np.testing.assert_allclose(lab(linear("#000000")), [0, 0, 0], atol=0.01)
    np.testing.assert_allclose(lab(linear("#ff0000")), [53.24, 80.09, 67.20], atol=0.05)


def colours(theme: str) -> dict[LineStyle, str]:
    return {s: s.colour if theme == "light" else ON_DARK[s.colour] for s in FIRST}


@pytest.mark.parametrize("theme", GROUNDS)
@pytest.mark.parametrize("eyes", EYES)
def test_every_two_of_twelve_lines_differ_in_dash_or_clearly_in_seen_colour(
    eyes: str, theme: str
) -> None:
    seen = {style: lab(EYES[eyes] @ linear(colour)) for style, colour in colours(theme).items()}
    for one, other in combinations(FIRST, 2):
        # 2.3 is just noticeable side by side; thin lines far apart need much more.
        apart = np.linalg.norm(seen[one] - seen[other])
        assert one.dash != other.dash or apart > 20, (one, other, apart)


@pytest.mark.parametrize("theme", GROUNDS)
def test_every_two_of_twelve_lines_differ_in_dash_or_clearly_on_a_grey_print(theme: str) -> None:
    shown = colours(theme)
    for one, other in combinations(FIRST, 2):
        lightness = [lab(linear(shown[style]))[0] for style in (one, other)]
        assert one.dash != other.dash or abs(lightness[0] - lightness[1]) > 15, (one, other)


def test_no_line_fades_into_its_ground() -> None:
    assert all(lab(linear(colour))[0] < 76 for colour in colours("light").values())
    assert all(contrast(colour, GROUNDS["dark"]) >= 3 for colour in colours("dark").values())


def contrast(one: str, other: str) -> float:
    """Contrast of two colours (WCAG 2.2, "contrast ratio")."""
    low, high = sorted(float(linear(colour) @ (0.2126, 0.7152, 0.0722)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", GROUNDS)
def test_points_can_be_seen_on_their_ground_and_texts_read(theme: str) -> None:
    for colour in (*GROUP_COLOURS[theme], *SCALES[theme], GREYS[theme]):
        assert contrast(colour, GROUNDS[theme]) >= 3, colour
    assert contrast(INKS[theme], GROUNDS[theme]) >= 7


@pytest.mark.parametrize("theme", GROUNDS)
@pytest.mark.parametrize("eyes", EYES)
def test_every_two_groups_differ_clearly_in_seen_colour(eyes: str, theme: str) -> None:
    seen = {colour: lab(EYES[eyes] @ linear(colour)) for colour in GROUP_COLOURS[theme]}
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 28, (one, other)


def test_a_group_has_nearly_the_same_hue_on_both_grounds() -> None:
    for colours in zip(GROUP_COLOURS["light"], GROUP_COLOURS["dark"], strict=True):
        hues, chromas = zip(
            *((np.arctan2(b, a), np.hypot(a, b)) for _, a, b in map(lab, map(linear, colours))),
            strict=True,
        )
        turn = abs((hues[0] - hues[1] + np.pi) % (2 * np.pi) - np.pi)
        assert turn < np.radians(20) or max(chromas) < 25, colours


@pytest.mark.parametrize("theme", GROUNDS)
@pytest.mark.parametrize("eyes", EYES)
def test_a_scale_goes_from_light_to_dark_or_back_for_everyone(eyes: str, theme: str) -> None:
    low, middle, high = (lab(EYES[eyes] @ linear(colour))[0] for colour in SCALES[theme])
    steps = np.diff([low, middle, high]) * {"light": -1, "dark": 1}[theme]
    assert (steps > 4).all(), steps


def test_the_first_twelve_have_a_colour_and_a_marker_of_their_own() -> None:
    assert len({style.colour for style in FIRST}) == len({style.marker for style in FIRST}) == 12


def test_forty_eight_styles_are_different() -> None:
    assert len({(style_of(i).colour, style_of(i).dash) for i in range(48)}) == 48


def test_names_have_styles_in_the_order_in_which_they_come() -> None:
    assert styles(["b", "a", "b"]) == {"b": style_of(0), "a": style_of(1)}


def test_names_of_a_fixed_order_keep_their_style_whatever_else_is_drawn() -> None:
    order = ("sgd", "momentum", "adam")
    assert styles(["adam"], order) == {"adam": style_of(2)}
    assert styles(["mine", "adam", "other"], order) == {
        "mine": style_of(3),
        "adam": style_of(2),
        "other": style_of(4),
    }


def test_every_style_can_be_drawn() -> None:
    matplotlib = pytest.importorskip("matplotlib.lines")
    from dotbias.pictures.common_png import DASHES, MARKERS

    script = (files("dotbias.pictures") / "chart_page/page.js").read_text("utf-8")
    for index in range(48):
        style: LineStyle = style_of(index)
        matplotlib.Line2D([0], [0], linestyle=DASHES[style.dash], marker=MARKERS[style.marker])
        assert f'"{style.marker}"' in script or f"{style.marker}:" in script
        assert f"{style.dash}:" in script
