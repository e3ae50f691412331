"""Shapes that the charts of a study share: points with labels beside the axes, and small multiples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmgraph.study.pages.chart import INK, STYLE, cut

if TYPE_CHECKING:  # takes longer to import than the rest of the package
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.6  # inches: at this width text has its own size in a column of a phone
PALETTE = ("#3f7fd6", "#c8761a", "#1a9274", "#b5589c", "#8c8418", "#2f93a8")  # 3 : 1 on white and near-black; after
GREY = "#7a7f87"                                                             # Okabe & Ito's colour-blind safe hues
MARKERS = {"model": ("o", PALETTE[0]), "baseline": ("s", PALETTE[1]), "reference": ("D", GREY)}
SETTINGS = STYLE | {"font.size": 9, "axes.titlesize": 9}


@dataclass(frozen=True)
class Point:
    """A model in the plane.

    Args:
        label: its name.
        kind: ``model``, ``baseline`` or ``reference``.
        x: where.
        y: where.
        x_ends: ends of an interval; none without.
        y_ends: the same.
    """

    label: str
    kind: str
    x: float
    y: float
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None


def plane(clouds: Mapping[str, Sequence[Point]], x_label: str, y_label: str, *, log: bool = False) -> "Figure":
    """One panel of points for each title; labels stand right of the axes, so that they never cover each other."""
    from matplotlib.figure import Figure

    heights = [max(2.1, 0.17 * len(points)) for points in clouds.values()]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.75 * len(heights) + 0.3), layout="constrained")
    stack = figure.subplots(len(clouds), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, height, (title, points) in zip(stack, heights, clouds.items(), strict=True):
        if log:
            logarithmic(axes, [point.x for point in points])
        for point in points:
            dot(axes, point)
        axes.set(xlabel=x_label, ylabel=y_label)
        if len(clouds) > 1:
            axes.set_title(cut(title, 64), loc="left")
        name_points(axes, points, 0.16 / height)
    handles = {text: handle for axes in stack for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", frameon=False, ncols=3)
    return figure


def logarithmic(axes: "Axes", xs: Sequence[float]) -> None:
    """A logarithmic scale in plain numbers; the ticks between powers of ten are named where there are few of these."""
    few = max(xs) < 10 * min(xs)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if few and f"{value:e}"[0] in "235" else "")


def dot(axes: "Axes", point: Point) -> None:
    """A point with its intervals."""
    marker, colour = MARKERS[point.kind]
    named = axes.get_legend_handles_labels()[1]
    label = point.kind if point.kind not in named else "_"
    axes.plot(point.x, point.y, marker, color=colour, markersize=5.5, label=label, linestyle="none", zorder=3)
    for xs, ys in ((point.x_ends, (point.y, point.y)), ((point.x, point.x), point.y_ends)):
        if xs is not None and ys is not None:
            axes.plot(xs, ys, "-", color=colour, linewidth=1, alpha=0.7, zorder=2)


def name_points(axes: "Axes", points: Sequence[Point], gap: float) -> None:
    """Labels in a column right of the axes, highest first, each tied to its point by a thin line."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    order = sorted(points, key=lambda p: p.y)
    heights = apart([(p.y - low) / (high - low) for p in order], gap)
    for point, height in zip(order, heights, strict=True):
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": INK, "alpha": 0.45, "shrinkB": 3, "shrinkA": 1,
                "relpos": (0, 0.5)}
        axes.annotate(cut(point.label), (point.x, point.y), (1.05, height), textcoords="axes fraction", va="center",
                      fontsize=8.5, arrowprops=line, annotation_clip=False)


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places in [0, 1], moved by the least squares that keep them ``gap`` apart and none above 1.

    Source: pool adjacent violators, Barlow et al. 1972; what is isotonic here are the places less their steps.
    """
    pools: list[tuple[float, int]] = []
    for at, place in enumerate(places):
        total, n = place - at * gap, 1
        while pools and pools[-1][0] / pools[-1][1] > total / n:
            total, n = total + pools[-1][0], n + pools[-1][1]
            pools.pop()
        pools.append((total, n))
    top = 1 - (len(places) - 1) * gap
    levels = [total / n for total, n in pools for _ in range(n)]
    return [min(max(level, 0.0), top) + at * gap for at, level in enumerate(levels)]


def multiples(names: Sequence[tuple[str, str]], *,
              height: float = 1.5) -> tuple["Figure", dict[tuple[str, str], "Axes"]]:
    """Small multiples, two in a row, for (world, label); those of one world share their scale of y."""
    from matplotlib.figure import Figure

    columns, several = min(2, len(names)), len({world for world, _ in names}) > 1
    n_rows = -(-len(names) // columns)
    figure = Figure(figsize=(WIDTH, n_rows * (height + 0.2 * several) + 0.5), layout="constrained")
    cells = figure.subplots(n_rows, columns, squeeze=False).ravel()
    panels: dict[tuple[str, str], Axes] = {}
    first: dict[str, Axes] = {}
    for axes, (world, label) in zip(cells, names, strict=False):
        title = cut(label, 26)
        axes.set_title(f"{cut(world, 28)}\n{title}" if several else title, loc="left", fontsize=8.5)
        if world in first:
            axes.sharey(first[world])
        first.setdefault(world, axes)
        axes.tick_params(labelsize=8)
        panels[world, label] = axes
    for axes in cells[len(names):]:
        axes.remove()
    return figure, panels
