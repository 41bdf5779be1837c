from dataclasses import replace

from swiftpie.evaluation.ablations.setting import Region, Setting
from swiftpie.pipelines.request import Scales

PLAIN = Setting("branches", "everything", Scales())


def test_words_do_not_change_what_is_drawn():
    assert replace(PLAIN, group="masks", title="none").key == PLAIN.key


def test_every_switch_does():
    others = [
        replace(PLAIN, scales=Scales(background_scale=0.1)),
        replace(PLAIN, region=Region.TRUE),
        replace(PLAIN, has_detail=False),
        replace(PLAIN, has_skip=False),
        replace(PLAIN, knows_place=False),
        replace(PLAIN, num_references=3),
    ]
    assert len({PLAIN.key, *(other.key for other in others)}) == len(others) + 1
