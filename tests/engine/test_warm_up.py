from dataclasses import replace

from swiftpie.engine.session import Session
from swiftpie.engine.warm_up import warm_up
from tests.pipelines.tiny_editor import tiny_editor


def called(stages):
    for draw in stages.values():
        draw()
    return list(stages)


def test_everything_that_a_model_can_is_done_once(session):
    fresh = Session(session.components)
    stages = called(warm_up(fresh, size_px=(96, 64)))
    assert stages == ["subject", "picture", "edit"]
    assert fresh.cache.misses["identity"] == 1


def test_a_size_that_is_the_usual_one_is_drawn_once(session):
    fresh = Session(session.components)
    called(warm_up(fresh))
    assert fresh.cache.hits["text"] == 0


def test_servers_prepare_for_several_at_once(session):
    fresh = Session(replace(session.components, has_fixed_sizes=True))
    stages = called(warm_up(fresh, size_px=(64, 64), together=(1, 2)))
    assert stages[3:5] == ["2 pictures", "two subjects"]
    assert list(fresh._runner._sizes.values()) == [{1, 2}]


def test_a_model_that_knows_all_words_is_prepared_to_draw_them():
    tiny = replace(tiny_editor(), image_encoder=None, inversion=None, has_fixed_sizes=True)
    plain = Session(tiny)
    stages = called(warm_up(plain, together=(1, 2)))
    assert stages == ["picture", "2 pictures"]
    assert list(plain._runner._sizes.values()) == [{1, 2}]
