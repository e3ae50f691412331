"""What came of encoding: how much there is, and every item that is missing, unreadable or suspicious."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mmgraph.data.dataset import Dataset
from mmgraph.features.contents import Contents, Nodes
from mmgraph.features.features import Features


@dataclass(frozen=True)
class Account:
    """What is to be said of one modality.

    Args:
        modality: its name.
        encoder: what made it.
        dim: width of a row.
        present: nodes that have a row.
        missing: ids without content.
        unreadable: id → why its content cannot be read.
        blank: ids whose content says nothing, e.g. empty texts.
        suspicious: id → remark (blank image, silent audio); they have a row.
        duplicates: groups of ids with the same content.
    """

    modality: str
    encoder: str
    dim: int
    present: int
    missing: tuple[str, ...]
    unreadable: Mapping[str, str]
    blank: tuple[str, ...]
    suspicious: Mapping[str, str]
    duplicates: tuple[tuple[str, ...], ...]

    @property
    def table(self) -> list[tuple[str, str, str]]:
        """(id, what is the matter, why), a row for each node and trouble."""
        return [*((i, "missing", "no content") for i in self.missing),
                *((i, "unreadable", why) for i, why in self.unreadable.items()),
                *((i, "blank", "its content says nothing") for i in self.blank),
                *((i, "suspicious", what) for i, what in self.suspicious.items()),
                *((i, "duplicate", f"same content as {group[0] if i != group[0] else group[1]}")
                  for group in self.duplicates for i in group)]

    def __str__(self) -> str:
        counts = {"missing": self.missing, "unreadable": self.unreadable, "blank": self.blank,
                  "suspicious": self.suspicious, "groups of duplicates": self.duplicates}
        lines = [f"{self.modality}: {self.present} rows of {self.dim} numbers, {self.encoder}"]
        for what, of in counts.items():
            if of:
                lines.append(f"  {len(of)} {what}, e.g. {some(of)}")
        return "\n".join(lines)


def report(features: Features) -> list[Account]:
    """One account per modality; print them, or see their ``table``."""
    return [account(features, name) for name in features.x]


def account(features: Features, name: str) -> Account:
    """The account of one modality."""
    about = features.meta.get(name, {})
    ids = features.ids.ids.to_pylist()
    told = set(about.get("unreadable", {})) | set(about.get("blank", ()))
    missing = tuple(i for i, there in zip(ids, features.present[name].tolist(), strict=True)
                    if not there and i not in told)
    known = set(ids)
    return Account(name, made_by(about), features.dims[name], int(features.present[name].sum()), missing,
                   {i: why for i, why in about.get("unreadable", {}).items() if i in known},
                   tuple(i for i in about.get("blank", ()) if i in known),
                   {i: what for i, what in about.get("suspicious", {}).items() if i in known},
                   tuple(tuple(group) for group in about.get("duplicates", ()) if known.issuperset(group)))


def made_by(about: Mapping[str, Any]) -> str:
    """The encoder of a modality in one phrase."""
    if not about:
        return "given vectors"
    steps = "".join(f", {step}" for step in about.get("normalised", ()))
    return f"{about.get('encoder', 'unknown encoder')} ({about.get('name', 'no name')}){steps}"


def some(of: Any) -> str:
    """The first few."""
    if isinstance(of, Mapping):
        return "; ".join(f"{i}: {why}" for i, why in list(of.items())[:3])
    return ", ".join("=".join(each) if isinstance(each, tuple) else each for each in of[:3])


def stale(features: Features, data: Dataset | Nodes) -> dict[str, list[str]]:
    """By modality the ids whose content is not that which was encoded; only modalities that have any.

    New nodes, nodes that are gone, and content that came or went count too. Modalities without content hashes (given
    vectors) are not looked at.
    """
    nodes = Nodes.of(data, features.ids.what)
    gone = features.ids.names((nodes.ids.find(features.ids.ids) < 0).nonzero()[0])
    found = {}
    for name in features.content:
        now = torch.from_numpy(Contents.of(name, nodes.column(name)).per_row().copy())
        then = features.only(name).aligned(nodes.ids).content[name]
        changed = nodes.ids.names((now != then).any(1).nonzero()[:, 0].numpy())
        if ids := [*changed, *gone]:
            found[name] = ids
    return found
