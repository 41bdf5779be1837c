from dataclasses import replace

from swiftpie.backbones.components import Engine
from swiftpie.engine.session import Session
from swiftpie.engine.warm_up import warm_up
from tests.tiny.editor import tiny_editor


def called(stages):
    for draw in stages.values():
        draw()
    return list(stages)


def test_everything_that_a_model_can_is_done_once(session):
    fresh = Session(session.components)
    assert called(warm_up(fresh)) == ["subject", "picture", "edit"]
    assert fresh.cache.misses["identity"] == 1
    assert fresh.cache.hits["prompt"] == 0  # the usual size is drawn once


def test_servers_prepare_for_several_at_once(session):
    fresh = Session(replace(session.components, engine=Engine(has_fixed_sizes=True)))
    assert called(warm_up(fresh, together=(1, 2)))[3:5] == ["2 pictures", "two subjects"]
    assert list(fresh._runner._sizes.values()) == [{1, 2}]


def test_a_model_that_knows_all_words_is_prepared_to_draw_them():
    tiny = replace(
        tiny_editor(), image_encoder=None, inversion=None, engine=Engine(has_fixed_sizes=True)
    )
    plain = Session(tiny)
    assert called(warm_up(plain, together=(1, 2))) == ["picture", "2 pictures"]
    assert list(plain._runner._sizes.values()) == [{1, 2}]
