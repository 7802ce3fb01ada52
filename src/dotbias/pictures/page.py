"""Pages of HTML in one file: what is common to all (``page.html``), and of each kind a body, a style and
a script of our own, with the data that it draws.
"""

import html
import json
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def page(folder: str, data: dict[str, Any], /, *, rows: str = "", **texts: str) -> bytes:
    """The whole page: one file that asks the network for nothing, and says so to the browser.

    Args:
        folder: of ``body.html``, ``page.css`` and ``page.js``, beside this file.
        data: all that the script reads.
        rows: markup, put in as it is.
        texts: what else stands in the template, as text.
    """
    common = files("dotbias.pictures")
    parts = common / folder
    body = (parts / "body.html").read_text("utf-8")
    whole = (common / "page.html").read_text("utf-8").replace("$body", body)
    text = Template(whole).substitute(
        {name: html.escape(text) for name, text in texts.items()},
        rows=rows,
        style=(parts / "page.css").read_text("utf-8"),
        script=(parts / "page.js").read_text("utf-8"),
        data=_as_text(data),
    )
    return text.encode("utf-8", "replace")


def _as_text(content: dict[str, Any]) -> str:
    """JSON that ends no element, whatever a title holds."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def numbers(values: ArrayLike, digits: int = 7) -> list[float | None]:
    """Numbers of so many digits as JSON has them; what is not finite, a gap, is null.

    >>> numbers([1 / 3, float("nan")], digits=3)
    [0.333, None]
    """
    column = np.asarray(values, np.float64).ravel().tolist()
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in column]
