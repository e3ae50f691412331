import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from mmgraph.study.summary import Cell, Line, Summary
from mmgraph.study.tables import escaped, footnotes, latex, markdown, rich_table, tex

COLUMNS = (("warm", "recall@20"), ("cold", "recall@20"))


def line(model, *cells, kind="model", n_runs=3, fit=1234.56, search=None, marks=()):
    return Line(model, kind, n_runs, dict(zip(COLUMNS, cells, strict=True)), fit, search, 99.0, marks)


@pytest.fixture
def summary():
    lines = (line("A|B_1", Cell(0.09924, 0.00071, 0.09, 0.11, 50, winner=True), Cell(0.2, 0.0, 0.1, 0.3, 50)),
             line("EASE", Cell(0.0825, None, 0.08, 0.09, 50), Cell(None, None, None, None, 0), kind="baseline",
                  n_runs=1, fit=None, marks=("tuned on test & 50 %", "read twice")),
             line("A|B_1, features permuted", Cell(0.05, 0.001, 0.04, 0.06, 50), Cell(0.01, 0.0, 0.0, 1.0, 5),
                  kind="control", marks=("read twice",)),
             line("oracle", Cell(0.9, 0.0, 0.9, 0.9, 50), Cell(0.9, 0.0, 0.9, 0.9, 50), kind="reference", search=2.0))
    return Summary("Baby · ColdItems(share = 0.2) · test", COLUMNS[0], COLUMNS, lines, "Wilcoxon, α = 0.05")


def test_the_markdown_of_a_summary(summary):
    assert markdown(summary) == r"""**Baby · ColdItems(share = 0.2) · test**

| model | warm recall@20 | cold recall@20 | fit (s) | search (s) |
| --- | ---: | ---: | ---: | ---: |
| A\|B\_1 | **0.0992 ± 0.0007** | 0.2000 ± 0.0000 | 1,234.6 | – |
| EASE <sup>1</sup> <sup>2</sup> | 0.0825 ± 0.0050 | – | – | – |
| *A\|B\_1, features permuted* <sup>2</sup> | 0.0500 ± 0.0010 | 0.0100 ± 0.0000 | 1,234.6 | – |
| *oracle (no competitor)* | 0.9000 ± 0.0000 | 0.9000 ± 0.0000 | 1,234.6 | 2.0 |

""" + ("Bold: winner. Test: Wilcoxon, α = 0.05. ±: standard deviation over 3 runs (seeds, splits); of a single run "
       "half of the 95 % bootstrap interval over users.") + """

<sup>1</sup> tuned on test & 50 %

<sup>2</sup> read twice
"""


def test_every_line_of_the_markdown_has_the_same_cells(summary):
    rows = [row for row in markdown(summary).splitlines() if row.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


def test_only_winners_are_bold(summary):
    assert markdown(summary).count("**") == 4  # the title and one winner
    assert latex(summary).count(r"\textbf") == 1
    assert r"\textbf{0.0992 $\pm$ 0.0007}" in latex(summary)
    bold = [cell.plain for column in rich_table(summary).columns for cell in column.cells
            if getattr(cell, "style", "") == "bold"]
    assert bold == ["0.0992 ± 0.0007"]
    lost = {c: replace(cell, winner=False) for c, cell in summary.lines[0].cells.items()}
    none = replace(summary, lines=(replace(summary.lines[0], cells=lost),))
    assert r"\textbf" not in latex(none)
    assert "winner (there is none)" in markdown(none)


def test_the_latex_of_a_summary(summary):
    text = latex(summary)
    assert r"\caption{Baby \textperiodcentered{} ColdItems(share = 0.2) \textperiodcentered{} test}" in text
    assert r"EASE\textsuperscript{1,2} & 0.0825 $\pm$ 0.0050 & – & – & – \\" in text
    assert r"\emph{A\textbar{}B\_1, features permuted}\textsuperscript{2} & " in text
    assert r"\textsuperscript{1} tuned on test \& 50 \%" in text
    assert r"Test: Wilcoxon, $\alpha$ = 0.05." in text
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")
    assert r"\begin{tabular}{lrrrr}" in text
    body = text[text.index(r"\toprule"):text.index(r"\bottomrule")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in body.splitlines() if row.endswith(r"\\")} == {4}
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


@pytest.mark.parametrize(("given", "shown"), [
    ("50 % & #1 $2 a_b {c}", r"50 \% \& \#1 \$2 a\_b \{c\}"), ("a\\b~c^d", r"a\textbackslash{}b\textasciitilde{}c"
                                                               r"\textasciicircum{}d"),
    ("x < y\n> z", r"x \textless{} y \textgreater{} z"), ("α ≥ −1", r"$\alpha$ $\geq$ $-$1")])
def test_latex_shows_what_was_written(given, shown):
    assert tex(given) == shown


def test_markdown_shows_what_was_written():
    assert escaped("a|b *c* _d_ <e> [f] `g` ~h~\n\\i") == r"a\|b \*c\* \_d\_ \<e\> \[f\] \`g\` \~h\~ \\i"


def test_the_terminal_shows_labels_notes_and_no_markup(summary):
    odd = replace(summary, lines=(replace(summary.lines[1], model="[bold]odd[/bold]"), *summary.lines[2:]))
    out = io.StringIO()
    Console(file=out, width=140).print(rich_table(odd))
    text = out.getvalue()
    assert "[bold]odd[/bold] [1] [2]" in text
    assert "[1] tuned on test & 50 %" in text
    assert "oracle (no competitor)" in text
    assert "Wilcoxon, α = 0.05" in text
    assert "Baby · ColdItems(share = 0.2) · test" in text


def test_what_stands_after_plus_minus_is_said_for_one_run_and_for_several(summary):
    one = replace(summary, lines=(summary.lines[1],))
    assert "±: half of the 95 % bootstrap interval over users." in markdown(one)
    several = replace(summary, lines=(summary.lines[0], replace(summary.lines[2], n_runs=5)))
    assert "±: standard deviation over 3 to 5 runs (seeds, splits)." in markdown(several)
    assert footnotes(summary) == ["tuned on test & 50 %", "read twice"]
