"""The larger world for programs that draw from noise of their own: no pixel has a right answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

import torch

from swiftpie.errors import ConfigError
from swiftpie.imageio.images import to_tensor
from swiftpie_lab.evaluation.benchmarks.world import (
    WorldBenchmark,
    WorldCase,
    WorldKind,
    expected_of,
    read_by,
    shown_reference,
)
from swiftpie_lab.evaluation.bounds import REFERENCES, SUBJECT_MASKS
from swiftpie_lab.evaluation.case import Evidence, Row
from swiftpie_lab.evaluation.contest import SUBJECT_MASK, OpenBenchmark, RivalTask
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import Results
from swiftpie_world.air import Setting
from swiftpie_world.captions import ATTRIBUTE_QUESTIONS

NOT_FOR_RIVALS = {WorldKind.TURN: "a view by value", WorldKind.PAIR: "subjects in boxes"}
"""Kinds of cases that ask for something no other program is given."""


@dataclass(frozen=True, eq=False)
class RivalWorld(WorldBenchmark, OpenBenchmark[WorldCase]):
    """The same cases, judged by what networks read in a picture, wherever its subject is."""

    finds_subject: ClassVar = True
    metrics = (
        "subject-recognition",
        "setting-accuracy",
        "wish-accuracy",
        *(f"{name}-accuracy" for name in (*Setting._fields, *ATTRIBUTE_QUESTIONS)),
    )
    candidates = MappingProxyType({"model": "rival", "truth": "truth"})
    strip = MappingProxyType({"reference": "reference", **candidates})
    ranked_by = ("subject-recognition", "setting-accuracy")
    headline = ("subject-recognition", "setting-accuracy", "wish-accuracy")

    def rival_task(self, case: WorldCase) -> RivalTask:
        """Return the prompt and the whole reference, before a wall."""
        known = self.known(case)
        reference = known[REFERENCES[0]]
        return RivalTask(
            prompt=case.prompt,
            seed=case.seed,
            references=(reference,),
            size=reference.size,
            files=known,
        )

    def evidence(
        self, case: WorldCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the rival's picture and the truth, each with its own subject's place."""
        true_mask = results.read_mask(case, SUBJECT_MASKS[0])
        expected = replace(expected_of(case, true_mask, case.code), view=None, is_lit=False)
        shown = shown_reference(case, results)
        for candidate, kind in (("model", SUBJECT_MASK), ("truth", SUBJECT_MASKS[0])):
            mask = results.read_mask(case, kind)
            # Where no subject is found the judge looks everywhere, and so finds none either.
            where = mask if bool((mask > 0).any()) else torch.ones_like(mask)
            sought = replace(expected, where=where)
            picture = to_tensor(results.read(case, candidate))
            yield (
                candidate,
                Evidence(
                    picture=picture,
                    prompt=case.prompt,
                    expected=sought,
                    reading=read_by(networks.panel, picture, sought, reference=shown),
                    networks=networks,
                ),
            )

    def sentences(self, rows: Sequence[Row[WorldCase]]) -> list[str]:
        """Return what was judged, and what could not be."""
        return [
            *super().sentences(rows),
            "The pictures were drawn from noise of their own, so nothing tells where their subject "
            "has to be, how it is turned and how it is lit. Judges look around the subject as the "
            "automatic cut-out finds it. Views by value and two subjects in boxes are left out.",
        ]


def kinds_for_rivals(chosen: Sequence[WorldKind], *, is_chosen: bool) -> list[WorldKind]:
    """Return the kinds of cases that other programs can draw.

    Args:
        chosen: Kinds to choose from.
        is_chosen: Whether the user named them.

    Raises:
        ConfigError: The user named one that they cannot draw.
    """
    for kind in chosen:
        if is_chosen and kind in NOT_FOR_RIVALS:
            raise ConfigError(
                f"Cases of the kind {kind.value!r} ask for {NOT_FOR_RIVALS[kind]}, which no other "
                "program is given. Leave that kind out of --kinds."
            )
    return [kind for kind in chosen if kind not in NOT_FOR_RIVALS]
