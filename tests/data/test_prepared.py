"""Prepared ratings: what is written is what is read, and what is damaged is said to be so."""

import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dotbias as db
from dotbias.data.prepared.manifest import VERSION
from tests.ratings import random_ratings


def rows(users, items, values, of) -> list[tuple[object, object, float]]:
    """Raw ids and values, sorted."""
    raw_users = of.user_vocabulary.ids.gather(users).to_list()
    raw_items = of.item_vocabulary.ids.gather(items).to_list()
    return sorted(zip(raw_users, raw_items, values.tolist(), strict=True))


def all_rows(part) -> list[tuple[object, object, float]]:
    found = []
    for a in range(part.n_blocks):
        for b in range(part.n_blocks):
            found += rows(*part.read_block(a, b), part)
    return sorted(found)


def as_written(ratings: db.Ratings) -> list[tuple[object, object, float]]:
    return rows(ratings.user_indices, ratings.item_indices, ratings.values, ratings)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 200),
    st.integers(1, 50),
    st.floats(0.01, 1),
    st.integers(0, 2**63),
    st.booleans(),
    st.floats(0, 0.6),
)
def test_every_rating_comes_back_once(
    tmp_path_factory, n_users, n_items, fill, seed, is_text, test_size
):
    ratings = random_ratings(n_users, n_items, max(1, int(fill * n_users * n_items)), seed % 1000)
    if is_text:
        frame = ratings.to_frame()
        ratings = db.Ratings.from_columns(
            frame["user"].cast(pl.String), [f"film {i}" for i in frame["item"]], frame["rating"]
        )
    path = tmp_path_factory.mktemp("prepared") / "ratings.blocks"
    if len(ratings) < 10:  # of which all may be held out
        test_size = 0
    prepared = db.prepare(ratings, path, test_size=test_size, seed=seed)
    training, whole = prepared.training, prepared.whole
    held = [row for block in prepared.held_out() for row in rows(*block, whole)]
    assert all_rows(whole) == as_written(ratings) == sorted(held + all_rows(training))
    assert (len(whole), len(training)) == (len(ratings), len(ratings) - len(held))
    if test_size == 0:
        assert not held
    for part in (training, whole):
        columns = [part.read_stripe("user", a) for a in range(part.n_blocks)]
        across = [part.read_stripe("item", b) for b in range(part.n_blocks)]
        for stripes in (columns, across):
            users, items, values = (np.concatenate(column) for column in zip(*stripes, strict=True))
            assert rows(users, items, values, part) == all_rows(part)
        assert np.array_equal(part.user_counts, np.bincount(users, minlength=part.n_users))
        assert np.array_equal(part.item_counts, np.bincount(items, minlength=part.n_items))
        assert part.block_sizes.sum() == len(part) == len(values)
        assert part.global_mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-12)
        std = values.std(dtype=np.float64)
        assert part.std == pytest.approx(std if std > 1e-9 else 1, rel=1e-9)
        assert part.scale == (values.min(), values.max())
    edges = prepared.edges("user")
    assert all(edge % 8 == 0 for edge in edges[:-1])


def test_blocks_share_no_row_and_the_order_is_seeded(tmp_path):
    ratings = random_ratings(100, 80, 4000, 0)
    one, two, other = (
        db.prepare(ratings, tmp_path / f"{n}.blocks", seed=seed) for n, seed in enumerate((1, 1, 2))
    )
    for name in ("users.npy", "held.npy", "manifest.json", "user_ids.arrow"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
    assert (one.folder / "items.npy").read_bytes() != (other.folder / "items.npy").read_bytes()
    users, _, _ = one.training.read_block(0, 0)
    assert (np.diff(users) < 0).any()
    for b in range(one.n_blocks):
        low, high = one.edges("item")[b : b + 2]
        items = one.whole.read_stripe("item", b)[1]
        assert low <= items.min()
        assert items.max() < high


def test_the_share_held_out_is_the_one_asked_for(tmp_path):
    ratings, _ = db.simulate(n_users=1000, n_items=400, n_ratings=40_000, seed=1)
    prepared = db.prepare(ratings, tmp_path / "x.blocks", test_size=0.3, seed=5)
    held = len(ratings) - len(prepared.training)
    assert abs(held / len(ratings) - 0.3) < 4 * np.sqrt(0.3 * 0.7 / len(ratings))
    one, other = (set(all_rows(prepared.training)), set(all_rows(prepared.whole)))
    assert one < other


def test_nothing_is_written_where_nothing_is_left_for_training(tmp_path):
    ratings = random_ratings(2, 2, 2, 0)
    with pytest.raises(db.DataError, match="leaves none for training"):
        db.prepare(ratings, tmp_path / "x.blocks", test_size=0.9999)
    assert not list(tmp_path.iterdir())


def test_kind_scale_titles_and_reading_come_back(tmp_path):
    frame = pl.DataFrame({"user": [1, 2, 2], "item": [7, 7, 9], "rating": [3.0, 4.0, 2.0]})
    titles = pl.DataFrame({"id": [7, 9], "title": ["Heat", "Ran"], "genres": ["Crime", None]})
    ratings = db.read_ratings(frame, scale=(1, 5), titles=titles)
    prepared = db.prepare(ratings, tmp_path / "x.blocks", test_size=0)
    assert prepared.whole.scale == (1, 5)
    assert prepared.whole.declared_scale == (1, 5)
    assert prepared.reading == ratings.reading
    assert prepared.whole.item_vocabulary.titles.to_list() == ["Heat", "Ran"]
    assert prepared.whole.item_vocabulary.genre_counts() == {"Crime": 1}
    prepared.training.require_ratings()
    counts = db.prepare(
        db.Ratings.from_columns([1, 2], [1, 2], [3, 4], kind="counts"), tmp_path / "c.blocks",
        test_size=0,
    )  # fmt: skip
    assert (counts.whole.kind, counts.whole.noun) == ("counts", "interactions")
    with pytest.raises(db.SettingError, match="these are counts"):
        counts.training.require_ratings()


# -- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_last", [1, 4, 7])
def test_a_last_group_that_holds_most_ratings_may_leave_a_block_empty(tmp_path, n_last):
    few = [(user, item, 3.0) for user in range(56) for item in range(5)]
    many = [(56 + user, item, 4.0) for user in range(n_last) for item in range(40)]
    ratings = db.Ratings.from_columns(*map(list, zip(*few, *many, strict=True)))
    prepared = db.prepare(ratings, tmp_path / "r.blocks", test_size=0)
    assert sorted(all_rows(prepared.training)) == sorted(as_written(ratings))


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory) -> Path:
    ratings, _ = db.simulate(n_users=100, n_items=50, n_ratings=2000, seed=0)
    path = tmp_path_factory.mktemp("whole") / "ratings.blocks"
    db.prepare(ratings, path)
    return path


@pytest.fixture
def folder(whole_folder, tmp_path) -> Path:
    return Path(shutil.copytree(whole_folder, tmp_path / "ratings.blocks"))


def read_all(folder: Path) -> None:
    prepared = db.PreparedRatings.open(folder)
    all_rows(prepared.whole)


def edit(folder: Path, **changes: object) -> None:
    """Change the manifest, and make its checksums those of the files."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["checksums"]:
        manifest["checksums"][name] = zlib.crc32((folder / name).read_bytes())
    starts = np.load(folder / "starts.npy")
    n = manifest["n_blocks"]
    for name in manifest["stripes"]:
        column = np.load(folder / f"{name}.npy")
        manifest["stripes"][name] = [
            zlib.crc32(column[starts[a * n] : starts[min((a + 1) * n, len(starts) - 1)]])
            for a in range(n)
        ]
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


FILES = [
    *("users.npy", "items.npy", "values.npy", "starts.npy", "held.npy", "user_edges.npy"),
    *("item_edges.npy", "user_counts.npy", "item_counts.npy", "user_ids.arrow", "item_ids.arrow"),
    "manifest.json",
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0, 0.3, 0.6, 0.99])
def test_a_changed_byte_is_noticed(folder, name, where):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)
    if name == "manifest.json" and where:
        return  # digits of it may be others and still be good
    with pytest.raises(db.DataError, match=rf"{name}|no prepared ratings"):
        read_all(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 1, 0.5, 0.999])
def test_a_file_cut_short_is_noticed(folder, name, kept):
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else 1])
    with pytest.raises(db.DataError, match=rf"{name}.*(damaged|cut short)"):
        read_all(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_noticed(folder, name):
    (folder / name).unlink()
    with pytest.raises(db.DataError, match=r"is missing|without a manifest"):
        read_all(folder)


def test_a_stripe_is_looked_at_when_it_is_read(folder):
    values = np.load(folder / "values.npy")
    values[-1] = 3.25
    np.save(folder / "values.npy", values)
    training = db.PreparedRatings.open(folder).training
    training.read_block(0, 0)
    with pytest.raises(db.DataError, match=r"values.npy: the checksum of user block 7"):
        training.read_block(7, 0)


@pytest.mark.parametrize(
    ("name", "at", "value", "said"),
    [
        ("users", 0, 10**6, "users.npy: an index of block 0, 0"),
        ("users", -1, -1, "users.npy: an index of block 7, 7"),
        ("items", 5, 49, "items.npy: an index of block 0, 0"),
        ("values", 3, np.nan, "values.npy: a value"),
        ("values", 3, 99, "values.npy: a value"),
        ("starts", 3, -1, "starts.npy: blocks do not lie in order"),
        ("starts", -1, 2001, "starts.npy: blocks do not lie in order"),
        ("held", 3, 0, "held.npy: held-out rows begin outside"),
        ("user_edges", 2, 99, "user_edges.npy: blocks do not lie in order"),
        ("item_edges", -1, 51, "item_edges.npy: blocks do not lie in order"),
        ("user_counts", (0, 1), -5, "user_counts.npy: counts do not add up"),
        ("item_counts", (1, 1), 10**9, "item_counts.npy: counts do not add up"),
    ],
)
def test_numbers_that_cannot_be_are_refused_though_checksums_fit(folder, name, at, value, said):
    array = np.load(folder / f"{name}.npy")
    array[at] = value
    np.save(folder / f"{name}.npy", array)
    edit(folder)
    with pytest.raises(db.DataError, match=said):
        read_all(folder)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".npy")])
def test_other_types_and_shapes_are_refused(folder, name):
    array = np.load(folder / name)
    for other in (array.astype(np.float16), array[:-1], array[None], np.array({}, object)):
        np.save(folder / name, other)
        edited = json.loads((folder / "manifest.json").read_text())
        if name in edited["checksums"]:
            edited["checksums"][name] = zlib.crc32((folder / name).read_bytes())
            (folder / "manifest.json").write_text(json.dumps(edited))
        with pytest.raises(db.DataError, match=name):
            read_all(folder)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pl.DataFrame({"id": range(99)}), "there are not 100 ids"),
        (pl.DataFrame({"id": [*range(99), 3]}), "do not rise"),
        (pl.DataFrame({"id": ["a"] * 100}), "there twice"),
        (pl.DataFrame({"id": [None, *range(99)]}), "there are not 100 ids"),
        (pl.DataFrame({"id": [0.5 + n for n in range(100)]}), "its columns are"),
        (pl.DataFrame({"name": range(100)}), "its columns are"),
    ],
)
def test_ids_that_cannot_be_are_refused(folder, frame, said):
    frame.write_ipc(folder / "user_ids.arrow")
    edit(folder)
    with pytest.raises(db.DataError, match=f"user_ids.arrow: .*{said}"):
        read_all(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": VERSION + 1}, "newer version"),
        ({"format": "cake"}, "no prepared ratings"),
        ({"n_blocks": 7}, "damaged"),
        ({"n_blocks": 0}, "damaged"),
        ({"n_users": "many"}, "n_users must be a whole number"),
        ({"kind": "stars"}, "kind must be one of"),
        ({"training": {"n": 3}}, "training.mean is missing"),
        ({"stripes": {}}, "stripes must be of"),
        ({"checksums": {"../x": 3}}, "checksums must be of"),
        ({"declared_scale": [5, 1]}, "declared_scale"),
        ({"reading": {"layout": "round"}}, "layout"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(folder, changes, said):
    edit(folder, **changes)
    with pytest.raises(db.DataError, match=said):
        read_all(folder)


def test_what_is_no_such_folder_is_named(tmp_path):
    with pytest.raises(db.DataError, match="there are no prepared ratings"):
        db.PreparedRatings.open(tmp_path / "none")
    with pytest.raises(db.DataError, match="without a manifest"):
        db.PreparedRatings.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(db.DataError, match="no folder"):
        db.PreparedRatings.open(tmp_path / "file")


# -- what is there already -------------------------------------------------------------------------


def test_a_folder_that_is_not_ours_stays(tmp_path):
    ratings = random_ratings(20, 10, 50, 0)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear")
    for force in (False, True):
        with pytest.raises(db.DataError, match="holds more than a folder of prepared ratings"):
            db.prepare(ratings, mine, force=force)
    (tmp_path / "file").write_text("x")
    with pytest.raises(db.DataError, match="is no folder"):
        db.prepare(ratings, tmp_path / "file", force=True)
    assert (mine / "diary.txt").read_text() == "dear"
    (mine / "diary.txt").rename(tmp_path / "diary.txt")
    db.prepare(ratings, mine)  # it is empty now
    other = random_ratings(20, 10, 60, 1)
    assert len(db.prepare(other, mine).whole) == len(other)  # ours is replaced
    assert sorted(path.name for path in tmp_path.iterdir()) == ["diary.txt", "file", "mine"]
    (mine / "diary.txt").write_text("dear")  # and in a folder of ours the user's own file stays
    with pytest.raises(db.DataError, match="holds more than"):
        db.prepare(ratings, mine, force=True)
    assert len(db.PreparedRatings.open(mine).whole) == len(other)


@pytest.mark.parametrize(
    "settings",
    [
        {"test_size": 1},
        {"test_size": -0.1},
        {"seed": -1},
        {"memory": "3 apples"},
        {"memory": 5},
        {"n_blocks": 0},
        {"n_blocks": 2.0},
        {"n_blocks": 4},  # of 20 users
        {"n_workers": 0},
    ],
)
def test_settings_outside_their_range_are_refused(tmp_path, settings):
    name = next(iter(settings))
    with pytest.raises(db.SettingError, match=f"{name}="):
        db.prepare(random_ratings(20, 10, 50, 0), tmp_path / "x.blocks", **settings)
    assert not list(tmp_path.iterdir())
