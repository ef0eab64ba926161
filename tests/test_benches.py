"""The benchmarks run, on tiny sizes: their answers are checked there, and nothing of them rots."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

BENCHES = Path(__file__).parent.parent / "benches"
ROWS = {"icfl", "topk", "omp", "mp", "training", "whitening", "selectivity", "import"}


@pytest.fixture(scope="module", autouse=True)
def _modules_of_the_benches():
    sys.path.insert(0, str(BENCHES))
    yield
    sys.path.remove(str(BENCHES))


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_table_is_made_and_its_answers_are_right(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- speed table: begin -->\nold\n<!-- speed table: end -->\nafter\n")
    options = ["--quick", "--repetitions", "1", "--output", tmp_path, "--markdown", page]
    done = python(BENCHES / "table.py", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert {row["name"] for row in rows} == ROWS
    for row in rows:
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


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_a_missing_peer_is_said_to_be_missing(tmp_path):
    done = python(BENCHES / "table.py", "--quick", "--only", "topk", "--output", tmp_path)
    assert "missing: torch is not installed" in done.stdout


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
    seconds = {"icfl": [1.0, 2.0], "peer": [1.0, 1.0]}
    assert ratios(seconds, peer, ours) == [10.0, 5.0]


def test_peers_that_fail_are_tried_again_and_then_dropped():
    from speed.case import Contender
    from speed.timing import time_contenders

    answers = iter([None, None, "good", *[None] * 3])
    peer = Contender("peer", list, 1, refuse=lambda a: None if a else "nothing came")
    runs = {"peer": lambda: next(answers)}
    assert time_contenders([peer], runs, 1, rest=0.0)[1] == {}
    assert "nothing came" in time_contenders([peer], runs, 1, rest=0.0)[1]["peer"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs wait4")
def test_peak_memory_is_seen_from_outside():
    from speed import rows
    from speed.peak import INPUTS, peak_mib

    peaks = [peak_mib(rows.ROWS["selectivity"], name, "quick") for name in (INPUTS, "icfl")]
    assert all(peak is not None and 10 < peak < 2000 for peak in peaks)


def test_the_suite_of_single_calls_runs():
    done = python("-m", "pytest", BENCHES, "--benchmark-disable", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
