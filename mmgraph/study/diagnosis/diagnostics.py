"""What is wrong with a split, before anything is trained on it."""

from mmgraph.data.split import Split
from mmgraph.features.features import Features
from mmgraph.study.diagnosis.check_content import check_content
from mmgraph.study.diagnosis.check_parts import check_parts, sizes
from mmgraph.study.diagnosis.check_popularity import check_popularity
from mmgraph.study.diagnosis.check_time import check_time
from mmgraph.study.diagnosis.findings import Diagnosis, Thresholds

USUAL = Thresholds()


def diagnose(split: Split, features: Features | None = None, *, thresholds: Thresholds = USUAL) -> Diagnosis:
    """Look for duplicates, leaks, skewed parts, time travel, cold rows and parts too small to say anything.

    Reads which users and items are held out, those of the test part too: it unlocks the split itself, which leaves a
    line in the log (the split that was passed stays locked). It returns aggregates only and chooses nothing.

    Args:
        split: to be looked at.
        features: of its items, joined by id; without them near duplicates are not looked for.
        thresholds: from where each check warns.

    Raises:
        PermissionError: if the test interactions were taken out of the split.
    """
    opened = split.unlock_test()
    popularity, cells = check_popularity(opened, thresholds)
    findings = [*check_parts(opened, thresholds), *popularity, *check_time(opened, thresholds),
                *check_content(opened, features, thresholds)]
    parameters = ", ".join(f"{name}={value!r}" for name, value in split.parameters.items())
    return Diagnosis(split.fingerprint, f"{split.name}({parameters}), seed {split.seed}", sizes(split),
                     tuple(findings), cells)
