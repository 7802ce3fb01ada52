"""Preparing a part at a time gives what reading as a whole gives, to the byte."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dotbias as db
from dotbias.data.prepared import prepare as prepare_module
from dotbias.data.prepared.batches import Size, batches_of
from dotbias.data.prepared.manifest import COLUMNS, SMALL
from dotbias.data.prepared.prepare import _Task, write_streamed
from dotbias.data.prepared.stream import HowToRead, Sizes
from dotbias.data.reading import Reading
from dotbias.data.sources.limits import LIMIT
from dotbias.data.formats.known import SUFFIXES
from dotbias.data.sources.locate import RATINGS, locate
from dotbias.memory import allowed

TINY = Sizes(Size(200, 7), rows=20, held=300)


@pytest.fixture
def tiny(monkeypatch):
    """Everything is read in batches, however small."""
    monkeypatch.setattr(Sizes, "of", lambda _: TINY)


def whole(source, path, **options) -> db.PreparedRatings:
    """What reading as a whole gives."""
    reading = {k: v for k, v in options.items() if k not in ("test_size", "seed")}
    rest = {k: v for k, v in options.items() if k in ("test_size", "seed")}
    return db.prepare(db.read_ratings(source, **reading), path, **rest)


def assert_same(one: db.PreparedRatings, other: db.PreparedRatings) -> None:
    for name in (*(f"{column}.npy" for column in COLUMNS), *SMALL):
        if name.endswith(".arrow"):
            frames = [pl.read_ipc(each.folder / name) for each in (one, other)]
            assert frames[0].equals(frames[1]), name
        else:
            assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes(), name
    for name in ("kind", "declared_scale", "whole", "training", "reading"):
        assert getattr(one.manifest, name) == getattr(other.manifest, name), name


def test_a_csv_in_many_batches_is_the_same_to_the_byte(tmp_path, tiny):
    ratings, _ = db.simulate(n_users=120, n_items=60, n_ratings=2000, seed=0)
    ratings.to_frame().write_csv(tmp_path / "ratings.csv")
    one = db.prepare(tmp_path / "ratings.csv", tmp_path / "one.blocks")
    other = whole(tmp_path / "ratings.csv", tmp_path / "other.blocks")
    assert_same(one, other)
