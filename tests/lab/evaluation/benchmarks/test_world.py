from collections import Counter
from dataclasses import replace
from itertools import chain

import pytest
import torch

from swiftpie import CapabilityError
from swiftpie.imageio.images import bounding_box, to_pil, to_tensor
from swiftpie.lexicon import COLOUR_WORDS, MATERIAL_PHRASES, RENDITIONS
from swiftpie.noise import draw_noise
from swiftpie.pipelines.request import Output, PersonalizeRequest, Subject
from swiftpie_lab.evaluation.benchmarks.world import (
    WISHES,
    WorldBenchmark,
    WorldDrawer,
    WorldKind,
    expected_of,
    shown_reference,
)
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.page import write_report
from swiftpie_lab.evaluation.run import score
from swiftpie_world.air import SEASON_PHRASES, TIME_PHRASES, WEATHER_PHRASES
from swiftpie_world.captions import (
    ACCESSORY_PHRASES,
    CLOSE_QUESTIONS,
    POSE_PHRASES,
    WHOLE_QUESTIONS,
)
from swiftpie_world.places import PLACES, is_held_out

MANY = 40  # of each kind, dealt and not drawn


@pytest.fixture(scope="module")
def dealt(benchmark):
    cases = benchmark.cases(MANY)
    return {kind: [case for case in cases if case.kind is kind] for kind in WorldKind}


def test_a_longer_list_of_a_kind_starts_with_the_shorter_one(benchmark, dealt):
    few = benchmark.cases(3)
    for kind, cases in dealt.items():
        assert [case for case in few if case.kind is kind] == cases[:3]
    every = [case for cases in dealt.values() for case in cases]
    assert len({case.name for case in every}) == len({case.seed for case in every}) == len(every)
    assert replace(benchmark, seed=1).cases(3) != few


def test_subjects_places_and_wishes_come_evenly_and_one_kind_is_held_out(benchmark, dealt):
    for kind, cases in dealt.items():
        codes = Counter(case.code for case in cases)
        assert codes.keys() == {benchmark.subjects.codes[row] for row in benchmark.world.pool}
        places = Counter(case.place for case in cases)
        for counts in (codes, places, Counter((case.wish, case.answer) for case in cases)):
            assert max(counts.values()) - min(counts.values()) <= 1
        assert {(case.wish, case.answer) for case in cases} <= {*WISHES[kind]}
        held_out = {is_held_out(case.requested.setting) for case in cases}
        assert held_out == {kind is WorldKind.COMPOSED}


def test_prompts_say_all_that_is_asked_in_the_first_words_of_each_table(dealt):
    tables = {"time": TIME_PHRASES, "weather": WEATHER_PHRASES, "season": SEASON_PHRASES}
    wished = POSE_PHRASES | ACCESSORY_PHRASES | MATERIAL_PHRASES | COLOUR_WORDS | RENDITIONS
    for case in chain.from_iterable(dealt.values()):
        place = PLACES[case.requested.setting.place]
        said = [case.subject, place.phrases[0], case.other_subject]
        for name, table in tables.items():
            if place.has_seasons if name == "season" else place.outdoors:
                said.append(next(filter(None, table[getattr(case, name)])))
        if case.wish not in {"", "view"}:
            said.append(wished[case.answer][0])
        assert [words for words in said if words not in case.prompt] == []
        assert case.prompt == case.prompt.strip().replace("  ", " ")


def test_an_answer_repeats_exactly_and_shows_its_wish(benchmark, dealt):
    for kind in (WorldKind.LOOK, WorldKind.ART, WorldKind.POSE):
        case = dealt[kind][0]
        answer, again = benchmark.answer(case), benchmark.answer(case)
        assert torch.equal(answer.rendering.pixels, again.rendering.pixels)
        without = benchmark.answer(replace(case, wish="", answer=""))
        assert (answer.rendering.pixels - without.rendering.pixels).abs().max() > 0.2
        assert torch.equal(answer.reference, without.reference)
    for kind in (WorldKind.VIEW, WorldKind.TURN):
        case = dealt[kind][1]
        pose = torch.rad2deg(benchmark.answer(case).layout.pose[0, :2])
        assert pose.tolist() == pytest.approx(case.view, abs=1e-4)


def test_judges_answer_what_the_case_requests_and_shows(dealt):
    seen, hidden = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    look, turned = dealt[WorldKind.LOOK][0], dealt[WorldKind.TURN][0]
    expected = expected_of(look, seen, look.code)
    assert (expected.subject, expected.others) == (look.code, frozenset())
    assert expected.answers[look.wish] == look.answer
    assert expected.answers["place"] == look.place
    assert not {"accessory", "pose", "rendition"} & {*expected.answers}
    assert not expected.is_lit
    assert expected_of(look, hidden, look.code).subject == ""
    assert look.wish not in expected_of(look, hidden, look.code).answers
    views = [expected_of(turned, mask, turned.code).view for mask in (seen, hidden)]
    assert views == [turned.view, None]
    plain = dealt[WorldKind.PLAIN]
    indoors = next(c for c in plain if not PLACES[c.requested.setting.place].outdoors)
    assert {*expected_of(indoors, seen, indoors.code).answers} == {"place"}


@pytest.mark.thorough
def test_what_the_model_draws_is_judged_in_every_kind(
    session, benchmark, world_judges, dealt, drawn
):
    kinds = (WorldKind.PLAIN, WorldKind.TURN, WorldKind.LOOK, WorldKind.PAIR)
    tried = [dealt[kind][0] for kind in kinds]
    networks = Networks(panel=benchmark.panel(world_judges))
    results = drawn(benchmark, tried, WorldDrawer(session, benchmark))
    rows = list(score(benchmark, tried, results, networks))
    report = write_report(benchmark, rows, results, networks)
    assert [group.title for group in report.groups] == [kind.value for kind in kinds]
    assert report.metrics["psnr"].candidates["truth"].mean == 60
    assert {*report.metrics["subject-psnr"].candidates} == {*benchmark.candidates}
    plain, turned, look, pair = (group.metrics for group in report.groups)
    assert {"subject-mistaken"} <= pair.keys() - plain.keys()
    assert {"yaw-error"} <= turned.keys() - look.keys()
    assert "paste" not in look["wish-accuracy"].candidates
    case = tried[1]
    reading = networks.panel.read(
        to_tensor(results.read(case, "model")),
        results.read_mask(case, "truth-mask"),
        shown_reference(case, results),
    )
    wrong = abs(reading.view[0] - case.view[0])
    assert turned["yaw-error"].candidates["model"].mean == pytest.approx(wrong, rel=1e-4)
    assert reading.answers.keys() == {*WHOLE_QUESTIONS, *CLOSE_QUESTIONS, "pose"}

    # The model starts from the noise of the answer.
    reference = (results.read(case, kind) for kind in ("reference", "reference-mask"))
    identity = session.encode_identity(next(reference), masks=next(reference))
    request = PersonalizeRequest(
        subjects=(Subject(identity, view=case.view),),
        prompt=case.prompt,
        noise=draw_noise([case.seed], (32, 16, 16))[None],
        output=Output.PIXELS,
        **benchmark.posture(case),
    )
    from_words = dict(WorldDrawer(session, benchmark, "words").draw(case, {"model"}))
    drawn = to_pil(session.draw(request).tensor)[0]
    assert drawn.tobytes() == from_words["model"].tobytes()
    assert to_pil(benchmark.answer(case).rendering.pixels)[0] == results.read(case, "truth")

    # Two subjects stand side by side, and both are judged.
    case = tried[-1]
    (rendering, _), known = benchmark.pair(case), benchmark.known(case)
    left, right = map(bounding_box, (rendering.mask, rendering.companion_mask))
    assert left[2] <= right[0]
    for box, shown in zip(benchmark.boxes(case), (left, right), strict=True):
        assert box[0] < (shown[0] + shown[2]) / 2 < box[2]
    assert known["reference"].tobytes() != known["other-reference"].tobytes()
    every = benchmark.evidence(case, results, networks)
    judged = [evidence.expected for kind, evidence in every if kind == "truth"]
    codes = [expected.subject for expected in judged]
    assert codes == [case.code, case.other_code]
    assert [expected.others for expected in judged] == [{codes[1]}, {codes[0]}]


def test_the_judges_of_the_package_recognise_true_renderings(benchmark, dealt):
    panel, right = benchmark.panel(), []
    for case in (*dealt[WorldKind.PLAIN][:4], *dealt[WorldKind.LOOK][:4]):
        answer = benchmark.answer(case)
        reference = (answer.reference + 1) / 2 * answer.reference_mask
        shown = torch.cat([reference, answer.reference_mask], dim=1)
        picture, mask = answer.rendering.pixels, answer.rendering.mask
        expected = expected_of(case, mask, case.code)
        reading = panel.read(picture, mask, shown, finds_pose=False)
        asked = {**expected.answers, **({"subject": case.code} if expected.subject else {})}
        answers = {**reading.answers, "subject": reading.subject}
        right += [answers[name] == answer for name, answer in asked.items() if name != "pose"]
    assert sum(right) > 0.9 * len(right)


def test_pictures_are_of_the_size_that_is_asked_for(session, benchmark, dealt):
    large, case = WorldBenchmark(benchmark.subjects), dealt[WorldKind.PLAIN][0]
    sizes = [world.answer(case).rendering.pixels.shape[-1] for world in (large, benchmark)]
    assert sizes == [256, 128]
    assert large.fingerprint != benchmark.fingerprint
    with pytest.raises(CapabilityError, match="size_px=256"):
        WorldDrawer(session, large)
