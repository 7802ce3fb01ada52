"""Where items lie on a plane, worked out in a process of its own.

``python -m dotbias.serving.placing MODEL``, at low priority, prints one line of JSON: a ``Placed``, or
the reason why there is none.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from dotbias.errors import DotbiasError
from dotbias.insight.maps import embedding_map
from dotbias.models.parameters import Array
from dotbias.recommender.recommender import Recommender

NICE = 10
Method: TypeAlias = Literal["t-sne", "pca"]

# A page shows so many points at most: those with the most ratings.
MOST_POINTS = 4_000


@dataclass(frozen=True)
class Placed:
    """Items on a plane.

    Args:
        vectors: fingerprint of the embeddings that were placed.
        items: indices of the items, shape (n,).
        x, y: where they lie, shape (n,).
        method: what placed them.
        note: what is shown and how it came about.
        warning: what is wrong with the map; empty where it can be believed.
    """

    vectors: str
    items: list[int]
    x: list[float]
    y: list[float]
    method: Method
    note: str
    warning: str


def fingerprint(vectors: Array) -> str:
    """What tells these embeddings from others."""
    return sha256(vectors.tobytes()).hexdigest()


def placed(rec: Recommender) -> Placed:
    """The best-known items of a model, by t-SNE where it is installed, else by principal components.

    Raises:
        DotbiasError: for a model without embeddings, or with too few items.
    """
    method: Method = "t-sne" if find_spec("openTSNE") else "pca"
    made = embedding_map(rec, method=method, max_points=MOST_POINTS, n_threads=1, progress=False)
    items = rec.item_vocabulary.indices(made.table["item"])
    return Placed(
        vectors=fingerprint(rec.compared_by(None).unit_vectors),
        items=items.tolist(),
        x=made.table["x"].to_list(),
        y=made.table["y"].to_list(),
        method=method,
        note=made.note,
        warning=made.warning,
    )


def main() -> None:
    """What the service starts."""
    os.nice(NICE)
    (model,) = sys.argv[1:]
    try:
        said = asdict(placed(Recommender.load(Path(model))))
    except DotbiasError as error:
        said = {"reason": str(error)}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
