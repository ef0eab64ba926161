"""The commands behind docs/science.md run, on tiny sizes, and print the rows that they should."""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import icfl

ROOT = Path(__file__).parent.parent
COMMANDS = ("claims", "latents", "choices", "planted", "transfer")
NUMBER = re.compile(r"[+-]?\d+\.\d+(?: ± \d+\.\d+)?")


@pytest.fixture(scope="module", autouse=True)
def _modules_of_the_benches():
    sys.path.insert(0, str(ROOT / "benches"))
    yield
    sys.path.remove(str(ROOT / "benches"))


@pytest.fixture
def tables(capsys):
    """What a command prints: rows of cells under each title."""

    def tables_of(*arguments: str) -> dict[str, list[list[str]]]:
        from science.__main__ import main

        main([*arguments, "--tiny", "--n-jobs", "1"])
        parts = capsys.readouterr().out.split("\n### ")[1:]
        return {part.splitlines()[0]: rows_of(part) for part in parts}

    return tables_of


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, rule, *rows = [line.strip("| ").split(" | ") for line in lines]
    assert rule == ["---"] * len(head)
    assert all(len(row) == len(head) for row in rows)
    return rows


def check_numbers(rows: list[list[str]], n_names: int) -> None:
    """Every cell behind the names is a number, with its spread where there is one."""
    for row in rows:
        assert all(NUMBER.fullmatch(cell) for cell in row[n_names:]), row


def names(entrants) -> list[str]:
    from science.entrants import available

    return [entrant.name for entrant in available(entrants)[0]]


def test_claims(tables):
    from science.entrants import CLAIMS

    means, differences = tables("claims", "--seeds", "1").values()
    both = [[name, kind] for kind in ("none", "control") for name in names(CLAIMS)]
    assert [row[:2] for row in means] == both
    assert [row[:2] for row in differences] == [row for row in both if row[0] != "ICFL"]
    for rows in (means, differences):
        check_numbers(rows, 2)
    raw = next(row for row in means if row[0] == "raw")
    assert raw[2] == "1.000 ± 0.000"  # they reconstruct themselves
    # Differences are of the rows above them, but for rounding of three numbers to three decimals.
    cosine = {row[0]: float(row[2].split()[0]) for row in means if row[1] == "none"}
    for row in differences[: len(cosine) - 1]:
        wanted = cosine["ICFL"] - cosine[row[0]]
        assert float(row[2].split()[0]) == pytest.approx(wanted, abs=1.5e-3 + 1e-9)


def test_claims_of_some_learners(tables):
    means, differences = tables("claims", "--seeds", "1", "--only", "PCA").values()
    assert [row[0] for row in means] == ["ICFL", "PCA"] * 2
    assert [row[0] for row in differences] == ["PCA"] * 2


def test_chance(tables):
    from science.entrants import CHANCE

    (rows,) = tables("chance", "--seeds", "1").values()
    both = [[name, kind] for kind in ("none", "control") for name in names(CHANCE)]
    assert [row[:2] for row in rows] == both
    check_numbers(rows, 2)


def test_latents(tables):
    from science.entrants import LATENTS

    (rows,) = tables("latents", "--seeds", "1").values()
    kinds = ("average", "maximum")
    assert [row[:2] for row in rows] == [[name, k] for name in names(LATENTS) for k in kinds]
    check_numbers(rows, 2)


def test_latents_that_stand_for_labels_are_counted_on_the_rows_held_out():
    from science.latents import _fires

    label = np.array(list("aaaabbbbcc") * 2)
    train = np.arange(20) < 10
    active = np.zeros((20, 3))
    active[label == "a", 0] = 1.0  # on all of one label
    active[[4, 5, 10], 1] = 1.0  # learnt: on half of the next label; judged: on another
    active[[8, 18, 19, 10], 2] = 1.0
    fires = _fires(sparse.csr_array(active) != 0, label, train, ~train, "average")
    assert fires["label"] == pytest.approx((1.0 + 0.0 + 1.0) / 3)
    assert fires["others"] == pytest.approx((0.0 + 1 / 6 + 1 / 8) / 3)
    assert fires["next"] == pytest.approx((0.0 + 1 / 4 + 1 / 4) / 3)
    assert fires["all"] == pytest.approx((4 + 1 + 3) / 30)


def test_probes(tables):
    from science.entrants import PROBED

    (rows,) = tables("probes", "--seeds", "1").values()
    both = [[name, kind] for kind in ("none", "control") for name in names(PROBED)]
    assert [row[:2] for row in rows] == both
    check_numbers(rows, 2)


class Fixed:
    """A fitted dictionary; it codes rows by themselves."""

    components_ = np.eye(2, dtype=np.float32)[::-1].copy()
    bias_ = np.full(2, 2.0, dtype=np.float32)

    def fit(self, rows):
        return self

    def transform(self, rows):
        return rows


def test_probes_read_what_fires_apart_from_by_how_much():
    from science.probes import _read
    from science.real_data import RealData

    label = np.tile(["a", "b"], 20)
    # Both fire on all rows; the second's code tells, and is below the bias for either label.
    X = np.column_stack([np.full(40, 3.0), np.where(label == "a", 0.5, 1.0)]).astype(np.float32)
    test = np.arange(40) < 20
    data = RealData("rows", X, label, {"half": test}, np.ones(40, dtype=bool))
    found = _read(Fixed(), data, test, "none", 1)
    assert found == {"codes": 1.0, "fires": 0.5, "products": 0.5, "largest": 0.5, "inputs": 1.0}


def test_choices(tables):
    from science.choices import CHOICES

    planted, benchmark = tables("choices", "--seeds", "2", "--passes", "1").values()
    for rows in (planted, benchmark):
        assert [row[0] for row in rows] == names(CHOICES)
        check_numbers(rows, 1)
        assert all("±" in cell for row in rows for cell in row[1:])


def test_planted(tables):
    from science.entrants import PLANTED

    (rows,) = tables("planted", "--seeds", "1").values()
    of_more = "ICFL, best of three times as many"
    best = [
        of_more,
        "true atoms",
        *(f"true atoms, {of}" for of in ("one threshold", "of all features")),
    ]
    best += ["probes with labels"]
    assert [row[0] for row in rows] == [*names(PLANTED), *best]
    for row in rows:  # with so few rows learnt from, no parent may have been found with a child
        check_numbers([[cell for cell in row if cell != "-"]], 1)
    assert all(row[9] == "-" or "-" not in row for row in rows[:-1])
    assert rows[-4][3] == rows[-3][3] == rows[-2][3] == "1.000"  # the true atoms are true
    *_, probes = rows
    assert [i for i, cell in enumerate(probes) if cell != "-"] == [0, 1, 2, len(probes) - 1]
    assert float(probes[1].split()[0]) <= float(probes[2].split()[0])
    three_times = tables("planted", "--seeds", "1", "--three-times", "--only", "TopK")
    assert [title.split(":")[1].split()[0] for title in three_times] == ["246"]
    flat = tables("planted", "--seeds", "1", "--flat", "--only", "TopK", "true atoms")
    ((title, rows),) = flat.items()
    assert title == "Features in no trees: 82 latents for 328 features in 26 dimensions"
    assert [row[9] for row in rows] == ["-"] * 2
    assert rows[1][3] == "1.000"


def test_true_atoms_find_more_by_rates_and_most_with_those_of_all_features():
    from science.planted import Problem, ceiling
    from science.truth import test_rows as rows_of_truth

    bench = icfl.datasets.make_synthetic_benchmark("tenth", random_state=0)
    problem = Problem(bench, rows_of_truth(bench, 4096, 1), bench.n_latents, 2)
    options = ({"by_rate": False}, {}, {"of_all": True})
    one, by_rate, of_all = (ceiling(problem, 1, **of) for of in options)
    # 0.89, 0.95 and 0.99 or so, of the same rows.
    assert one["f1"] + 0.02 < by_rate["f1"] < of_all["f1"] - 0.02
    assert one["matched_cosine"] == pytest.approx(1.0)
    assert of_all["matched_cosine"] == pytest.approx(1.0)


def test_best_of_more_are_as_many_as_asked_for_and_explain_most(monkeypatch):
    from science import planted
    from science.truth import test_rows as rows_of_truth

    bench = icfl.datasets.make_synthetic_benchmark("tenth", random_state=0)
    truth = rows_of_truth(bench, 4096, 1)
    problem = planted.Problem(bench, truth, bench.n_latents, 2)
    ranked = np.argsort(-bench.model.firing.frequency, kind="stable")

    def true_atoms(entrant, problem, seed, options):
        atoms = truth.components[ranked[: problem.latents]]
        coder = icfl.SparseCoder(
            atoms, algorithm="omp", n_nonzero=60, threshold=2.0, selection="positive"
        )
        return coder.fit(truth.X), 1.5

    monkeypatch.setattr(planted, "_fit", true_atoms)
    options = argparse.Namespace(rows=16_384, n_jobs=1)
    found = planted._best_of_more(problem, 0, options)
    assert found["matched_cosine"] == pytest.approx(1.0)
    assert found["seconds"] == 1.5
    model, _ = true_atoms(None, problem._replace(latents=3 * bench.n_latents), 0, options)
    rows = np.concatenate([chunk.X for chunk in bench.train(options.rows).chunks()])
    explained = np.square(model.transform(rows).toarray(), dtype=np.float64).sum(axis=0)
    best = np.argsort(explained)[-bench.n_latents :]
    fires = model.transform(truth.X).toarray() != 0
    assert found["l0"] == pytest.approx(fires[:, best].sum(axis=1).mean())
    assert 0.7 < fires[:, best].sum() / fires.sum() < 0.95  # as most of what fires is theirs


def test_planted_says_what_every_seed_came_to(capsys):
    from science.__main__ import main

    main(["planted", "--seeds", "2", "--only", "ICFL", "--tiny", "--n-jobs", "1"])
    table, after = capsys.readouterr().out.split("\n\nF1 of ICFL, seed by seed: ")
    each = [float(number) for number in after.strip(".\n").split(", ")]
    mean = float(rows_of(table)[0][1].split()[0])
    assert len(each) == 2
    assert np.mean(each) == pytest.approx(mean, abs=0.5e-3 + 0.5e-4 + 1e-9)


def test_transfer(tables):
    from science.entrants import TRANSFER
    from science.transfer import COLUMNS

    found = tables("transfer", "--seeds", "1")
    assert [re.sub(":.*", "", title) for title in found] == [
        f"wells by {grouping}" for grouping in ("plate", "plate map", "time point")
    ]
    for rows in found.values():
        wanted = [[name, column.title] for name in names(TRANSFER) for column in COLUMNS]
        assert [row[:2] for row in rows] == wanted
        check_numbers(rows, 2)
        for row in rows:
            seen, unseen, difference = (float(cell.split()[0]) for cell in row[2:])
            assert difference == pytest.approx(seen - unseen, abs=1.5e-3 + 1e-9)


def test_tokens_are_drawn_with_their_labels_and_images(tmp_path):
    from science.real_data import tokens

    place = np.arange(8 * 6, dtype=np.float16).reshape(8, 6, 1)
    np.savez(tmp_path / "tokens.npz", X=place, y_token_class=place[..., 0].astype(np.int8) % 3)
    data = tokens(tmp_path / "tokens.npz", 20)
    places = data.X[:, 0].astype(int)
    assert len(set(places)) == 20
    np.testing.assert_array_equal(data.label, places % 3)
    np.testing.assert_array_equal(data.groups, places // 6 % 5)
    np.testing.assert_array_equal(data.control, places % 3 == 0)


def test_halves_are_disjoint_and_as_many_rows_are_seen_as_unseen():
    from science.transfer import splits

    groups = np.repeat(["a", "b", "c"], [40, 7, 5])
    for split, group in zip(splits(groups, 0), "abc", strict=True):
        assert set(groups[split.judged]) == set(groups[split.seen]) == {group}
        assert group not in groups[split.unseen]
        assert len(split.seen) == len(split.unseen)
        assert not np.intersect1d(split.judged, split.seen).size


def test_every_learner_gets_its_options_and_unknown_ones_leave_it_out():
    from science.entrants import ICFL, Entrant, available

    model = Entrant("k-means", "baselines.KMeans").build(max_iter=None, n_components=5)
    assert (model.n_components, model.max_iter) == (5, icfl.baselines.KMeans().max_iter)
    model = Entrant("ICFL", "ICFL", {"threshold": 2.0}).build(threshold=1.0, max_steps=3, other=1)
    assert (model.threshold, model.max_steps) == (2.0, 3)
    there, missing = available([Entrant("new", "ICFL", {"no_such": 1}), ICFL])
    assert there == [ICFL]
    assert missing == ["Left out: new (ICFL has no option no_such)."]


def test_what_is_found_is_measured_as_the_learner_does():
    """Explained variance is that of `score`, however rows are scaled, with a bias or without."""
    from science.truth import Truth, found_by

    data = icfl.datasets.make_planted(512, 16, 32, n_active=3, random_state=0)
    for cls, unit_norm in (("ICFL", True), ("ICFL", False), ("TopKSAE", True), ("TopKSAE", False)):
        common = {"unit_norm_inputs": unit_norm, "max_iter": 2, "random_state": 1}
        model = getattr(icfl, cls)(32, **common).fit(data.X)
        numbers = found_by(model, Truth(data.X, data.codes, data.components))
        # Reconstructions are sums of a row's non-zeros in float32, here in float64: each entry of
        # some 1 differs by about eps of its 1.2e-7, the ratio of sums of squares by little more.
        assert numbers["explained_variance"] == pytest.approx(model.score(data.X), abs=1e-6)


def test_a_mean_without_a_spread_or_without_a_value():
    from science.markdown import Column

    column = Column("a", "a", decimals=1, scale=100)
    assert column.spread([0.1, 0.3]) == "20.0 ± 14.1"
    assert column.spread([0.1], signed=True) == "+10.0"
    assert column.spread([0.1, math.nan]) == "-"


def test_every_command_has_its_section_in_the_document():
    text = (ROOT / "docs" / "science.md").read_text()
    for command in COMMANDS:
        assert f"python -m benches.science {command}" in text
    command = [sys.executable, "-m", "benches.science", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)
