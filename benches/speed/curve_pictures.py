"""The pictures of docs/performance.md: throughput along each size, and what limits it.

Colours are those of Okabe and Ito; every line also has its own marker.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from speed.limits import OUTSIDE, Limited, telling
from speed.peaks import Peaks
from speed.sweeps import WORKS, Point, Setting

__all__ = ["draw_curves", "draw_limits", "draw_roofline"]

AXES = {
    "M": "atoms M",
    "d": "features d",
    "nonzeros": "non-zeros asked for",
    "n": "samples in a call n",
    "threads": "threads",
}
LOOK = {
    "topk": ("#0072b2", "o"),
    "icfl": ("#d55e00", "s"),
    "icfl_call": ("#e69f00", "D"),
    "omp": ("#009e73", "^"),
}
SHADES = {
    "product": "#0072b2",
    "making Gram": "#56b4e9",
    "Gram rows": "#d55e00",
    "atoms": "#e69f00",
    "exact scores": "#cc79a7",
    "scores": "#009e73",
    OUTSIDE: "#d9d9d9",
}
PALE = (OUTSIDE, "making Gram", "atoms")  # shades on which white could not be read
ALIKE = 0.15  # roofs that differ by less would be drawn on one another
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "savefig.dpi": 150,
}


def draw_curves(path: Path, points: Sequence[Point], base: Setting) -> None:
    """Draw samples per second, one panel a sweep, with the range of the repetitions."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels = figure.subplots(2, 3, sharey=True).ravel()
    for axes, (sweep, label) in zip(panels, AXES.items(), strict=False):
        here = [p for p in points if p.sweep == sweep]
        for work in WORKS:
            _draw_line(axes, work, sweep, [p for p in here if p.work == work])
        values = sorted({getattr(p.at, sweep) for p in here})
        _log_axes(axes, values, getattr(base, sweep), label)
    panels[0].set_ylabel("samples / s")
    panels[3].set_ylabel("samples / s")
    handles, labels = panels[0].get_legend_handles_labels()
    panels[5].axis("off")
    panels[5].legend(handles, labels, loc="upper left", title="Encoder", alignment="left")
    panels[5].text(
        0.0,
        0.3,
        f"Where it is not varied:\nd = {base.d:,}, M = {base.M:,},\n"
        f"{base.nonzeros} non-zeros (ICFL: rounds of 5),\n{base.threads} threads (dotted lines).",
        transform=panels[5].transAxes,
        va="top",
        color="#444444",
    )
    figure.savefig(path, metadata={"Software": None})


def _draw_line(axes: Any, work: str, sweep: str, points: Sequence[Point]) -> None:
    if not points:
        return
    colour, marker = LOOK[work]
    at = [getattr(p.at, sweep) for p in points]
    low, middle, high = zip(*(p.rates for p in points), strict=True)
    axes.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(at, middle, color=colour, marker=marker, label=WORKS[work].title)


def _log_axes(axes: Any, values: Sequence[int], base: int | None, label: str) -> None:
    axes.set(xscale="log", yscale="log", title=f"Against {label}", xlabel=label)
    axes.set_xticks(values, [_binary(v) for v in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(10))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _short(y)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_tick_params(labelleft=True)
    axes.grid(visible=True, which="major")
    if base is not None:
        axes.axvline(base, color="#888888", linewidth=1, linestyle=":")


def draw_roofline(path: Path, limited: Sequence[Limited], peaks: Peaks) -> None:
    """Draw operations per second over operations per byte read, under the roofs of the machine."""
    limited = [one for one in limited if one.point.sweep == "M"]
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log")
    axes.set_xlim(0.1, 4 * max(one.intensity for one in limited))
    lowest = min(one.operations_rate for one in limited)
    axes.set_ylim(lowest / 4e9, 4 * max(peaks.product, lowest) / 1e9)
    _draw_roofs(axes, peaks)
    for work in WORKS:
        _draw_under_roofs(axes, work, [one for one in limited if one.point.work == work])
    axes.yaxis.set_major_locator(LogLocator(10))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _short(y)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))
    axes.set_xlabel("operations per byte read from the dictionary and its Gram matrix")
    axes.set_ylabel("10⁹ operations / s")
    first, last = (end(one.point.at.M for one in limited) for end in (min, max))
    axes.set_title(f"Roofline along M, from {first:,} (hollow) to {last:,}")
    axes.grid(visible=True, which="major")
    figure.legend(loc="outside right upper")
    figure.savefig(path, metadata={"Software": None})


def _draw_roofs(axes: Any, peaks: Peaks) -> None:
    """Draw the roofs: bandwidth by the size of what is read, where it differs, and the product."""
    left, right = axes.get_xlim()
    drawn: list[float] = []
    for size, style in ((1, ":"), (16, "--"), (512, "-")):
        bandwidth = peaks.bandwidth(size << 20)
        if any(abs(bandwidth / other - 1) < ALIKE for other in drawn):
            continue
        drawn.append(bandwidth)
        at = [left, peaks.product / bandwidth, right]
        roof = np.array([bandwidth * left, peaks.product, peaks.product]) / 1e9
        name = f"{size} MiB, read at {bandwidth / 1e9:.0f} GB/s"
        axes.plot(at, roof, color="#444444", linestyle=style, linewidth=1.2, label=name)
    roof = f"float32 product, {peaks.product / 1e9:.0f} GFLOP/s"
    axes.annotate(
        roof,
        (right, peaks.product / 1e9),
        xytext=(-4, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color="#444444",
    )


def _draw_under_roofs(axes: Any, work: str, limited: Sequence[Limited]) -> None:
    if not limited:
        return
    colour, marker = LOOK[work]
    places = [(one.intensity, one.operations_rate / 1e9) for one in limited]
    look = {"color": colour, "marker": marker, "linewidth": 0.8}
    axes.plot(*zip(*places, strict=True), label=WORKS[work].title, **look)
    axes.plot(*places[0], color=colour, marker=marker, markerfacecolor="white", markersize=6.5)


def draw_limits(path: Path, limited: Sequence[Limited], base: Setting) -> None:
    """Draw what each phase takes at least, as shares of the time that was measured."""
    limited = telling(limited, base)
    places, headings = _bar_places(limited)
    figure = Figure(figsize=(9.5, 1.2 + 0.27 * (max(places, default=0) + 1)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(limited))
    for phase, shade in SHADES.items():
        share = np.array([one.shares.get(phase, 0.0) for one in limited])
        axes.barh(places, share, left=left, color=shade, label=phase, height=0.8)
        for place, begin, width in zip(places, left, share, strict=True):
            if width >= 0.05:
                _share(axes, begin + width / 2, place, width, dark=phase in PALE)
        left += share
    for work, place in headings.items():
        axes.text(0, place, WORKS[work].title, va="center", fontweight="bold")
    axes.axvline(1, color="#222222", linewidth=1)
    axes.set_yticks(places, [one.sizes for one in limited])
    axes.set_ylim(max(places, default=0) + 0.6, -0.6)
    axes.set_xlim(0, max(1.0, left.max(initial=0.0)) * 1.01)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0%}"))
    axes.set_xlabel("least time of each phase, by the model, as a share of the time measured")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(SHADES))
    figure.savefig(path, metadata={"Software": None})


def _bar_places(limited: Sequence[Limited]) -> tuple[list[float], dict[str, float]]:
    """Return where bars are, from the top, and above each group of them the name of its encoder."""
    places: list[float] = []
    headings: dict[str, float] = {}
    row = 0.0
    for one in limited:
        if one.point.work not in headings:
            headings[one.point.work] = row + (0.3 if headings else 0.0)
            row = headings[one.point.work] + 1
        places.append(row)
        row += 1
    return places, headings


def _share(axes: Any, x: float, y: float, share: float, *, dark: bool) -> None:
    colour = "#222222" if dark else "white"
    axes.text(x, y, f"{share:.0%}", ha="center", va="center", fontsize=7.5, color=colour)


def _short(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _binary(value: int) -> str:
    """Write powers of two short: 65,536 is 64Ki."""
    return f"{value >> 10}Ki" if value % 1024 == 0 else f"{value:,}"
