"""The curves and the roofline: that they are made, and that the model does its sums."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from children import python

ROOT = Path(__file__).parent.parent
BENCHES = ROOT / "benches"


@pytest.fixture(autouse=True)
def _modules_of_the_benches(monkeypatch):
    monkeypatch.syspath_prepend(BENCHES)


def machine(threads: int = 1):
    """A machine of round numbers: a second has 1e9 operations, 100 bytes of 1 KiB, 10 of 1 MiB."""
    from speed.peaks import Peaks

    return Peaks(threads, 1e9, ((1 << 10, 100.0), (1 << 20, 10.0)))


def test_curves_are_measured_drawn_and_put_into_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- curves: begin -->\nold\n<!-- curves: end -->\nafter\n")
    options = ["--output", tmp_path / "results", "--page", page]
    done = python(BENCHES / "curves.py", "--quick", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "says nothing of speed" in text
    for picture in ("curves", "roofline", "limits"):
        assert f"images/{picture}.png" in text
        assert (tmp_path / "images" / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    points = json.loads((tmp_path / "results" / "curves.json").read_text())["points"]
    assert {p["sweep"] for p in points} == {"M", "d", "nonzeros", "n", "threads"}
    assert {p["work"] for p in points} == {"topk", "icfl", "icfl_call", "omp"}
    assert all(s > 0 for p in points for s in p["seconds"])
    # What was measured says the same when it is told again.
    assert python(BENCHES / "curves.py", "--again", *options).returncode == 0
    assert page.read_text() == text


def test_a_page_without_markers_is_refused_before_anything_is_measured(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    done = python(BENCHES / "curves.py", "--page", page, "--output", tmp_path)
    assert done.returncode == 1
    assert "<!-- curves: begin -->" in done.stderr
    assert page.read_text() == "nothing\n"


def test_the_documentation_has_the_markers():
    from speed.curve_page import SECTION
    from speed.sections import check_section

    check_section(ROOT / "docs" / "performance.md", SECTION)


def test_bandwidth_is_that_of_the_nearest_sizes():
    peaks = machine()
    assert peaks.bandwidth(1) == peaks.bandwidth(1 << 10) == 100
    assert peaks.bandwidth(1 << 15) == 55  # half-way, in powers of two
    assert peaks.bandwidth(1 << 30) == 10


def test_costs_are_those_of_a_loop_that_counts():
    """Rows of the Gram matrix that each algorithm reads, one by one."""
    from speed.roofline import GRAM_ENTRY, Shape, icfl, omp, topk

    shape = Shape(d=8, M=64, n=1024, rounds=7, atoms_per_round=3, gram="kept")
    rows = sum(3 for round in range(7) if round > 0)  # the last step is not followed by a search
    assert icfl(shape).gram_bytes == rows * GRAM_ENTRY * 64
    rows = sum(1 for step in range(7) for _ in range(step))  # all atoms so far, in every step
    assert omp(shape).gram_bytes == rows * GRAM_ENTRY * 64
    products = sum(2 for _ in range(8) for _ in range(64))
    assert sum(topk(shape).operations.values()) == products
    assert sum(icfl(shape).operations.values()) == products
    # Without a Gram matrix every round is a product; made in the call, samples share one triangle.
    without = icfl(replace(shape, gram="none"))
    assert (sum(without.operations.values()), without.gram_bytes) == (7 * products, 0)
    triangle = np.tril(np.ones((64, 64)))
    made = icfl(replace(shape, gram="made")).gram_operations * 1024
    assert made == pytest.approx(2 * 8 * triangle.sum(), rel=1 / 64)  # but for half the diagonal


def test_least_times_are_costs_over_peaks():
    from speed.roofline import Cost, phases

    sizes = {"gram_size": 1 << 20, "atom_size": 1 << 10, "score_size": 1 << 9}
    work = {"gram_bytes": 20, "atom_bytes": 300, "score_bytes": 50, "gram_operations": 1e9}
    cost = Cost({"f32": 1e9, "int8": 4e9}, **work, **sizes)
    assert phases(cost, machine(threads=2)) == {
        "product": 2.0,  # int8 goes four at a time
        "making Gram": 0.5,
        "Gram rows": 2.0,
        "atoms": 3.0,
        "exact scores": 0.0,
        "scores": 0.5,
    }


@pytest.mark.parametrize(
    ("least", "reached", "limiting"),
    [
        ({"product": 0.6, "atoms": 0.3}, 0.9, "product"),
        ({"product": 0.1, "atoms": 0.3}, 0.4, "not in the model"),
    ],
)
def test_what_limits_a_point(least, reached, limiting):
    from speed.limits import Limited
    from speed.roofline import Cost, Shape
    from speed.sweeps import Point, Setting

    shape = Shape(d=1, M=1, n=10, rounds=1, atoms_per_round=1, gram="none")
    point = Point("topk", "M", Setting(1, 1, 1, 1), shape, (10.0, 9.0, 11.0))
    found = Limited(point, Cost({"f32": 1.0}), machine(), least)
    assert found.seconds == 1
    assert found.reached == pytest.approx(reached)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.limiting == limiting


def test_points_have_the_peaks_of_the_threads_that_find_work():
    from speed.limits import limit
    from speed.roofline import Shape
    from speed.sweeps import Point, Setting

    def threads(n: int) -> int:
        shape = Shape(d=1, M=1, n=n, rounds=1, atoms_per_round=1, gram="none")
        point = Point("topk", "n", Setting(1, 1, 1, 4, n), shape, (1.0,))
        return limit([point], {1: machine(1), 2: machine(2)})[0].peaks.threads

    assert [threads(n) for n in (1, 14, 15, 1000)] == [1, 1, 2, 2]


def test_calls_that_take_too_long_are_left_out(monkeypatch):
    """A clock on which every sample takes a second: 16 and more are longer than the plan allows."""
    from speed import sweeps

    monkeypatch.setattr(sweeps, "_time", lambda encode, X: float(len(X)))
    plan = replace(sweeps.quick(1), most_seconds=10.0, sweeps={"n": (1, 8, 16, 64)})
    found = [(p.work, p.shape.n) for p in sweeps.measure(plan, lambda line: None)]
    assert found == [(work, n) for n in (1, 8) for work in sweeps.WORKS]


def test_a_run_has_as_many_samples_as_fill_it(monkeypatch):
    """On this clock 256 samples take 266 ms: 289 would fill 300, and the power of two is 256."""
    from speed import sweeps

    monkeypatch.setattr(sweeps, "_time", lambda encode, X: 0.01 + 0.001 * len(X))
    plan = replace(sweeps.quick(1), run_seconds=0.3, most_samples=4096, sweeps={"M": (128,)})
    found = {p.work: p.shape.n for p in sweeps.measure(plan, lambda line: None)}
    assert found == {"topk": 256, "icfl": 256, "icfl_call": 4096, "omp": 256}


@pytest.mark.skipif(sys.platform == "win32", reason="needs wait4")
def test_scale_measures_every_encoder():
    sizes = ["--M", "256", "--d", "32", "--samples", "4"]
    done = python(BENCHES / "scale.py", *sizes)
    assert done.returncode == 0, done.stderr
    _, _, *rows, verdict = done.stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["topk", "icfl", "omp"]
    assert "within 6 GiB" in verdict


def test_scale_fails_above_its_budget(monkeypatch, capsys):
    """Inputs of 1 GiB, and an encoder that takes 7.5 GiB in all: 6.5 beyond them."""
    import scale

    def peak(encoder: str, options: object, samples: int) -> scale.Run:
        taken = {"inputs": 1.0, "omp": 7.5}.get(encoder, 2.0)
        return scale.Run(encoder, samples, int(taken * scale.GIB), 0.0)

    monkeypatch.setattr(scale, "measure", peak)
    assert scale.main([]) == 1
    assert "6.50 GiB beyond the inputs, ABOVE 6 GiB" in capsys.readouterr().out
    assert scale.main(["--budget", "6.5"]) == 0
