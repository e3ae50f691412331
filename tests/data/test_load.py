"""Cards and the loading of data sets by name."""

import hashlib
import importlib
import logging
from pathlib import Path

import pytest

from mmgraph.data import card as card_module
from mmgraph.data.card import Card, cards
from mmgraph.data.load import check_sums, counts, load, reader

load_module = importlib.import_module("mmgraph.data.load")  # mmgraph.data.load itself may be the function
HEADER = "userID\titemID\tx_label\n"
TRAIN, VALID, TEST = "0\t0\t0\n1\t1\t0\n2\t0\t0\n", "0\t1\t1\n", "1\t0\t2\n2\t1\t2\n"
CARD = """
title = "Toy"
reader = "mmrec"
url = "https://example.org/toy"
licence = "free"
citation = "Nobody 1999"
files = ["toy.inter | old.inter"]
optional = ["readme.txt"]
expect = { users = 3, items = 2, interactions = 6, train = 3, valid = 1, test = 2 }
"""


@pytest.fixture
def toy(monkeypatch, tmp_path) -> Path:
    """A folder that holds the data of the only card there is."""
    monkeypatch.setattr(load_module, "cards", lambda: {"toy": Card.parse("toy", CARD)})
    (tmp_path / "toy.inter").write_text(HEADER + TRAIN + VALID + TEST)
    return tmp_path


def test_loads_what_the_card_expects(toy):
    data = load("toy", toy)
    assert counts(data) == {"users": 3, "items": 2, "interactions": 6, "train": 3, "valid": 1, "test": 2}
    assert load("toy", str(toy)).fingerprint == data.fingerprint


def test_expands_the_home_folder(toy, monkeypatch):
    monkeypatch.setenv("HOME", str(toy.parent))
    assert len(load("toy", f"~/{toy.name}")) == 6


def test_says_which_count_is_wrong(toy):
    (toy / "toy.inter").write_text(HEADER + TRAIN + VALID + "1\t0\t2\n")
    with pytest.raises(ValueError, match=r"read 5 interactions \(expected 6\), 1 test \(expected 2\); the copy is inc"):
        load("toy", toy)


def test_recognises_swapped_parts(toy):
    swapped = VALID.replace("\t1\n", "\t2\n") + TEST.replace("\t2\n", "\t1\n")
    (toy / "toy.inter").write_text(HEADER + TRAIN + swapped)
    with pytest.raises(ValueError, match=r"2 valid \(expected 1\), 1 test \(expected 2\); valid and test are swapped"):
        load("toy", toy)


def test_a_missing_part_counts_as_zero(toy):
    (toy / "toy.inter").write_text(HEADER + TRAIN + VALID + TEST.replace("\t2\n", "\t0\n"))
    with pytest.raises(ValueError, match=r"5 train \(expected 3\), 0 test \(expected 2\); the copy"):
        load("toy", toy)


def test_missing_file_names_place_and_publisher(toy, monkeypatch):
    (toy / "toy.inter").unlink()
    with pytest.raises(FileNotFoundError, match=rf"toy\.inter or old\.inter in {toy}\. .*https://example\.org/toy"):
        load("toy", toy)
    with pytest.raises(FileNotFoundError, match="nowhere, which is no folder"):
        load("toy", toy / "nowhere")
    monkeypatch.chdir(toy.parent)
    with pytest.raises(FileNotFoundError, match=f"in {toy}"):  # paths in a data set must not hang on the working folder
        load("toy", toy.name)


def test_an_alternative_is_enough(toy):
    (toy / "toy.inter").rename(toy / "old.inter")
    assert len(load("toy", toy)) == 6


def test_unknown_name_lists_the_known(toy):
    with pytest.raises(KeyError, match=r"no data set is called 'tyo'; there are \['toy'\]"):
        load("tyo", toy)


def test_checksums_are_compared_on_request(toy, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        load("toy", toy, verify=True)
    assert "toy.inter is not verified" in caplog.text
    right = hashlib.sha256((toy / "toy.inter").read_bytes()).hexdigest()
    check_sums(Card.parse("toy", CARD + f'sha256 = {{ "toy.inter" = "{right}" }}'), toy)
    wrong = Card.parse("toy", CARD + 'sha256 = { "toy.inter" = "00", "readme.txt" = "00" }')
    monkeypatch.setattr(load_module, "cards", lambda: {"toy": wrong})
    load("toy", toy)
    with pytest.raises(ValueError, match=rf"toy\.inter has the SHA-256 {right}, the card 'toy' 00"):
        load("toy", toy, verify=True)


def test_optional_files_are_verified_too(toy):
    (toy / "toy.inter").unlink()
    (toy / "readme.txt").write_text("x")
    with pytest.raises(ValueError, match=r"readme\.txt has the SHA-256"):
        check_sums(Card.parse("toy", CARD + 'sha256 = { "readme.txt" = "00" }'), toy)


@pytest.mark.parametrize(("old", "new", "message"), [
    ('title = "Toy"', "", r"missing keys \['title'\], unknown keys \[\]"),
    ("licence", "license", r"missing keys \['licence'\], unknown keys \['license'\]"),
    ("title =", "name = 'x'\ntitle =", r"unknown keys \['name'\]"),
    ('"free"', "3", "licence must be a text, got 3"),
    ('"free"', '""', "licence must be a text, got ''"),
    ('["toy.inter | old.inter"]', '"toy.inter"', "files must be a list of file names"),
    ('["toy.inter | old.inter"]', "[]", "files is empty"),
    ('["readme.txt"]', '[""]', "optional must be a list of file names"),
    ("users = 3, ", "", r"missing \['users'\], unknown \[\]"),
    ("users = 3", "users = 3, user = 3", r"missing \[\], unknown \['user'\]"),
    ("users = 3", "users = 3.0", "expect must be a table whose values are of type int"),
    ("users = 3", "users = true", "expect must be a table whose values are of type int"),
    ("{ users", "{{ users", "is not TOML"),
    ("optional", 'sha256 = { "other" = "0" }\noptional', r"sha256 names \['other'\]"),
])
def test_a_card_with_a_mistake_is_refused(old, new, message):
    assert old in CARD
    with pytest.raises(ValueError, match=f"card 'toy'.*{message}"):
        Card.parse("toy", CARD.replace(old, new, 1))


@pytest.mark.parametrize("name", ["nonsense", "numbers", "a.b"])
def test_a_card_with_an_unknown_reader_is_refused(name):
    with pytest.raises(ValueError, match=f"names the reader '{name}', but there is no"):
        reader(Card.parse("toy", CARD.replace('"mmrec"', f'"{name}"')))


def test_every_shipped_card_has_a_reader():
    shipped = cards()
    assert set(shipped) == {"ml-1m", "ml-100k", "tiktok", "amazon-baby", "amazon-sports", "gowalla", "citeulike-t"}
    for name, card in shipped.items():
        assert card.name == name
        assert callable(reader(card))
        assert card.url.startswith("https://")
        assert all(len(digest) == 64 for digest in card.sha256.values())


def test_parts_on_a_shipped_card_sum_to_its_interactions():
    for card in cards().values():
        parts = [card.expect[part] for part in card_module.PARTS if part in card.expect]
        assert not parts or sum(parts) == card.expect["interactions"]


def test_cards_of_the_wheel_come_before_those_of_the_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(card_module.importlib.resources, "files", lambda package: tmp_path / package)
    with pytest.raises(FileNotFoundError, match="no data set cards in"):
        cards()
    for place, name in ((tmp_path / "datasets", "b"), (tmp_path / "mmgraph" / "cards", "a")):
        place.mkdir(parents=True)
        (place / f"{name}.toml").write_text(CARD)
        (place / "notes.txt").write_text("no card")
        assert list(cards()) == [name]
