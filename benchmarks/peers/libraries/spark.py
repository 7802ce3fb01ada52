"""Spark: alternating least squares of ratings less their mean, without biases, in local mode."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from method import Answer, Array, Fit, Method, Rows


@cache
def session(n_threads: int) -> Any:
    from pyspark.sql import SparkSession

    made = (
        SparkSession.builder.master(f"local[{n_threads}]")
        .config("spark.driver.memory", "12g")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "8")
        .getOrCreate()
    )
    made.sparkContext.setLogLevel("OFF")
    return made


def als(rows: Rows, seed: int, n_threads: int, **settings: Any) -> tuple[Fit, Answer]:
    import pyarrow
    import pyarrow.parquet
    from pyspark.ml.recommendation import ALS

    columns = {"u": rows.users, "i": rows.items, "r": rows.values - np.float32(rows.mean)}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "rows.parquet")
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        table = session(n_threads).read.parquet(path).repartition(8).cache()
        table.count()
    settings = {"numUserBlocks": 8, "numItemBlocks": 8} | settings
    solver = ALS(**settings, userCol="u", itemCol="i", ratingCol="r", seed=seed)
    models: list[Any] = []

    def dense(found: Any, n: int) -> Array:
        frame = found.toPandas()
        vectors = np.array(frame["features"].tolist(), np.float32)
        out = np.zeros((n, vectors.shape[1]), np.float32)
        out[frame["id"].to_numpy()] = vectors
        return out

    def answer() -> Array:
        p, q = (
            dense(models[0].userFactors, rows.n_users),
            dense(models[0].itemFactors, rows.n_items),
        )
        table.unpersist()
        return rows.where_known(lambda u, i: rows.mean + np.einsum("nf,nf->n", p[u], q[i]))

    return lambda: models.append(solver.fit(table)), answer


METHODS = {
    "Spark ALS": Method(
        als,
        {
            "rank": (8, 16, 32),
            "regParam": (0.05, 0.08, 0.1, 0.13, 0.16, 0.2),
            "maxIter": (5, 10, 15),
        },
    )
}
