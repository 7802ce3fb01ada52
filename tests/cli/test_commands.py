"""The commands on invented data: what they print, save and refuse, and with which exit code."""

import json
import re
import zipfile

import polars as pl
import pytest

import dotbias as db
from dotbias.cli.reading import Reading, summary
from dotbias.fitting.preference import choose_preference


@pytest.fixture(scope="module")
def ratings(run, workplace):
    run("simulate", "-o", "ratings.csv", "--users", 300, "--items", 200, "--ratings", 12_000)
    return workplace / "ratings.csv"


@pytest.fixture(scope="module")
def model(run, workplace, ratings):
    run("fit", ratings, "-o", "small.dotbias", "--factors", 8, "--epochs", 10)
    return workplace / "small.dotbias"


def test_every_command_has_help_with_an_example(run):
    names = re.findall(r"^│ ([a-z-]+)  ", run("--help").stdout.partition("Commands")[2], re.M)
    assert len(names) >= 13
    for name in names:
        assert f"dotbias {name}" in run(name, "--help").stdout, name


def test_json_is_alone_on_stdout(run, ratings):
    done = run("fit", ratings, "--factors", 8, "--epochs", 3, "--json")
    report = json.loads(done.stdout)
    assert report["epochs"] == 3
    assert 0 < report["held_out"]["rmse"] < 2
    assert "Not saved" in done.stderr
    assert run("--quiet", "fit", ratings, "--factors", 8, "--epochs", 3, "--json").stderr == ""


def test_a_model_of_nan_is_neither_shown_nor_saved(run, ratings, workplace):
    how = "--solver", "als", "--factors", 2, "--weight-decay", 1e38
    done = run("fit", ratings, "-o", "nan.dotbias", *how, "--json", code=1)
    assert done.stdout == ""
    assert "Error: weight_decay must be at most 1e+12, not 1e+38" in done.stderr
    assert not (workplace / "nan.dotbias").exists()


def test_cross_validation(run, ratings):
    done = run("cross-validate", ratings, "--folds", 3, "--factors", 8, "--epochs", 5, "--json")
    report = json.loads(done.stdout)
    assert len(report["folds"]) == 3
    assert "RMSE" in run("cross-validate", ratings, "--folds", 2, "--model", "baseline").stdout
    by_fold = run("cross-validate", ratings, "--folds", 2, "--model", "baseline", "--csv").stdout
    assert [line.partition(",")[0] for line in by_fold.splitlines()] == ["fold", "1", "2"]


def test_folds_may_be_given(run, ratings, workplace):
    parts = ["one.csv", "two.csv"]
    run("split", ratings, "--train", parts[0], "--test", parts[1], "--test-size", 0.5)
    with zipfile.ZipFile(workplace / "folds.zip", "w") as archive:
        for part in parts:
            archive.write(workplace / part, f"inside/{part}")
    folds = f"{parts[0]}:{parts[1]},{parts[1]}:{parts[0]}"
    how = "--folds", folds, "--model", "baseline", "--no-lists", "--json"
    found = [
        json.loads(run("cross-validate", source, *how).stdout)["mean"]
        for source in (".", "folds.zip")
    ]
    pairs = [(parts[0], parts[1]), (parts[1], parts[0])]
    assert found[0] == found[1] == db.cross_validate(pairs, "baseline").mean
    alike = pl.read_csv(workplace / "two.csv").head(12).with_columns(rating=pl.lit(5.0))
    alike.write_csv(workplace / "fives.csv")
    mixed = "--folds", "one.csv:two.csv,one.csv:fives.csv", *how[2:]
    assert "rmse" in json.loads(run("cross-validate", ".", *mixed).stdout)["mean"]
    for wrong in ("1", "one.csv", "one.csv:two.csv", "one.csv:,a:b"):
        done = run("cross-validate", ".", "--folds", wrong, code=1)
        assert f"Error: --folds {wrong}: " in done.stderr
    done = run("cross-validate", "folds.zip", "--folds", "one.csv:two.cvs,a:b", code=1)
    assert "folds.zip: there is no two.cvs in it, but inside/one.csv, inside/two.csv" in done.stderr


def test_what_is_held_out_has_a_seed_of_its_own(run, ratings):
    def held_out(*seeds):
        how = "--model", "baseline", "--for", "predict", "--json"
        return json.loads(run("fit", ratings, *how, *seeds).stdout)["held_out"]["mean_rmse"]

    assert held_out("--seed", 5) == held_out("--seed", 1, "--split-seed", 5)
    assert held_out("--seed", 5) != held_out("--seed", 5, "--split-seed", 0)


def test_lists_are_measured_in_both_readings_at_any_length(run, ratings):
    run("split", ratings, "--train", "some.csv", "--test", "others.csv", "--by", "users")
    run("fit", "some.csv", "-o", "some.dotbias", "--test-size", 0, "--solver", "als")
    asked = "evaluate", "some.dotbias", "others.csv", "-k", 3, "-k", 20, "--new-users"
    report = json.loads(run(*asked, "--json").stdout)
    assert (report["n_rows"], report["rmse"], report["ranking"]) == (0, None, None)
    new = report["new_users"]
    assert new["n_users"] == 60
    assert 0 < new["rmse"] < 2
    kinds = [(r["relevant_from"], r["k"], r["by"]) for r in new["rankings"]]
    orders = "preference", "rating", "popularity"
    assert kinds == [(f, k, by) for f in (None, 3.875) for k in (3, 20) for by in orders]
    text = run(*asked, "--fold-share", 0.5).stdout
    assert "60 new users, folded in from 50% of their ratings" in text
    assert "the first 20 recommendations to 60 new users, every held-out item is relevant" in text
    assert re.search(r"^by preference: (no )?(better|worse) than most rated items", text, re.M)
    cold = json.loads(run("evaluate", "some.dotbias", "others.csv", "--json").stdout)
    assert (cold["cold_users"], cold["new_users"]) == (60, None)


def test_a_fit_keeps_what_it_measured_of_new_users(run, ratings):
    how = "--new-users", 0.1, "--solver", "als", "-o", "new.dotbias"
    fitted = json.loads(run("fit", ratings, *how, "--json").stdout)["held_out"]
    assert fitted["new_users"]["n_users"] == 30
    kept = run("evaluate", "new.dotbias")
    assert "on the share 0.2 and 0.1 of the users held out" in kept.stderr
    assert f"RMSE {fitted['new_users']['rmse']:.4f}" in kept.stdout
    done = run("fit", ratings, *how, "--test-size", 0, code=2)
    assert "--new-users needs a --test-size" in done.stderr


def test_cross_validation_of_lists_and_new_users(run, ratings):
    how = "--folds", 2, "--model", "baseline", "-k", 5, "--new-users", 0.1
    done = run("cross-validate", ratings, *how, "--json")
    mean = json.loads(done.stdout)["mean"]
    assert 0 < mean["new/rmse"] < 2
    for whom in ("known", "new"):
        for by in ("preference", "rating", "popularity"):
            assert 0 <= mean[f"{whom}/{by}/liked/ndcg@5"] <= 1
    without = run("cross-validate", ratings, *how[:4], "--no-lists", "--json")
    assert set(json.loads(without.stdout)["mean"]) == {"rmse", "mae"}


def test_by_default_the_solver_is_chosen_and_the_choice_is_told(run, ratings):
    done = run("fit", ratings, "-o", "chosen.dotbias", "--json")
    assert "Solver: gibbs with histories, 200 samples (" in done.stderr
    assert "s of a budget of 30 s on the reference machine). Next best: sgd, 40" in done.stderr
    choice = json.loads(done.stdout)["choice"]
    assert choice["solver"] == "gibbs with histories, 200 samples"
    assert json.loads(run("info", "chosen.dotbias", "--json").stdout)["choice"] == choice
    assert re.search(
        r"^  chosen +as the best within 30 s on the", run("info", "chosen.dotbias").stdout, re.M
    )
    assert run("--quiet", "fit", ratings, "--json").stderr == ""


def test_info_calls_things_what_they_are(run, ratings):
    run("fit", ratings, "-o", "named.dotbias", "--samples", 20, "--for", "predict")
    shown = run("info", "named.dotbias").stdout
    assert re.search(r"^  fitted .*Z, 20 samples in ", shown, re.M)
    assert re.search(r"^  solver +Gibbs\(n_samples=20, burn_in=\d+\)$", shown, re.M)
    mean = db.read_ratings(ratings).values.astype(float).mean()
    assert re.search(rf"^scale .*, mean {mean:.3f}$", shown, re.M)


def test_info_of_ratings_says_what_they_are_and_what_to_do(run, workplace, ratings):
    told = " ".join(run("info", ratings.name, code=1).stderr.split())
    assert "Error: ratings.csv is no model yet: it holds 12,000 ratings from" in told
    assert "Fit one with `dotbias fit ratings.csv -o ratings.dotbias`" in told
    (workplace / "notes.txt").write_text("what I think of films\n")
    assert "notes.txt is no model file" in run("info", "notes.txt", code=1).stderr


def test_what_is_saved_has_the_settings_that_were_measured(run, workplace, ratings):
    """And no second walk along the penalties, over all ratings: both fits are of one choice."""
    how = "--solver", "als", "--factors", 2, "--iterations", 2, "--liking", 0.1, "--threads", 1
    done = run("fit", ratings, "-o", "both.dotbias", *how, "--test-size", 0.5)
    assert done.stderr.count("Lists: ") == 1
    facts = db.Recommender.load(workplace / "both.dotbias").by("preference").facts
    train, _ = db.read_ratings(ratings).split(0.5, seed=0)
    choice = choose_preference(train, db.ImplicitALS(liking=0.1), budget=30, n_threads=1)
    assert facts.preference_choice.tried == choice.record.tried
    assert facts.solver_text == repr(choice.solver)


def test_a_small_budget_is_kept_to(run, ratings):
    done = run("fit", ratings, "--budget", "0.7s", "--json")
    assert "Solver: sgd, 40 epochs" in done.stderr
    assert "More accurate, but too slow: gibbs with histories, 60 samples" in done.stderr
    assert json.loads(done.stdout)["epochs"] == 40
    folds = run("cross-validate", ratings, "--folds", 2, "--budget", "0.7")
    assert "Solver: sgd, 40 epochs" in folds.stderr


def test_each_solver_can_be_named(run, ratings):
    als = ("--solver", "als", "--iterations", 3, "--weight-decay", 0.1, "--factors", 4)
    assert json.loads(run("fit", ratings, *als, "--json").stdout)["epochs"] == 3
    assert "RMSE" in run("cross-validate", ratings, "--folds", 2, *als).stdout
    gibbs = ("--solver", "gibbs", "--samples", 20, "--no-histories", "--factors", 4)
    done = run("fit", ratings, *gibbs, "-o", "gibbs.dotbias")
    assert "Solver: " not in done.stderr
    shown = run("info", "gibbs.dotbias").stdout
    assert "n_samples=20, burn_in=4, n_factors=4, histories=False" in shown
    assert re.search(r"^  chosen +by the user", shown, re.M)


def test_an_option_of_one_solver_chooses_it(run, ratings):
    done = run("fit", ratings, "--epochs", 2, "--factors", 4)
    assert "Solver: sgd, because of --epochs, which it is meant for." in done.stderr


def test_convergence_is_printed_and_in_the_json(run, ratings):
    asked = ("fit", ratings, "--samples", 20, "--factors", 4, "--convergence")
    shown = " ".join(run(*asked).stdout.split())
    assert "2 chains of 16 samples after the burn-in. validation RMSE: R-hat" in shown
    told = json.loads(run(*asked, "--json").stdout)["convergence"]
    assert told["rmse"]["r_hat"] > 0
    assert len(told["noise"]["traces"][1]) == 16


def test_how_sure_a_prediction_is(run, workplace, ratings, model):
    run("fit", ratings, "-o", "sure.dotbias", "--samples", 30, "--keep-samples", 10)
    asked = ("predict", "sure.dotbias", "--user", 1, "--item", 3, "--json")
    (row,) = json.loads(run(*asked, "--with-std").stdout)
    assert row["lower"] < row["prediction"] < row["upper"]
    assert row["std"] > 0.3
    assert "std" not in json.loads(run(*asked).stdout)[0]
    run("predict", "sure.dotbias", ratings, "--with-std", "-o", "sure.csv")
    header = (workplace / "sure.csv").read_text().splitlines()[0]
    assert header.endswith("prediction,basis,std,lower,upper")
    done = run("predict", model, "--user", 1, "--item", 3, "--with-std", code=1)
    assert "has no samples to take a standard deviation from" in done.stderr


def test_baseline_and_momentum(run, ratings):
    run("fit", ratings, "-o", "base.dotbias", "--model", "baseline", "--for", "predict")
    assert "Baseline" in run("info", "base.dotbias").stdout
    assert "has no embeddings" in run("similar", "base.dotbias", "1", code=1).stderr
    run(
        *("fit", ratings, "--rule", "momentum", "--lr", 0.003, "--form", "sigmoid"),
        *("--weight-decay", "user_factors=0.05", "--weight-decay", "item_bias=0.01"),
        *("--early-stopping", 0.1, "--factors", 8, "--epochs", 30),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "missing.csv"], "missing.csv"),
        (["fit", "{ratings}", "-o", "no-such-folder/m.dotbias"], "no folder no-such-folder"),
        (["fit", "{ratings}", "--lr", "-1"], r"SGD\(lr=-1.0\): lr must be above 0"),
        (["fit", "{ratings}", "--lr", "50"], "diverged.*Lower the learning rate"),
        (["fit", "{ratings}", "--rule", "magic"], "--rule magic: it must be one of sgd, momentum"),
        (
            ["fit", "{ratings}", "--model", "magic"],
            "--model magic: it must be one of dot-bias, net, baseline",
        ),
        (["fit", "{ratings}", "--weight-decay", "much"], "--weight-decay much"),
        (["fit", "{ratings}", "--weight-decay", "users=1"], "no group 'users'"),
        (["fit", "{ratings}", "--solver", "magic"], "it must be one of auto, sgd, als, gibbs"),
        (
            ["fit", "{ratings}", "--solver", "gibbs", "--lr", "1"],
            "--lr .* contradicts --solver gibbs",
        ),
        (["fit", "{ratings}", "--budget", "soon"], "--budget soon: write a time above 0"),
        (
            ["fit", "{ratings}", "--samples", "6", "--burn-in", "3", "--convergence"],
            "n_samples=6, burn_in=3: convergence needs at least 4 samples after the burn-in",
        ),
        (["fit", "{ratings}", "--threads", "1000"], "n_threads=1000: this machine offers"),
        (["fit", "{ratings}", "--item-column", "film"], "film"),
        (["fit", "{ratings}", "--scale", "3", "4"], "--on-bad skip"),
        (["recommend", "{model}", "--user", "nobody", "--strict"], "unknown user 'nobody'"),
        (["similar", "{model}", "no such film", "--strict"], "unknown item 'no such film'"),
        (["recommend", "{ratings}", "--user", "1"], "is no model file"),
        (["info", "missing.dotbias"], "there is no model file missing.dotbias"),
        (["predict", "{model}", "{ratings}", "-o", "out.xls"], "must end in .csv or .parquet"),
        (["split", "{ratings}", "--train", "a.csv", "--test", "b.csv", "--by", "x"], "--by x"),
        (["download", "ml-none"], "ml-none"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message_and_exit_code_1(run, ratings, model, arguments, message):
    filled = [a.format(ratings=ratings, model=model) for a in arguments]
    done = run(*filled, code=1)
    assert done.stdout == ""
    assert re.search(message, " ".join(done.stderr.split())), done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["fit"],
        ["recommend", "{model}"],
        ["predict", "{model}", "--user", "1"],
        ["recommend", "{model}", "--user", "1", "--json", "--csv"],
        ["recommend", "{model}", "--user", "1", "-k", "0"],
        ["recommend", "{model}", "--user", "1", "--for-ratings", "{ratings}"],
        ["recommend", "{model}", "--all-users", "--for-ratings", "{ratings}"],
        ["update", "{model}", "{ratings}"],
        ["demo", "--seed", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(run, model, arguments):
    filled = [a.format(model=model, ratings="ratings.csv") for a in arguments]
    assert "Error" in run(*filled, code=2).stderr


@pytest.mark.parametrize(
    "text",
    ["movieId,rating\n3,5\n8,1\n99999,2\n", "3,5\n8,1\n99999,2\n", "3\t5\n8\t1\n99999\t2\n"],
    ids=["header", "no header", "tabs"],
)
def test_recommendations_for_ratings_of_ones_own(run, workplace, model, text):
    (workplace / "my.csv").write_text(text)
    asked = ("recommend", model, "--for-ratings", "my.csv", "-k", 5)
    done = run(*asked, "--json")
    rows = json.loads(done.stdout)
    assert [list(row) for row in rows] == [
        ["rank", "item", "title", "prediction", "preference", "basis"]
    ] * 5
    assert not {3, 8} & {row["item"] for row in rows}
    assert "left out 1 of 3 items, unknown or not unique: 99999" in done.stderr
    header = run(*asked, "--csv").stdout.splitlines()[0]
    assert header == "rank,item,title,prediction,preference,basis"
    assert "Recommendations for the ratings in my.csv" in run(*asked).stdout
    run(*asked, "-o", "mine.csv", "--force")
    assert (workplace / "mine.csv").read_text() == run(*asked, "--csv").stdout


def test_invented_tastes_are_found_and_invented_titles_read(run):
    run("simulate -o by.csv --titles titles.csv --by-taste --factors 2 --items 80 --ratings 8000")
    done = run("fit by.csv --titles titles.csv --for recommend --test-size 0 -o by.dotbias")
    assert "Lists: ImplicitALS" in done.stderr
    (first,) = json.loads(run("recommend by.dotbias --user 1 -k 1 --genre comedy --json").stdout)
    assert re.fullmatch(r"The \w+ \w+ \(\d{4}\)", first["title"])


def test_items_of_ones_own_without_ratings_count_once_each(run, workplace):
    run("simulate -o seen.csv --kind events --users 60 --items 40 --ratings 900")
    run("fit seen.csv -o seen.dotbias --list-decay 0.1 --test-size 0")
    (workplace / "items.csv").write_text("item\n3\n8\n")
    (workplace / "plays.csv").write_text("item,plays\n3,1\n8,1\n20,0\n")
    asked = ("recommend", "seen.dotbias", "--csv", "--for-ratings")
    assert run(*asked, "items.csv").stdout == run(*asked, "plays.csv").stdout
    assert "column plays holds counts" in run(*asked, "plays.csv").stderr
    assert "column plays" not in run(*asked, "plays.csv", "--kind", "counts").stderr


@pytest.mark.parametrize(
    ("kind", "columns"),
    [("counts", ["user", "item", "count"]), ("events", ["user", "item"])],
)
def test_counts_and_events_are_invented_read_and_split(run, workplace, kind, columns):
    run(f"simulate -o {kind}.csv --users 60 --items 40 --ratings 900 --kind {kind}")
    done = run(f"split {kind}.csv --train train.csv --test test.csv --force")
    said = {"counts": "column count holds counts", "events": "each row is one event"}
    assert said[kind] in done.stderr
    for name in ("train.csv", "test.csv"):
        assert (workplace / name).read_text().splitlines()[0] == ",".join(columns)
    table = Reading().read(f"{kind}.csv")
    assert table.kind == kind
    low, high = table.scale
    values = "" if kind == "events" else f" from {low:g} to {high:g}"
    assert summary(table) == f"900 {kind}{values} by 60 users of 40 items."


def test_how_repeated_pairs_are_read_can_be_said(run, workplace):
    (workplace / "plays.csv").write_text("user,item,plays\n1,1,2\n1,2,5\n1,1,4\n2,1,7\n")
    for options, plays in (("", "6"), ("--duplicates last", "4"), ("--duplicates mean", "3")):
        run(f"split plays.csv --train all.csv --test one.csv --test-size 0.4 --force {options}")
        parts = [(workplace / name).read_text() for name in ("all.csv", "one.csv")]
        assert f"1,1,{plays}.0\n" in "".join(parts)
    done = run("split plays.csv --train all.csv --test one.csv --force --duplicates error", code=1)
    assert "--duplicates sum" in done.stderr
    done = run("fit plays.csv --kind ratings --duplicates sum", code=1)
    assert "ratings do not add up" in done.stderr


def test_ones_own_ratings_name_items_by_title(run, workplace):
    (workplace / "films.csv").write_text("movieId,title\n3,Heat (1995)\n8,Ran (1985)\n")
    run("fit", "ratings.csv", "--titles", "films.csv", "-o", "titled.dotbias", "--factors", 4)
    (workplace / "by_id.csv").write_text("item,rating\n3,5\n8,1\n")
    (workplace / "by_title.csv").write_text("film,stars\nHeat (1995),5\nRan (1985),1\n")
    (workplace / "by_name.csv").write_text("what,how\nHeat (1995),5\nRan (1985),1\n")
    asked = ("recommend", "titled.dotbias", "--csv", "--for-ratings")
    by_id = run(*asked, "by_id.csv").stdout
    assert run(*asked, "by_title.csv").stdout == by_id
    named = ("--item-column", "what", "--rating-column", "how")
    assert run(*asked, "by_name.csv", *named).stdout == by_id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "item,rating\n3,9\n",
            "mistaken.csv, row 2, column rating: '9' is outside the scale 0.5-5",
        ),
        ("item,rating\n3,4\n3,5\n", "item 3 is rated twice, 4 and 5"),
        ("item,rating\n3,much\n", "row 2, column rating: 'much' is not a number"),
        ("item,rating\n", "there are no rows"),
        ("a,b\n3,4\n", "no item column is recognised among a, b"),
    ],
)
def test_a_mistake_in_ones_own_ratings_is_named(run, workplace, model, text, message):
    (workplace / "mistaken.csv").write_text(text)
    done = run("recommend", model, "--for-ratings", "mistaken.csv", code=1)
    assert done.stdout == ""
    assert message in " ".join(done.stderr.split())


def test_whoever_rates_nothing_that_is_known_gets_what_anybody_does(run, workplace, model):
    (workplace / "odd.csv").write_text("item,rating\n99998,5\n99999,4\n")
    asked = ("recommend", model, "--for-ratings", "odd.csv", "-k", 3)
    done = run(*asked)
    assert "left out 2 of 2 items" in done.stderr
    assert done.stdout.count(" item ") >= 3  # the column basis
    assert "odd.csv, row 2: unknown item 99998" in run(*asked, "--strict", code=1).stderr


def test_a_model_in_half_precision_stays_so(run, workplace, ratings):
    fit = ("fit", ratings, "--solver", "als", "--factors", 8, "--test-size", 0)
    sizes = {}
    for name, how in {"whole": (), "half": ("--half",)}.items():
        run(*fit, *how, "-o", f"{name}.dotbias")
        sizes[name] = (workplace / f"{name}.dotbias").stat().st_size
        assert ("half precision" in run("info", f"{name}.dotbias").stdout) == bool(how)
    assert sizes["half"] < sizes["whole"] - 7 * 2 * 500  # of 8 factors of 500 rows
    (workplace / "one.csv").write_text("user,item,rating\n9001,3,5\n")
    run("update", "half.dotbias", "one.csv", "-o", "half.dotbias", "--force")
    assert "half precision" in run("info", "half.dotbias").stdout
    assert "give --output" in run(*fit[:4], "--half", code=2).stderr


def test_the_error_of_a_model_in_half_precision_is_its_own(run, workplace, ratings):
    fit = ("fit", ratings, "--solver", "als", "--factors", 8, "--no-refit", "--json")
    told = run(*fit, "--half", "-o", "rounded.dotbias").stdout
    _, test = db.read_ratings(ratings).split(0.2, seed=0)
    found = db.evaluate(db.Recommender.load(workplace / "rounded.dotbias"), test)
    assert json.loads(told)["held_out"]["rmse"] == found.rmse
    assert json.loads(run(*fit).stdout)["held_out"]["rmse"] != found.rmse


def test_new_ratings_join_a_model(run, workplace, model):
    (workplace / "new.csv").write_text("user,item,rating\n9001,3,5\n9001,8,1\n1,9002,4\n")
    done = run("update", model, "new.csv", "-o", "grown.dotbias")
    assert "3 ratings joined" in done.stderr
    assert "1 new users, 1 new items" in " ".join(done.stderr.split())
    assert "9001" in run("recommend", "grown.dotbias", "--user", "9001").stdout
    assert "3 ratings, 1 new users, 1 new items" in run("info", "grown.dotbias").stdout
    report = json.loads(run("update", model, "new.csv", "-o", "g.dotbias", "--json").stdout)
    assert (report["n_ratings"], report["n_new_users"], report["n_new_items"]) == (3, 1, 1)
    (workplace / "new.csv").write_text("user,item,rating\n9001,3,99\n")
    assert "outside the scale" in run("update", model, "new.csv", "-o", "g.dotbias", code=1).stderr
    (workplace / "new.csv").write_text("userId,movieId,stars\n1,2,3\nbob,3,4\n")
    done = run("update", model, "new.csv", "-o", "g.dotbias", code=1)
    assert "new.csv, row 3, column userId: 'bob' is no integer, as the ids should be" in done.stderr


def test_offline_says_what_to_do(run):
    done = run("download", "ml-100k", code=1, DOTBIAS_DATASETS_URL="http://127.0.0.1:9/")
    assert "ml-100k.zip" in done.stderr


def test_sets_with_their_licences(run):
    shown = " ".join(run("sets").stdout.split())
    for name in ("ml-latest-small", "ml-100k", "ml-32m"):
        assert shown.count(name) >= 2
    assert "no commercial use without permission" in shown
    assert all(row["licence"] for row in json.loads(run("sets", "--json").stdout))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("events", "--alpha 3", "--alpha is for counts, and these are events"),
        (
            "ratings",
            "--count-weighting bm25",
            "--count-weighting is for counts, and these are ratings",
        ),
        ("counts", "--liking 1", "--liking is for ratings, and these are counts"),
        ("ratings", "--for predict --list-decay 0.1", "--for predict makes none"),
        ("counts", "--loss bpr --alpha 3", "--alpha is for ImplicitALS, and DotBias of"),
        (
            "events",
            "--solver gibbs",
            "--solver gibbs is for a model of ratings, and these are events",
        ),
        ("counts", "--model net", "--model net is for a model of ratings, and these are counts"),
        ("ratings", "--for recommend --solver als", "and --for recommend fits none: leave it out"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(run, workplace, kind, options, message):
    table = workplace / f"{kind}.csv"
    if not table.exists():
        run("simulate", "-o", table, "--kind", kind, "--users", 20, "--items", 10, "--ratings", 90)
    for command in ("fit", "cross-validate"):
        done = run(command, table, *options.split(), code=1)
        assert message in " ".join(done.stderr.split())
        assert done.stdout == ""


def test_a_place_that_cannot_be_written_is_refused_before_the_work(run, model, ratings):
    nowhere = "no-such-folder/x"
    for command, file in (
        (f"predict {model} {ratings} -o", f"{nowhere}.csv"),
        (f"recommend {model} --all-users -o", f"{nowhere}.csv"),
        (f"update {model} {ratings} -o", f"{nowhere}.dotbias"),
        (f"fit {ratings} -o", f"{nowhere}.dotbias"),
        ("simulate -o", f"{nowhere}.csv"),
        (f"split {ratings} --train fresh.csv --test", f"{nowhere}.csv"),
    ):
        done = run(f"{command} {file}", code=1)
        assert done.stderr == f"Error: cannot write {file}: there is no folder no-such-folder\n"
    for command in (f"recommend {model} --user 1", "simulate", f"predict {model} {ratings}"):
        done = run(f"{command} -o table.txt", code=1)
        reason = "the name of a table must end in .csv or .parquet"
        assert done.stderr == f"Error: cannot write table.txt: {reason}\n"
