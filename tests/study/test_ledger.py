from concurrent.futures import ThreadPoolExecutor

import pytest

from mmgraph.study.ledger import readings, recorded


def look(file, plan="one", seed=0, settings=None, split="s", cls="EASE", features=None, model="a"):
    return recorded(file, split, "test", model, cls, seed, settings or {"l2": 1.0}, features, plan)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "readings.jsonl"


def test_the_first_reading_is_the_first(file):
    assert look(file) == (1, [])
    (one,) = readings(file)
    assert (one.split, one.cls, one.seed, one.plan) == ("s", "EASE", 0, "one")


def test_the_same_plan_again_leaves_no_second_line(file):
    look(file)
    assert look(file) == (1, [])
    assert len(readings(file)) == 1


@pytest.mark.parametrize(("changes", "words"), [({"seed": 1}, "with seeds 0 "), ({"settings": {"l2": 2.0}},
                                                                              "with other settings or seeds ")])
def test_another_plan_with_other_seeds_or_settings_is_a_second_look(file, changes, words):
    look(file)
    number, marks = look(file, plan="two", **changes)
    assert number == 2
    assert words in marks[0]
    assert "(plan one, first on 20" in marks[0]


@pytest.mark.parametrize("changes", [{"split": "t"}, {"cls": "BPRMF"}, {"features": {"text": "f"}}, {}])
def test_another_split_model_or_content_or_the_very_same_is_none(file, changes):
    look(file)
    assert look(file, plan="two", **changes) == (1, [])


def test_every_other_plan_counts_once(file):
    for seed in (0, 1):
        look(file, seed=seed)
    look(file, plan="two", seed=2)
    assert look(file, plan="three", seed=3)[0] == 3


def test_a_damaged_ledger_is_refused(file):
    look(file)
    file.write_text(file.read_text() + "{}\n")
    with pytest.raises(ValueError, match="holds a line that is no reading"):
        look(file)


def test_other_settings_by_the_same_plan_are_a_second_look_unless_by_another_model_of_it(file):
    look(file)
    assert look(file, settings={"l2": 2.0}, model="b") == (1, [])
    number, marks = look(file, settings={"l2": 3.0})
    assert number == 2
    assert "other settings or seeds" in marks[0]


def test_a_line_that_a_kill_cut_short_is_removed(file):
    look(file)
    with file.open("ab") as out:
        out.write('{"split": "–'.encode()[:-1])
    assert len(readings(file)) == 1
    look(file, seed=1)
    assert [r.seed for r in readings(file)] == [0, 1]


def test_readings_at_the_same_time_are_all_kept(file):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: look(file, plan=f"plan {seed}", seed=seed), range(8)))
    assert sorted(number for number, _ in found) == list(range(1, 9))
