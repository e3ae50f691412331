"""A summary as a table: Markdown for a README, LaTeX for a paper, rich for the terminal; only winners are bold."""

import re
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from mmgraph.study.summary import Cell, Line, Summary

LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
         ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "α": r"$\alpha$",
         "·": r"\textperiodcentered{}", "→": r"$\rightarrow$", "…": r"\ldots{}", "≥": r"$\geq$", "≤": r"$\leq$",
         **{sign: f"\\{sign}" for sign in "&%$#_{}"}}


@dataclass(frozen=True)
class Shown:
    """One line as text: label, numbers of its footnotes, figures with whether they won, seconds."""

    label: str
    notes: tuple[int, ...]
    figures: tuple[tuple[str, bool], ...]
    seconds: tuple[str, ...]
    competitor: bool


def markdown(summary: Summary) -> str:
    """The table in GitHub's Markdown, with title and notes."""
    heads = ["model", *(escaped(head) for head in heads_of(summary)), "fit (s)", "search (s)"]
    out = [f"**{escaped(summary.title)}**", "", row_of(heads), row_of(["---", *["---:"] * (len(heads) - 1)])]
    for line in shown(summary):
        label = escaped(line.label) if line.competitor else f"*{escaped(line.label)}*"
        label += "".join(f" <sup>{number}</sup>" for number in line.notes)
        out.append(row_of([label, *(f"**{text}**" if won else text for text, won in line.figures), *line.seconds]))
    out += ["", escaped(legend(summary))]
    out += [f"\n<sup>{at}</sup> {escaped(mark)}" for at, mark in enumerate(footnotes(summary), start=1)]
    return "\n".join(out) + "\n"


def latex(summary: Summary) -> str:
    r"""A LaTeX table; needs ``\usepackage{booktabs}``."""
    heads = ["model", *heads_of(summary), "fit (s)", "search (s)"]
    out = [r"\begin{table}", r"\centering", rf"\caption{{{tex(summary.title)}}}",
           rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule",
           tex_row([tex(head) for head in heads]), r"\midrule"]
    for line in shown(summary):
        label = tex(line.label) if line.competitor else rf"\emph{{{tex(line.label)}}}"
        if line.notes:
            label += rf"\textsuperscript{{{','.join(map(str, line.notes))}}}"
        figures = [rf"\textbf{{{tex(text)}}}" if won else tex(text) for text, won in line.figures]
        out.append(tex_row([label, *figures, *map(tex, line.seconds)]))
    marks = [rf"\textsuperscript{{{at}}} {tex(mark)}" for at, mark in enumerate(footnotes(summary), start=1)]
    notes = r" \\ ".join([tex(legend(summary)), *marks])
    out += [r"\bottomrule", r"\end{tabular}", "", r"\smallskip",
            rf"\parbox{{\linewidth}}{{\footnotesize {notes}}}", r"\end{table}"]
    return "\n".join(out) + "\n"


def rich_table(summary: Summary) -> Table:
    """The table for the terminal."""
    notes = [legend(summary), *(f"[{at}] {mark}" for at, mark in enumerate(footnotes(summary), start=1))]
    table = Table(title=Text(summary.title), caption=Text("\n".join(notes)), caption_justify="left")
    table.add_column("model", min_width=12, overflow="fold")
    for head in [*heads_of(summary, "\n"), "fit (s)", "search (s)"]:
        table.add_column(Text(head), justify="right", no_wrap=True)
    for line in shown(summary):
        label = Text(line.label + "".join(f" [{number}]" for number in line.notes))
        figures = [Text(text, style="bold" if won else "") for text, won in line.figures]
        table.add_row(label, *figures, *line.seconds, style="" if line.competitor else "dim")
    return table


def shown(summary: Summary) -> list[Shown]:
    """The lines as text."""
    numbers = {mark: at for at, mark in enumerate(footnotes(summary), start=1)}
    found = []
    for line in summary.lines:
        competitor = line.kind in ("model", "baseline")
        label = line.model if competitor or line.kind == "control" else f"{line.model} (no competitor)"
        figures = tuple((figure(line.cells[c]), line.cells[c].winner) for c in summary.columns)
        seconds = tuple("–" if s is None else f"{s:,.1f}" for s in (line.fit_seconds, line.search_seconds))
        found.append(Shown(label, tuple(sorted(numbers[m] for m in line.marks)), figures, seconds, competitor))
    return found


def figure(cell: Cell) -> str:
    """Mean ± standard deviation over seeds and splits; of a single run half of the interval over users instead."""
    if cell.mean is None:
        return "–"
    half = (cell.high - cell.low) / 2 if cell.low is not None and cell.high is not None else None
    spread = cell.sd if cell.sd is not None else half
    return f"{cell.mean:.4f}" + ("" if spread is None else f" ± {spread:.4f}")


def heads_of(summary: Summary, between: str = " ") -> list[str]:
    """The heads of the columns of figures."""
    return [f"{candidates}{between}{metric}" for candidates, metric in summary.columns]


def legend(summary: Summary) -> str:
    """What bold and ± mean."""
    anyone = any(cell.winner for line in summary.lines for cell in line.cells.values())
    return f"Bold: winner{'' if anyone else ' (there is none)'}. Test: {summary.test}. ±: {spread_of(summary.lines)}."


def spread_of(lines: tuple[Line, ...]) -> str:
    """What stands after ±, which is not the same for one run and for several."""
    counts, words = sorted({line.n_runs for line in lines if line.n_runs > 1}), []
    if counts:
        n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        words.append(f"standard deviation over {n} runs (seeds, splits)")
    if len(counts) < len({line.n_runs for line in lines}):
        words.append(f"{'of a single run ' if counts else ''}half of the 95 % bootstrap interval over users")
    return "; ".join(words)


def footnotes(summary: Summary) -> list[str]:
    """All marks, each once, in the order of the lines."""
    return list(dict.fromkeys(mark for line in summary.lines for mark in line.marks))


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line of a table."""
    return re.sub(r"([\\`*_\[\]<>|~])", r"\\\1", " ".join(text.split()))


def tex(text: str) -> str:
    """Text that LaTeX shows as it is."""
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def row_of(cells: list[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def tex_row(cells: list[str]) -> str:
    """One line of a LaTeX table."""
    return " & ".join(cells) + r" \\"
