"""The benchmarks run, on tiny sizes: their answers are checked there, and nothing of them rots."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from children import python

BENCHES = Path(__file__).parent.parent / "benches"
ROWS = {
    "topk",
    "topk-384",
    "icfl",
    "omp",
    "mp",
    "training",
    "autoencoder",
    "autoencoder-aux",
    "whitening",
    "selectivity",
    "auroc",
    "planted",
    "topk-avx2",
    "icfl-avx2",
    "topk-one",
    "icfl-one",
    "import",
}


@pytest.fixture(scope="module", autouse=True)
def _modules_of_the_benches():
    sys.path.insert(0, str(BENCHES))
    yield
    sys.path.remove(str(BENCHES))


def test_the_table_is_made_and_its_answers_are_right(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- speed table: begin -->\nold\n<!-- speed table: end -->\nafter\n")
    options = ["--quick", "--repetitions", "1", "--output", tmp_path, "--markdown", page]
    done = python(BENCHES / "table.py", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert {row["name"] for row in rows} == ROWS
    for row in (row for row in rows if row["absent"] is None):
        ours, *peers = row["contenders"]
        assert row["error"] is None
        assert row["checked"] or row["name"] == "import"
        assert len(ours["seconds"]) == 1
        assert peers
        for peer in peers:  # timed, or the table says why not
            assert (peer["ratio"] is None) == bool(peer["failure"])
            assert peer["failure"] or peer["ratio"]["median"] > 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| encode_icfl" in text
    assert "old" not in text


def in_text(result) -> str:
    from speed.report import to_text

    about = {
        "machine": {"cpu": "", "cores": 2, "simd": "", "memory_gib": 1, "system": ""},
        "versions": {},
        "load_start": 0.0,
        "load_end": 0.0,
        "repetitions": 2,
        "size": "quick",
    }
    return to_text([result], about)


def test_a_missing_peer_is_said_to_be_missing(monkeypatch):
    from speed import case as cases
    from speed.case import Case, Contender, Row, Target
    from speed.runner import run_row
    from speed.targets import judge

    monkeypatch.setattr(cases, "find_spec", lambda name: None)
    ours = Contender("icfl", lambda: lambda: 1, 1)
    peer = Contender("SPAMS omp", list, 1, "spams", target=Target(ratio=5))
    case = Case({}, ours, [peer], lambda found: sorted(found))
    result = run_row(Row("row", "a row", lambda size: case), "quick", repetitions=1, rest=0.0)
    judge(result)
    text = in_text(result)
    assert "missing: spams-bin" in text
    assert "at least 5: not measured" in text
    assert "Not met: row (SPAMS omp: at least 5)" in text


def test_a_wrong_answer_is_found_and_not_timed():
    """A check that cannot fail checks nothing: here one coefficient, then one atom, is wrong."""
    import icfl
    from speed.answers import check_codes, oracles
    from speed.case import Case, Contender, Row, WrongAnswerError
    from speed.inputs import planted
    from speed.runner import run_row

    problem = planted(64, 32, 128, 4)
    Z = icfl.encode_topk(problem.X, problem.components, 4)

    def check(codes) -> str:
        define = partial(oracles.encode_topk, n_nonzero=4)
        return check_codes(codes, problem.X, problem.components, define, 64)

    assert "64 rows" in check(Z)
    off, moved = Z.copy(), Z.copy()
    off.data[5] *= 1.001
    moved.indices[0] += 1
    for wrong, message in ((off, "coefficients are off"), (moved, "supports differ")):
        with pytest.raises(WrongAnswerError, match=message):
            check(wrong)

    ours = Contender("icfl", lambda: lambda: off, 64)
    row = Row("row", "a row", lambda size: Case({}, ours, [], lambda found: [check(found["icfl"])]))
    result = run_row(row, "quick", repetitions=1, rest=0.0)
    assert "wrong answer: coefficients are off in 1 clear rows" in str(result.error)
    assert result.ours.seconds == []


@pytest.mark.parametrize(("L", "rounds"), [(1, 6), (3, 4)])
def test_replay_finds_a_wrong_step(L, rounds):
    import icfl
    from icfl.coding.coders import BlockPursuit
    from speed.case import WrongAnswerError
    from speed.inputs import planted
    from speed.replay import check_block_pursuit

    problem = planted(64, 32, 128, 4)
    X, D = problem.X, problem.components
    Z = icfl.encode_icfl(X, D, n_iterations=rounds, atoms_per_iteration=L)

    class Damaged:
        """Codes as they should be, up to a change in the last round."""

        def __init__(self, n_rounds: int) -> None:
            self.coder, self.last = BlockPursuit(n_rounds, L, 0.0, "positive"), n_rounds == rounds

        def encode(self, dictionary, X, bias, *, use_gram, n_jobs):
            indptr, indices, data = self.coder.encode(
                dictionary, X, bias, use_gram=use_gram, n_jobs=n_jobs
            )
            if self.last:
                data = data * np.float32(1.001)
            return indptr, indices, data

    def replay(make) -> str:
        return check_block_pursuit(make, rounds, L, "positive", X, D, Z, 16)

    assert f"{16 * rounds} rounds" in replay(lambda n: BlockPursuit(n, L, 0.0, "positive"))
    with pytest.raises(WrongAnswerError, match=f"round {rounds}"):
        replay(Damaged)


def test_replay_finds_another_selection():
    """Codes by absolute inner products are not those of signed ones."""
    import icfl
    from icfl.coding.coders import OrthogonalPursuit
    from speed.case import WrongAnswerError
    from speed.inputs import planted
    from speed.replay import check_orthogonal_pursuit

    problem = planted(64, 32, 128, 4)
    X, D = problem.X, problem.components
    Z = icfl.encode_omp(X, D, 6)

    def replay(selection: str) -> str:
        return check_orthogonal_pursuit(
            lambda n: OrthogonalPursuit(n, 0.0, "absolute"), 6, selection, X, D, Z, 16
        )

    assert "96 rounds" in replay("absolute")
    with pytest.raises(WrongAnswerError, match="an atom left out is better"):
        replay("positive")


def test_a_peer_that_breaks_is_shown_as_broken():
    from speed.case import Case, Contender, Row
    from speed.runner import run_row

    def broken():
        raise RuntimeError("no licence")

    contenders = [Contender("icfl", lambda: lambda: 1, 1), Contender("peer", broken, 1)]
    case = Case({}, contenders[0], contenders[1:], lambda found: sorted(found))
    result = run_row(Row("row", "a row", lambda size: case), "quick", repetitions=2, rest=0.0)
    assert result.error is None
    assert result.checked == ["icfl"]
    assert len(result.ours.seconds) == 2
    assert result.peers[0].failure == "failed: RuntimeError: no licence"


def test_ratios_are_taken_within_a_repetition():
    from speed.case import Contender
    from speed.timing import ratios

    ours, peer = Contender("icfl", list, 100), Contender("peer", list, 10)
    assert ratios([1.0, 1.0], [1.0, 2.0], peer, ours) == [10.0, 5.0]


def test_peers_that_fail_are_tried_again_and_then_dropped():
    from speed.case import Contender
    from speed.timing import time_contenders

    answers = iter([None, None, "good", *[None] * 3])
    peer = Contender("peer", list, 1, refuse=lambda a: None if a else "nothing came")
    runs = {"peer": lambda: next(answers)}
    assert time_contenders([peer], runs, 1, rest=0.0)["peer"].failure is None
    assert "nothing came" in str(time_contenders([peer], runs, 1, rest=0.0)["peer"].failure)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_memory_that_a_call_takes_and_gives_back_is_counted(monkeypatch):
    """300 MiB that lived only inside the call are seen, the inputs made before it are not."""
    from speed import peak

    child = """
import numpy as np
from speed.peak import _wait_for_parent
inputs = np.ones(100 << 17)
np.ones(400 << 17)  # a transient of making them: no part of the call
_wait_for_parent()
inputs[0] = np.ones(300 << 17)[-1]
_wait_for_parent()
"""
    spawn = subprocess.Popen
    monkeypatch.setattr(
        peak.subprocess, "Popen", lambda command, **rest: spawn([*command[:2], child], **rest)
    )
    from speed.rows import ROWS

    found = peak.peak_of(ROWS["topk"], "icfl", "quick")
    assert found is not None
    assert 299 <= found.added <= 310
    assert found.total >= 500


def verdicts(target, seconds=1.0, *, ours=(1.0, 5), memory=(None, None), cut_short=None):
    """What `judge` says of one peer with 5 samples, beside ours of (seconds, samples)."""
    from speed.case import Target
    from speed.result import ContenderResult, RowResult
    from speed.targets import judge
    from speed.timing import Spread

    ratio = seconds / 5 * ours[1] / ours[0]
    contenders = [
        ContenderResult("icfl", ours[1], seconds=[ours[0]], added_mib=memory[0]),
        ContenderResult(
            "peer",
            5,
            seconds=[seconds],
            ratio=Spread(ratio, ratio, ratio),
            cut_short=cut_short,
            added_mib=memory[1],
            target=Target(**target),
        ),
    ]
    row = RowResult("row", "a row", "s", contenders=contenders)
    judge(row)
    assert RowResult.from_dict(json.loads(json.dumps(row.to_dict()))) == row
    return list(contenders[1].verdicts.values())


def test_targets_are_met_missed_or_not_measured():
    assert verdicts({"ratio": 4}, 4.0) == [True]
    assert verdicts({"ratio": 4}, 3.9) == [False]
    assert verdicts({"ratio": 4}, 4.0, cut_short="not reached") == [True]
    assert verdicts({"ratio": 4}, 3.9, cut_short="not reached") == [None]
    assert verdicts({"ratio": 4, "memory_share": 0.1}, 4.0) == [True, None]
    assert verdicts({"memory_share": 0.1}, memory=(10, 100)) == [True]
    assert verdicts({"memory_share": 0.1}, memory=(11, 100)) == [False]
    # A peer with fewer samples would need more for as many as ours: it can lose, not win.
    assert verdicts({"memory_share": 0.1}, ours=(1.0, 50), memory=(10, 100)) == [True]
    assert verdicts({"memory_share": 0.1}, ours=(1.0, 50), memory=(11, 100)) == [None]


def test_what_was_not_reached_is_a_lower_bound_in_the_table():
    from speed.case import Case, Contender, Row, Target
    from speed.runner import run_row
    from speed.targets import judge

    said = "not reached in 6 s: 0.89"
    peer = Contender(
        "peer",
        lambda: lambda: 6.0,
        1,
        seconds=float,
        cut_short=lambda taken: said,
        target=Target(ratio=5),
    )
    ours = Contender("icfl", lambda: lambda: 2.0, 1, seconds=float)
    row = Row("row", "a row", lambda size: Case({}, ours, [peer], lambda found: []), unit="s")
    result = run_row(row, "quick", repetitions=2, rest=0.0)
    judge(result)
    text = in_text(result)
    assert said in text
    assert "> 3.00 (3.00 to 3.00)" in text
    assert "at least 5: not measured" in text
    assert "0 of 1 targets are met" in text


def test_the_race_stops_at_the_goal_and_drops_the_slower_half():
    from speed.race import Data, Entrant, Setting, choose

    class Sure:
        """Finds the truth at step number `batch_size`, having looked at nothing."""

        def __init__(self, data, setting) -> None:
            self.data, self.left = data, setting.batch_size
            self.components = data.start

        def step(self, X) -> None:
            self.left -= 1
            if self.left == 0:
                self.components = self.data.truth

    data = Data(256, 16, 32, seed=0)
    assert data.cosine(data.truth[::-1]) == pytest.approx(1.0)
    assert data.cosine(data.start) < 0.9
    entrants = [Entrant(Sure, data, Setting(n), 0.9) for n in (7, 3)]
    outcome = choose(entrants, limit=60.0, patient=False)
    assert outcome.reached
    assert outcome.cut_short is None
    assert len(outcome.tried) == 2
    assert all(tried["cosine"] >= 0.9 for tried in outcome.tried)
    never = choose([Entrant(Sure, data, Setting(64), 2.0)], limit=0.01, patient=True)
    assert not never.reached
    assert str(never.cut_short).startswith("not reached in 0 s: ")


@pytest.mark.skipif(sys.platform == "win32", reason="needs wait4")
def test_peak_memory_is_seen_from_outside():
    from speed.peak import INPUTS, measure, peak_of
    from speed.rows import ROWS

    row = ROWS["selectivity"]
    inputs, peaks = peak_of(row, INPUTS, "quick"), measure(row, ["icfl", "no such"], "quick")
    assert list(peaks) == ["icfl"]
    assert inputs is not None
    for peak in (inputs, peaks["icfl"]):
        assert 10 < peak.total < 2000
        assert 0 <= peak.added < peak.total


def test_the_suite_of_single_calls_runs():
    done = python("-m", "pytest", BENCHES, "--benchmark-disable", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_gpu_benchmark_runs_and_says_where_there_is_none(tmp_path):
    tiny = ["--M", "64", "--d", "16", "--batch", "64", "--batches", "4", "--repetitions", "1"]
    done = python(BENCHES / "gpu.py", "--device", "cpu", *tiny, "--json", tmp_path / "gpu.json")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert len(results) == 4
    assert all(result["icfl"] > 0 and result["plain"] > 0 for result in results)
    refused = ["-c", f"import sys; sys.path.insert(0, {str(BENCHES)!r}); import torch, gpu; "]
    refused[1] += "torch.cuda.is_available = lambda: False; sys.exit(gpu.main([]))"
    done = python(*refused)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "needs a CUDA device" in done.stderr
