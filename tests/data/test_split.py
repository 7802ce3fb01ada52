"""Splits against their definitions, in plain Python, on generated and on real ratings."""

import io
import logging
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotbias.data.ratings import ColdCount, Ratings, cold, k_fold
from dotbias.errors import DataError, SettingError


def numbered(users: list[int], items: list[int], times: list[int] | None = None) -> Ratings:
    """Ratings whose values are their row numbers, so that a part tells which rows it holds."""
    at = None if times is None else np.array(times, np.int64)
    return Ratings.from_columns(users, items, np.arange(len(users)), times=at)


def rows(part: Ratings) -> list[int]:
    return part.values.astype(int).tolist()


@st.composite
def some_ratings(draw: st.DrawFn, at_least: int = 2) -> Ratings:
    row = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(0, 12))
    different = st.lists(row, min_size=at_least, max_size=50, unique_by=lambda r: r[:2])
    users, items, times = zip(*draw(different), strict=True)
    return numbered(list(users), list(items), list(times))


def assert_partition(whole: Ratings, train: Ratings, test: Ratings) -> None:
    assert sorted(rows(train) + rows(test)) == list(range(len(whole)))
    original = whole.to_frame()
    for part in (train, test):
        assert rows(part) == sorted(rows(part))  # the order of the file
        assert part.to_frame().equals(original[rows(part)])
        assert part.user_vocabulary.ids.to_list() == sorted(set(part.to_frame()["user"]))
        assert part.item_vocabulary.ids.to_list() == sorted(set(part.to_frame()["item"]))


def by_user(ratings: Ratings) -> dict[int, list[int]]:
    """Row numbers of each user index, in the order of the file."""
    grouped = defaultdict(list)
    for row, user in enumerate(ratings.user_indices.tolist()):
        grouped[user].append(row)
    return grouped


shares = st.sampled_from([0.1, 0.2, 0.25, 0.5, 0.75, 0.9])


@given(some_ratings(), shares | st.integers(1, 30), st.integers(0, 5))
def test_rows_are_the_protocol(ratings: Ratings, test_size: float, seed: int) -> None:
    n = len(ratings)
    n_train = n - test_size if isinstance(test_size, int) else int(n * (1 - test_size) + 0.5)
    if not 0 < n_train < n:
        with pytest.raises(DataError, match=r"leaves no (training|held-out) rating"):
            ratings.split(test_size, seed=seed)
        return
    train, test = ratings.split(test_size, seed=seed)
    assert_partition(ratings, train, test)
    permutation = np.random.default_rng(seed).permutation(n)
    assert set(rows(train)) == set(permutation[:n_train].tolist())


@pytest.mark.parametrize("seed", [42, 43, 44, 45, 46])
def test_the_protocol_on_movielens(data_dir: Path, seed: int) -> None:
    with zipfile.ZipFile(data_dir / "ml-latest-small.zip") as archive:
        frame = pl.read_csv(io.BytesIO(archive.read("ml-latest-small/ratings.csv")))
    ratings = Ratings.from_columns(frame["userId"], frame["movieId"], frame["rating"].to_numpy())
    permutation = np.random.default_rng(seed).permutation(100_836)
    expected_train, expected_test = np.split(permutation, [80_669])

    train, test = ratings.split(0.2, seed=seed)

    assert (len(train), len(test)) == (80_669, 20_167)
    columns = ["userId", "movieId", "rating"]
    for part, expected in ((train, expected_train), (test, expected_test)):
        wanted = frame[np.sort(expected)].select(columns)
        got = part.to_frame().rename({"user": "userId", "item": "movieId"})
        assert got.with_columns(pl.col("rating").cast(pl.Float64)).equals(wanted)


def test_seeds_repeat_and_differ() -> None:
    ratings = numbered([1 + row % 7 for row in range(100)], list(range(100)))
    for by in ("rows", "user"):
        first, again, other = (rows(ratings.split(seed=s, by=by)[1]) for s in (3, 3, 4))
        assert first == again
        assert first != other


@given(some_ratings(), shares | st.integers(1, 5), st.integers(0, 5))
def test_each_user_gives_the_share(ratings: Ratings, test_size: float, seed: int) -> None:
    wanted = {}
    for user, own in by_user(ratings).items():
        if isinstance(test_size, int):
            n_train = len(own) - test_size
        else:
            n_train = int(len(own) * (1 - test_size) + 0.5)
        wanted[user] = len(own) - max(n_train, 1)
    if not any(wanted.values()):
        with pytest.raises(DataError, match="leaves no held-out rating"):
            ratings.split(test_size, seed=seed, by="user")
        return
    train, test = ratings.split(test_size, seed=seed, by="user")
    assert_partition(ratings, train, test)
    assert train.n_users == ratings.n_users  # everyone keeps a rating in training
    held_out = set(rows(test))
    got = {user: len(held_out.intersection(own)) for user, own in by_user(ratings).items()}
    assert got == wanted


@given(some_ratings(), shares | st.integers(1, 8), st.integers(0, 5))
def test_users_are_held_out_whole(ratings: Ratings, test_size: float, seed: int) -> None:
    everyone = set(ratings.user_indices.tolist())
    if isinstance(test_size, int):
        n_train = len(everyone) - test_size
    else:
        n_train = int(len(everyone) * (1 - test_size) + 0.5)
    if not 0 < n_train < len(everyone):
        with pytest.raises(DataError, match=r"leaves no (training|held-out) rating"):
            ratings.split(test_size, seed=seed, by="users")
        return
    train, test = ratings.split(test_size, seed=seed, by="users")
    assert_partition(ratings, train, test)
    known, new = (set(part.to_frame()["user"]) for part in (train, test))
    assert not known & new
    assert len(known) == n_train


def test_users_without_a_row_are_not_drawn() -> None:
    """Rows under the vocabularies of a larger table: only users 1 and 4 are there."""
    few = numbered([1, 2, 3, 4], [1, 1, 1, 1]).rows(np.array([0, 3]))
    for seed in range(5):
        train, test = few.split(1, seed=seed, by="users")
        assert (train.n_users, test.n_users) == (1, 1)


def test_each_user_is_held_out_equally_often() -> None:
    ratings = numbered([1, 1, 1, 2, 3, 4, 4], list(range(7)))
    times = np.zeros(4)
    for seed in range(400):
        _, test = ratings.split(0.5, seed=seed, by="users")
        times[[user - 1 for user in test.user_vocabulary.ids]] += 1
    # Binomial(400, 0.5) has a standard deviation of 10.
    assert np.abs(times - 200).max() < 5 * 10


@given(some_ratings(), st.integers(1, 3), st.integers(0, 5))
def test_new_users_are_held_out_besides(ratings: Ratings, new_users: int, seed: int) -> None:
    """The rows are those of the split without new users, and all rows of some users."""
    try:
        train, test = ratings.split(0.25, seed=seed, new_users=new_users)
        _, without = ratings.split(0.25, seed=seed)
    except DataError:
        return
    assert_partition(ratings, train, test)
    assert set(rows(without)) <= set(rows(test))
    known, new = (set(part.to_frame()["user"]) for part in (train, test))
    whole = {user for user in new if user not in known}
    assert len(whole) >= new_users
    extra = set(rows(test)) - set(rows(without))
    assert {ratings.user_vocabulary.raw(ratings.user_indices[row]) for row in extra} <= whole


def test_each_fold_holds_new_users_out_besides() -> None:
    ratings = numbered([1 + row % 20 for row in range(200)], list(range(200)))
    plain, besides = (list(k_fold(ratings, 4, seed=1, new_users=n)) for n in (0, 0.1))
    drawn = set()
    for (_, test), (train, more) in zip(plain, besides, strict=True):
        assert_partition(ratings, train, more)
        assert set(rows(test)) < set(rows(more))
        new = set(more.user_vocabulary.ids) - set(train.user_vocabulary.ids)
        assert len(new) == 2
        drawn |= new
    assert len(drawn) > 2


@pytest.mark.parametrize("new_users", [-1, 1.0, 1.5, float("nan"), "0.2", None])
def test_new_users_outside_their_range_are_refused(new_users: object) -> None:
    ratings = numbered([1, 1, 2], [1, 2, 1])
    with pytest.raises(SettingError, match="new_users must be a share of the users"):
        ratings.split(1, new_users=new_users)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="new_users must be a share of the users"):
        k_fold(ratings, 2, new_users=new_users)  # type: ignore[arg-type]


def test_each_rating_of_a_user_is_held_out_equally_often() -> None:
    ratings = numbered([1] * 5 + [2] * 5, list(range(10)))
    times = np.zeros(10)
    for seed in range(500):
        times[rows(ratings.split(2, seed=seed, by="user")[1])] += 1
    # Binomial(500, 0.4) has a standard deviation of 11.
    assert np.abs(times - 200).max() < 5 * 11


@given(some_ratings(), shares | st.integers(1, 30))
def test_training_ends_before_the_held_out_part_begins(ratings: Ratings, size: float) -> None:
    assert ratings.times is not None
    n = len(ratings)
    n_train = n - size if isinstance(size, int) else int(n * (1 - size) + 0.5)
    in_order = sorted(ratings.times.tolist())
    before = [] if n_train <= 0 else [t for t in in_order if [*in_order, 99][n_train] > t]
    if not 0 < len(before) < n:
        with pytest.raises(DataError, match=r"leaves no (training|held-out) rating"):
            ratings.split(size, by="time")
        return
    train, test = ratings.split(size, by="time")
    assert train.times is not None
    assert test.times is not None
    assert_partition(ratings, train, test)
    assert train.times.max() < test.times.min()
    assert sorted(train.times.tolist()) == before


@given(some_ratings())
def test_last_is_the_last_of_each_user(ratings: Ratings) -> None:
    assert ratings.times is not None
    times = ratings.times.tolist()
    last = sorted(
        max(own, key=lambda row: (times[row], row))
        for own in by_user(ratings).values()
        if len(own) > 1
    )
    if not last:
        with pytest.raises(DataError, match=r"split\(by='last'\) of .* leaves no held-out rating"):
            ratings.split(by="last")
        return
    train, test = ratings.split(by="last")
    assert_partition(ratings, train, test)
    assert rows(test) == last


@given(some_ratings(), st.integers(2, 7), st.integers(0, 5))
def test_k_fold_holds_out_each_row_once(ratings: Ratings, n_folds: int, seed: int) -> None:
    if n_folds > len(ratings):
        with pytest.raises(SettingError, match=f"from 2 to {len(ratings)}"):
            k_fold(ratings, n_folds, seed=seed)
        return
    folds = list(k_fold(ratings, n_folds, seed=seed))
    assert len(folds) == n_folds
    for train, test in folds:
        assert_partition(ratings, train, test)
    assert sorted(row for _, test in folds for row in rows(test)) == list(range(len(ratings)))
    sizes = [len(test) for _, test in folds]
    assert max(sizes) - min(sizes) <= 1
    again = [rows(test) for _, test in k_fold(ratings, n_folds, seed=seed)]
    assert [rows(test) for _, test in folds] == again


def test_k_fold_depends_on_the_seed() -> None:
    ratings = numbered([1] * 50, list(range(50)))
    first, other = ([rows(test) for _, test in k_fold(ratings, seed=seed)] for seed in (0, 1))
    assert first != other


@given(some_ratings(), some_ratings())
def test_cold_counts_what_training_never_saw(train: Ratings, test: Ratings) -> None:
    seen, asked = train.to_frame(), test.to_frame()
    users, items = set(seen["user"]), set(seen["item"])
    assert cold(train, test) == ColdCount(
        users=len(set(asked["user"]) - users),
        items=len(set(asked["item"]) - items),
        rows=sum(u not in users or i not in items for u, i in asked.select("user", "item").rows()),
    )


def test_a_split_reports_what_training_never_saw(caplog: pytest.LogCaptureFixture) -> None:
    late_item = numbered([1, 1, 2, 2], [3, 1, 1, 2], [0, 1, 0, 1])
    with caplog.at_level(logging.INFO, logger="dotbias"):
        late_item.split(by="last")
    assert caplog.messages == [
        "never seen in training: 0 users and 1 items of the held-out part, in 1 of its 2 ratings"
    ]
    caplog.clear()
    nothing_new = numbered([1, 1, 2, 2], [1, 2, 2, 1], [0, 1, 0, 1])
    with caplog.at_level(logging.INFO, logger="dotbias"):
        nothing_new.split(by="last")
    assert not caplog.messages


def test_the_scale_is_that_of_the_part() -> None:
    ratings = numbered([1] * 4, [1, 2, 3, 4], [0, 1, 2, 3])
    train, test = ratings.split(1, by="time")
    assert train.scale == (0, 2)
    assert test.scale == (3, 3)


@pytest.mark.parametrize("test_size", [0, -1, 0.0, 1.0, 1.5, float("nan"), "0.2", None])
@pytest.mark.parametrize("by", ["rows", "user", "users", "time"])
def test_a_size_outside_its_range_is_refused(by: str, test_size: object) -> None:
    with pytest.raises(SettingError, match=r"test_size must be a share above 0 and below 1, or"):
        numbered([1, 1], [1, 2], [0, 1]).split(test_size, by=by)  # type: ignore[arg-type]


def test_other_settings_outside_their_range_are_refused() -> None:
    ratings = numbered([1, 1], [1, 2], [0, 1])
    known = "'rows', 'user', 'users', 'time', 'last'"
    with pytest.raises(SettingError, match=f"by must be one of {known}"):
        ratings.split(by="week")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="leave test_size out"):
        ratings.split(0.5, by="last")
    for n_folds in (1, 3, 2.0):
        with pytest.raises(SettingError, match="n_folds must be a whole number from 2 to 2"):
            k_fold(ratings, n_folds)  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["time", "last"])
def test_a_split_by_time_needs_times(by: str) -> None:
    with pytest.raises(DataError, match=rf"split\(by='{by}'\) needs the time of each rating"):
        numbered([1, 1], [1, 2]).split(by=by)  # type: ignore[arg-type]


def test_one_moment_cannot_be_cut() -> None:
    with pytest.raises(DataError, match="leaves no training rating"):
        numbered([1, 2, 3], [1, 2, 3], [5, 5, 5]).split(0.4, by="time")
