"""A generated world whose right answer is known: tastes over latent factors, and media that show them in part."""

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmgraph.data.raw import MODALITIES, Raw
from mmgraph.data.types import Bools, Floats, Ints
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.data.world_media import FACTORS, RENDER, SHOWS, damage, place, shown, store, text

START, SPAN = 1_577_836_800, 2 * 365 * 86_400  # 2020-01-01 UTC; two years of history, in seconds
LEAST = 5                                      # interactions of the least active user
N_GROUPS = 6
VERSION = 1                                    # of the media: a new one where the same seed gives other bytes


@dataclass(frozen=True)
class World:
    """What happened, and why. Rows of users and items are in the order of ``users`` and ``items``.

    Args:
        raw: what a recommender may see. Items have the column ``genre`` (signs of the factors cheer and speed) and one
            column per modality, users the column ``group``; interactions are sorted by time.
        users: user ids.
        items: item ids.
        tastes: float array (users, factors).
        factors: float array (items, factors): independent, uniform, mean 0, variance 1; named in ``FACTORS``.
        appeal: float array (items,): what makes an item popular, whatever it contains; not visible in any content.
        released: int64 array (items,): UTC seconds; nobody takes an item earlier. Half of the items were there from
            the start.
        shows: modality → which factors it shows.
        broken: modality → ids of the items whose file was corrupted.
    """

    raw: Raw
    users: Vocabulary
    items: Vocabulary
    tastes: Floats
    factors: Floats
    appeal: Floats
    released: Ints
    shows: Mapping[str, tuple[int, ...]]
    broken: Mapping[str, tuple[str, ...]]

    @property
    def affinity(self) -> Floats:
        """``tastes @ factors.T + appeal``, (users, items): a user's next item is drawn from the softmax of this row
        over the released items not taken yet.
        """
        return self.tastes @ self.factors.T + self.appeal

    def oracle(self, users: Iterable[object] | None = None, items: Iterable[object] | None = None, *,
               seeing: Sequence[str] | None = None) -> Floats:
        """Scores by one who knows the world, (users, items), for these ids (all where None): the ceiling.

        Args:
            users: user ids, the rows.
            items: item ids, the columns.
            seeing: if given, only the factors that these modalities show count, as if no file were missing or broken:
                the ceiling for cold items. If None, ``affinity`` plus the log of the share of the time in which the
                item could be had: the ceiling for warm items under a random split.

        Raises:
            KeyError: for an unknown id or modality.
        """
        u = slice(None) if users is None else self.users.numbers(users)
        i = slice(None) if items is None else self.items.numbers(items)
        if seeing is None:
            return (self.affinity + np.log((START + SPAN - self.released) / SPAN))[u][:, i]
        if unknown := set(seeing) - set(self.shows):
            raise KeyError(f"no modality {sorted(unknown)} in this world, only {sorted(self.shows)}.")
        seen = sorted({f for modality in seeing for f in self.shows[modality]})
        return self.tastes[u][:, seen] @ self.factors[i][:, seen].T


def world(folder: Path | str | None = None, *, n_users: int = 600, n_items: int = 400, interactions_per_user: int = 20,
          seed: int = 0, modalities: Sequence[str] = MODALITIES, missing: float = 0.05,
          corrupt: float = 0.01) -> World:
    """Generate a world; write its PNG, WAV and MP4 files into a folder. The same arguments, the same bytes.

    Interactions, factors and each item's text and files do not depend on which modalities are asked for.

    Args:
        folder: where the files go; needed where ``modalities`` name more than text, untouched otherwise. Written whole
            or not at all; used again where it holds the world of the same arguments.
        n_users: number of users.
        n_items: number of items.
        interactions_per_user: mean, about; activity is long-tailed, from 5 to half of the items.
        seed: not negative.
        modalities: any of "text", "image", "audio", "video".
        missing: fraction of the items that lack a modality, for each modality anew, in [0, 1]. A tenth of them, at
            least one, lack all, and the genre too.
        corrupt: fraction of the items whose file is unreadable, for each modality anew; at least one unless it is 0.

    Raises:
        ValueError: for an argument out of range.
        FileExistsError: if the folder holds something else.
    """
    validate(folder, n_users, n_items, interactions_per_user, seed, modalities, missing, corrupt)
    users = Vocabulary(shuffled_ids("u", n_users, draws(seed, "user ids")), what="user")
    items = Vocabulary(shuffled_ids("i", n_items, draws(seed, "item ids")), what="item")
    groups, tastes = draw_tastes(n_users, draws(seed, "tastes"))
    factors = draws(seed, "factors").uniform(-math.sqrt(3), math.sqrt(3), (n_items, len(FACTORS)))
    appeal = draws(seed, "appeal").exponential(0.8, n_items)
    released = draw_releases(n_items, draws(seed, "releases"))
    activity = draw_activity(n_users, n_items, interactions_per_user, draws(seed, "activity"))
    u, i, time = interact(tastes @ factors.T + appeal, activity, released, draws(seed, "interactions"))
    wanted = [m for m in MODALITIES if m in modalities]
    faults = {m: draw_faults(n_items, missing, corrupt, seed, m) for m in wanted}
    content = write_content(folder, items, factors, faults, seed, {"missing": missing, "corrupt": corrupt})
    bare = draw_bare(n_items, missing, seed)
    raw = Raw(pa.table({"user": users.ids.take(pa.array(u)), "item": items.ids.take(pa.array(i)), "time": time}),
              pa.table({"item": items.ids, "genre": pa.array(genres(factors), pa.string(), mask=bare), **content}),
              pa.table({"user": users.ids, "group": [f"group {g + 1}" for g in groups]}))
    return World(raw, users, items, tastes, factors, appeal, released, {m: SHOWS[m] for m in wanted},
                 {m: tuple(items.names(faults[m].broken.nonzero()[0])) for m in wanted if m in RENDER})


def validate(folder: object, n_users: int, n_items: int, interactions_per_user: int, seed: int,
             modalities: Sequence[str], missing: float, corrupt: float) -> None:
    """Refuse arguments of `world` that are out of range."""
    if unknown := set(modalities) - set(MODALITIES):
        raise ValueError(f"unknown modalities {sorted(unknown)}; choose from {MODALITIES}.")
    if folder is None and (media := set(modalities) & set(RENDER)):
        raise ValueError(f"{sorted(media)} are files: say in which folder, or ask for modalities=() or ('text',).")
    if n_users < 1 or seed < 0:
        raise ValueError(f"n_users must be positive and seed not negative, got {n_users} and {seed}.")
    if not LEAST <= interactions_per_user <= n_items // 2:
        raise ValueError(f"interactions_per_user must lie between {LEAST} and half of the items, {n_items // 2}, "
                         f"got {interactions_per_user}.")
    if min(missing, corrupt) < 0 or missing + corrupt > 1:
        raise ValueError(f"missing and corrupt are fractions whose sum is at most 1, got {missing} and {corrupt}.")


def draws(seed: int, purpose: str, *which: int) -> np.random.Generator:
    """A generator of its own for each purpose, so that none moves when another draws more."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *which])


def shuffled_ids(letter: str, n: int, rng: np.random.Generator) -> list[str]:
    """Ids such as "i0007" whose numbers are not their positions."""
    return [f"{letter}{number:04d}" for number in rng.permutation(n)]


def draw_tastes(n_users: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """The group of each user, and the user's taste: 0.6 of its variance is the group's."""
    centres = rng.normal(0, 1, (N_GROUPS, len(FACTORS)))
    groups = rng.integers(0, N_GROUPS, n_users)
    own = rng.normal(0, 1, (n_users, len(FACTORS)))
    return groups, 0.7 * (math.sqrt(0.6) * centres[groups] + math.sqrt(0.4) * own)


def draw_releases(n_items: int, rng: np.random.Generator) -> Ints:
    """Half of the items (the larger half) at the start, the others spread over the whole time."""
    order = rng.permutation(n_items)
    return START + np.where(order < (n_items + 1) // 2, 0, rng.integers(1, SPAN, n_items))


def draw_activity(n_users: int, n_items: int, mean: int, rng: np.random.Generator) -> Ints:
    """Interactions of each user: the least, and a log-normal number more."""
    more = (mean - LEAST) * rng.lognormal(-0.5, 1, n_users)  # of this log-normal the mean is 1
    return np.minimum(LEAST + more.round().astype(np.int64), n_items // 2)


def interact(affinity: Floats, activity: Ints, released: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    r"""Let every user take items one after the other, at random times.

    .. math:: P(i \mid u, t) \propto e^{a_{ui}} \quad \text{over the items released by } t \text{ and not taken yet}

    Drawn as the largest of the affinities plus Gumbel noise (arXiv:1903.06059).

    Returns:
        User and item numbers and UTC seconds, sorted by time; a user's times are distinct.
    """
    times = [np.sort(rng.integers(START, START + SPAN, n)) + np.arange(n) for n in activity]
    untaken, steps = np.ones(affinity.shape, dtype=np.bool_), []
    for step in range(int(activity.max())):
        users = (activity > step).nonzero()[0]
        now = np.array([times[u][step] for u in users])
        free = untaken[users] & (released <= now[:, None])
        items = np.where(free, affinity[users] + rng.gumbel(size=free.shape), -np.inf).argmax(axis=1)
        untaken[users, items] = False
        steps.append(np.stack([users, items, now]))
    user, item, time = np.concatenate(steps, axis=1)
    order = np.argsort(time, kind="stable")
    return user[order], item[order], time[order]


@dataclass(frozen=True)
class Faults:
    """Which items lack a modality, and of which the file is broken: two bool vectors, never both true."""

    absent: Bools
    broken: Bools


def draw_bare(n_items: int, missing: float, seed: int) -> Bools:
    """Items without any content: a tenth of those that lack a modality, at least one if any does."""
    return draws(seed, "bare").permutation(n_items) < math.ceil(round(missing * n_items) / 10)


def draw_faults(n_items: int, missing: float, corrupt: float, seed: int, modality: str) -> Faults:
    """First the bare items lack the modality, then others at random; the next ones are broken."""
    order = draws(seed, f"{modality} faults").permutation(n_items)
    order = order[np.argsort(~draw_bare(n_items, missing, seed)[order], kind="stable")]
    place = np.argsort(order)
    n_absent = round(missing * n_items)
    return Faults(place < n_absent, (n_absent <= place) & (place < n_absent + math.ceil(corrupt * n_items)))


def genres(factors: Floats) -> list[str]:
    """What the signs of cheer and speed make of an item."""
    names = (("drama", "thriller"), ("comedy", "adventure"))
    return [names[int(cheer > 0)][int(speed > 0)] for cheer, speed in factors[:, 6:8]]


def write_content(folder: Path | str | None, items: Vocabulary, factors: Floats, faults: Mapping[str, Faults],
                  seed: int, rates: Mapping[str, float]) -> dict[str, pa.Array]:
    """The columns of the modalities; writes their files."""
    media = [m for m in faults if m in RENDER]
    if folder is not None and media:
        what = {"generator": VERSION, "n_items": len(items), "seed": seed, "modalities": media, **rates}
        store(Path(folder), what, partial(render, items, factors, {m: faults[m] for m in media}, seed))
    columns = {}
    for m in faults:
        if m == "text":
            values = [text(shown(z, m), draws(seed, m, n)) for n, z in enumerate(factors)]
        else:
            values = [str(Path(folder or "", place(m, id_))) for id_ in items.ids.to_pylist()]
        columns[m] = pa.array(values, pa.string(), mask=faults[m].absent)
    return columns


def render(items: Vocabulary, factors: Floats, faults: Mapping[str, Faults], seed: int) -> Iterator[tuple[str, bytes]]:
    """Every file of the world, relative path and content."""
    for m, fault in faults.items():
        for n, id_ in enumerate(items.ids.to_pylist()):
            if not fault.absent[n]:
                rng = draws(seed, m, n)
                content = RENDER[m](shown(factors[n], m), rng)
                yield place(m, id_), damage(content, m, rng) if fault.broken[n] else content
