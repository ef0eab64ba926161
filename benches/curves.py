"""Measure how throughput depends on sizes, draw it, and say what limits it.

Samples per second of TopK, ICFL and OMP against atoms, features, non-zeros, samples and threads;
then a roofline: what each encoder multiplies and reads, against what this machine can do.

    python benches/curves.py                               some minutes; JSON and pictures
    python benches/curves.py --quick                       tiny sizes, which say nothing of speed
    python benches/curves.py --page docs/performance.md    also into that page and docs/images
    python benches/curves.py --again                       pictures and page from the last JSON
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speed.curve_page import SECTION, to_markdown
from speed.limits import limit
from speed.machine import describe_machine, load_average
from speed.peaks import Peaks, measure_peaks
from speed.roofline import Shape
from speed.sections import check_section, replace_section, write_atomically
from speed.sweeps import Plan, Point, Setting, measure, quick, standard

RESULTS = Path(__file__).parent / "results"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--again", action="store_true", help="measure nothing, draw what was")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of curves.json")
    parser.add_argument("--page", type=Path, help="page to write into; pictures go to images/")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        import matplotlib as mpl

        from speed import curve_pictures
    except ImportError:
        raise SystemExit('pictures need matplotlib: pip install "icfl[report]"') from None
    options.output.mkdir(parents=True, exist_ok=True)
    if options.page is not None:
        check_section(options.page, SECTION)  # now rather than after minutes
    kept = options.output / "curves.json"
    if not options.again:
        results = run(options.quick)
        write_atomically(kept, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    about, base, peaks, points = load(json.loads(kept.read_text(encoding="utf-8")))
    limited = limit(points, peaks)
    pictures = options.output if options.page is None else options.page.parent / "images"
    pictures.mkdir(exist_ok=True)
    with mpl.rc_context(curve_pictures.STYLE):
        curve_pictures.draw_curves(pictures / "curves.png", points, base)
        curve_pictures.draw_roofline(pictures / "roofline.png", limited, peaks[max(peaks)])
        curve_pictures.draw_limits(pictures / "limits.png", limited, base)
    text = to_markdown(about, base, peaks, limited)
    if options.page is None:
        print(text)
    else:
        replace_section(options.page, SECTION, text)
    return 0


def run(tiny: bool) -> dict[str, Any]:
    """Measure the machine, then every point."""
    cores = int(describe_machine()["cores"])
    plan: Plan = (quick if tiny else standard)(cores)
    about = {"machine": describe_machine(), "quick": tiny, "load_start": load_average()}
    tell("peaks of the machine")
    peaks = [asdict(measure_peaks(n, quick=tiny)) for n in plan.sweeps["threads"]]
    points = [asdict(point) for point in measure(plan, tell)]
    about["load_end"] = load_average()
    return {"about": about, "base": asdict(plan.base), "peaks": peaks, "points": points}


def load(kept: dict[str, Any]) -> tuple[dict[str, Any], Setting, dict[int, Peaks], list[Point]]:
    """Return what `run` measured, as values."""
    peaks = {
        p["threads"]: Peaks(p["threads"], p["product"], tuple((s, r) for s, r in p["reads"]))
        for p in kept["peaks"]
    }
    points = [
        Point(p["work"], p["sweep"], Setting(**p["at"]), Shape(**p["shape"]), tuple(p["seconds"]))
        for p in kept["points"]
    ]
    return kept["about"], Setting(**kept["base"]), peaks, points


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
