"""Checks of who and what is in which part of a split."""

from collections import Counter

import numpy as np

from mmgraph.data.split import HISTORY, TEST, TRAIN, UNUSED, VALID, Split
from mmgraph.data.types import Bools, Ints
from mmgraph.study.diagnosis.findings import Finding, Thresholds, of_cold, unchecked

HELD = {"valid": "validation", "test": "test"}  # parts, and what they are called


def repeated(split: Split, limits: Thresholds) -> Finding:
    """Interactions that occur twice in one part. `Dataset.from_raw` drops what a file repeats, so what is found here
    was built by hand.
    """
    key, part = pair_keys(split), split.part
    again = len(key) - len(np.unique(key * 8 + part))
    return Finding("repeated interactions", again / max(len(key), 1), limits.repeated,
                   f"{again:,} of {len(key):,} interactions repeat another of the same part.",
                   "A repeated interaction counts twice in training and in every metric.",
                   "Build the data set with Dataset.from_frames or from_raw, which keep the first of them.",
                   detail={"repeated": again})


def shared(split: Split, limits: Thresholds) -> Finding:
    """Held-out (user, item) pairs that an earlier part shows already."""
    key = {p: pair_keys(split)[split.part == p] for p in (TRAIN, HISTORY, VALID, TEST)}
    shown = np.concatenate([key[TRAIN], key[HISTORY]])
    found = {"valid in train": int(np.isin(key[VALID], shown).sum()),
             "test in train": int(np.isin(key[TEST], shown).sum()),
             "test in valid": int(np.isin(key[TEST], key[VALID]).sum())}
    n = len(key[VALID]) + len(key[TEST])
    return Finding("pairs in two parts", sum(found.values()) / max(n, 1), limits.shared,
                   ", ".join(f"{name}: {count:,}" for name, count in found.items()) + f", of {n:,} held-out pairs.",
                   "What training has seen it can repeat, and it is masked as known: the figure means nothing for it.",
                   "Remove the pair from one of the two parts.", detail=found)


def twins(split: Split, limits: Thresholds, what: str) -> Finding:
    """Users whose items (items whose users) are exactly another's, all parts together."""
    used = split.part != UNUSED
    by = {"users": split.data.user[used], "items": split.data.item[used]}
    other = "items" if what == "users" else "users"
    n, same = equal_rows(by[what], by[other], limits.min_history)
    advice = ("Find out where they come from (test accounts, merged records, one product under two ids); merge them "
              "before splitting.")
    why = f"Two {what} that are one, on both sides of the split, let a model look its answer up."
    name = f"twin {what}"
    if not n:
        return unchecked(name, f"none of the {what} has {limits.min_history} interactions", why, advice)
    limit = limits.twin_users if what == "users" else limits.twin_items
    return Finding(name, same / n, limit,
                   f"{same:,} of {n:,} {what} with at least {limits.min_history} interactions have exactly the same "
                   f"{other} as another.", why, advice, detail={"same": same, "compared": n})


def promise(split: Split, limits: Thresholds, what: str) -> Finding | None:
    """Whether a cold protocol kept its items (users) out of training; none where it promises nothing of the kind."""
    share = split.parameters.get("share")
    if not of_cold(split, what) or not isinstance(share, float):
        return None
    n, n_warm = (len(split.data.items), split.n_warm_items) if what == "item" \
        else (len(split.data.users), split.n_warm_users)
    promised = round(share * n)
    seen = max(0, promised - (n - n_warm))
    return Finding(f"cold {what}s in training", seen / max(promised, 1), limits.broken_promise,
                   f"{split.name} keeps {promised:,} {what}s out of training; {n - n_warm:,} have no training "
                   f"interaction.", f"A {what} that training has seen is not cold, whatever the column is called.",
                   "Make the split anew from the whole data set.", detail={"promised": promised, "cold": n - n_warm})


def cold_rows(split: Split, limits: Thresholds, what: str) -> Finding:
    """Held-out interactions whose item (user) has no training interaction."""
    found: dict[str, float] = {}
    words, asked = [], of_cold(split, what)
    for part, word in HELD.items():
        numbers = split.data.item[held(split, part)] if what == "item" else split.data.user[held(split, part)]
        cold = numbers[numbers >= (split.n_warm_items if what == "item" else split.n_warm_users)]
        if len(numbers):
            found |= {part: len(cold) / len(numbers), f"{part} rows": len(cold), f"{part} {what}s": len(set(cold))}
            words.append(f"{len(cold):,} of {len(numbers):,} {word} interactions ({len(cold) / len(numbers):.2%}) are "
                         f"with {len(set(cold)):,} {what}s")
    why = (f"Ids alone say nothing of a {what} that training lacks: such rows cap the score of every model that reads "
           f"nothing else, and a gain on them is no gain on the others.")
    advice = "Report warm and cold candidates separately, or choose a protocol that asks for cold ones."
    if not words:
        return unchecked(f"cold {what}s", "nothing is held out", why, advice)
    return Finding(f"cold {what}s", max(found[part] for part in HELD if part in found),
                   None if asked else limits.cold_rows,
                   f"{' and '.join(words)} without a training interaction"
                   f"{f', as {split.name} wants it' if asked else ''}.", why, advice, detail=found)


def untested(split: Split, limits: Thresholds) -> Finding:
    """Users without a test interaction."""
    who = {part: np.unique(getattr(split, part).users) for part in HELD}
    n, both = len(split.data.users), len(np.intersect1d(who["valid"], who["test"]))
    design = split.name == "GlobalTime" or split.name.lower().startswith("cold")
    text = f"{n - len(who['test']):,} of {n:,} users have no test interaction"
    if len(who["valid"]) and len(who["test"]) and not both:
        text += "; no user has both a validation and a test interaction"
    return Finding("users without test", 1 - len(who["test"]) / n, None if design else limits.untested,
                   text + (f", as {split.name} may leave it." if design else "."),
                   "A metric is a mean over users who have held-out interactions: of the others it says nothing, and "
                   "where validation has other users than test, choices are made for one crowd and judged by another.",
                   "Hold something out for every user who has enough, or say whom the figure is about.",
                   detail={"users": n, "with valid": len(who["valid"]), "with test": len(who["test"]),
                           "with both": both})


def precision(split: Split, limits: Thresholds) -> Finding:
    r"""How exactly a share of the users can be known at all: :math:`1.96 \sqrt{p (1 - p) / n}` at p = 1/2, the widest.

    Source: standard error of a proportion, Wald 1943, doi:10.1090/S0002-9947-1943-0012401-3.
    """
    n = {part: len(np.unique(getattr(split, part).users)) for part in HELD}
    half = {part: 1.96 * 0.5 / float(np.sqrt(size)) for part, size in n.items() if size}
    why = "Differences smaller than the interval are noise; models that differ by less cannot be told apart here."
    advice = "Hold out more users, repeat over several draws (cross-validation), and compare pairwise per user."
    if not half:
        return unchecked("users per part", "nothing is held out", why, advice)
    widest = max(half.values())
    return Finding("users per part", widest, limits.half_width,
                   f"{n['valid']:,} users in validation, {n['test']:,} in test: a share of them is known to "
                   f"± {widest:.3f} at worst.", why, advice,
                   detail={f"{part} users": size for part, size in n.items()}
                   | {f"{part} half width": width for part, width in half.items()})


def sizes(split: Split) -> dict[str, int]:
    """Users, items, and interactions by part."""
    parts = {"train": TRAIN, "history": HISTORY, "valid": VALID, "test": TEST, "unused": UNUSED}
    found = {name: int((split.part == part).sum()) for name, part in parts.items()}
    return {"users": len(split.data.users), "items": len(split.data.items)} | found


def held(split: Split, part: str) -> Bools:
    """Mask of the interactions of a held-out part."""
    return split.part == (VALID if part == "valid" else TEST)


def pair_keys(split: Split) -> Ints:
    """One number per (user, item) pair."""
    return split.data.user * len(split.data.items) + split.data.item


def equal_rows(of: Ints, other: Ints, least: int) -> tuple[int, int]:
    """How many have at least ``least`` distinct others, and how many of them share exactly these with another."""
    of, other = np.unique(np.stack([of, other]), axis=1)
    rows = np.split(other, np.flatnonzero(np.diff(of)) + 1)
    count = Counter(row.tobytes() for row in rows if len(row) >= least)
    return sum(count.values()), sum(n for n in count.values() if n > 1)


def check_parts(split: Split, limits: Thresholds) -> list[Finding]:
    """All of them."""
    kept = [found for what in ("item", "user") if (found := promise(split, limits, what))]
    return [repeated(split, limits), shared(split, limits), *kept, cold_rows(split, limits, "item"),
            cold_rows(split, limits, "user"), untested(split, limits), precision(split, limits),
            twins(split, limits, "users"), twins(split, limits, "items")]
