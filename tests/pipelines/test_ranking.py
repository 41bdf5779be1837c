from dataclasses import replace
from functools import partial

import pytest
import torch
from PIL import Image
from torch import nn
from transformers import CLIPVisionModelWithProjection

from swiftpie import InputError, PersonalizeRequest, Subject
from swiftpie.engine.session import Session
from swiftpie.faces import FACE_ENCODERS
from swiftpie.imageio.images import to_tensor
from swiftpie.models.vision import ClipIdentityEncoder, Feature
from swiftpie.pipelines.choose import choose
from swiftpie.pipelines.ranking import best_change, best_of, place_score, ranked
from swiftpie.pipelines.request import Output
from swiftpie.pipelines.tasks import EditRequest, RetouchRequest, for_seeds
from tests.golden.networks import mini, random_networks, reading_networks
from tests.parity.tiny import picture
from tests.tiny.faces import make_models, photo
from tests.tiny.folders import make_image_encoder
from tests.tiny.networks import POOLED

PROMPT = "a dinosaur in a forest"
LEVEL, BOX = 2 / 255, (0.2, 0.2, 0.8, 0.9)
SD15, SDXL = (lambda family=family: random_networks(family) for family in ("sd15", "sdxl"))


def request_of(session, **given):
    subject = Subject(session.encode_identity(picture(0)))
    return PersonalizeRequest(**{"subjects": (subject,), "prompt": PROMPT, "seeds": (3,)} | given)


@pytest.mark.parametrize("networks", [mini, SD15, SDXL, reading_networks])
def test_the_best_of_several_is_the_picture_of_its_seed(networks):
    session = networks()
    whole = session.draw(request_of(session, seeds=(3, 4), best_of=3))
    assert len(whole.images) == len(whole.scores) == len(whole.subject_masks) == 2
    assert {*whole.seeds} < {3, 4, 5}
    assert all("identity_score" in scores for scores in whole.scores)
    assert ranked(whole.scores, session.components.family.ranks_by) == [0, 1]
    alone = session.draw(request_of(session, seeds=whole.seeds[:1]))
    apart = to_tensor(alone.images[0]) - to_tensor(whole.images[0])
    assert apart.abs().mean() < LEVEL  # numbers of a batch may be rounded otherwise
    assert not alone.scores
    assert whole.images[0].record["seed"] == str(whole.seeds[0])


@pytest.mark.parametrize("networks", [mini, SD15])
def test_the_best_insertion_is_the_likest_of_its_seeds(networks):
    session = networks()
    insert = partial(session.insert, picture(1), session.encode_identity(picture(0)), box=BOX)
    best, scored = insert(seed=3, best_of=3), {}
    for seed in (3, 4, 5):
        alone = insert(seed=seed)
        choice = choose(session.components, insertion_of(session, seed))
        scored[seed] = best_change(choice, [alone]).scores[0]["identity_score"]
        if seed == best.seed:
            apart = to_tensor(alone.image) - to_tensor(best.image)
            assert apart.abs().mean() < LEVEL
    assert best.scores[0]["identity_score"] > max(scored.values()) - 0.02
    assert best.record["seed"] == str(best.seed)


def insertion_of(session, seed):
    source = session.encode_identity(picture(0))
    return session.resolved(RetouchRequest(image=picture(1), source=source, box=BOX, seed=seed))


@pytest.mark.parametrize(
    ("prompt", "said"),
    [("a blue dog", "deterministic"), ("a dog on a beach at night", "edit by words")],
)
def test_a_change_that_is_random_in_nothing_or_compared_by_nothing_has_no_best(prompt, said):
    words = {"prompt": prompt, "source_prompt": "a dog on a beach", "best_of": 2}
    with pytest.raises(InputError, match=said):
        choose(mini().components, EditRequest(image=photo(), seed=1, **words))


def test_a_change_by_words_is_ranked_where_one_clip_reads_both(tmp_path):
    folder = make_image_encoder(tmp_path, features=POOLED)
    tower = CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    eyes = ClipIdentityEncoder(tower, nn.Identity(), Feature.EMBEDS)
    session = Session(replace(SDXL().components, image_encoder=eyes))
    best = session.edit(photo(), PROMPT, source_prompt="a dog on a beach", seed=1, best_of=2)
    assert [*best.scores[0]] == ["prompt_score"]


def test_pixels_are_ranked_as_pictures_are():
    session = mini()
    pictures, pixels = (
        session.draw(request_of(session, best_of=3, output=output))
        for output in (Output.PIL, Output.PIXELS)
    )
    assert pixels.seeds == pictures.seeds
    assert torch.equal(pixels.regions, pictures.regions)
    assert len(pixels.tensor) == 1


def test_scores_count_by_their_deviations_and_the_first_decides_between_equals():
    rows = [{"a": 0.0, "b": 0.31}, {"a": 0.1, "b": 0.3}, {"a": 0.9, "b": 0.3}]
    assert ranked(rows, ("a", "b"))[0] == 2
    assert ranked(rows, ("b",)) == [0, 1, 2]
    assert ranked(rows[:2], ("a", "b")) == [1, 0]
    assert ranked(rows, ("c",)) == [0, 1, 2]
    narrow = [{"a": 0.0, "b": 0.502}, {"a": 10.0, "b": 0.5}, {"a": 9.0, "b": 0.501}]
    assert ranked(narrow, ("a", "b"))[0] == 2  # by sums of raw scores it were 1


def test_a_large_subject_in_the_middle_is_placed_best():
    left, middle, small = (torch.zeros(1, 1, 8, 8) for _ in range(3))
    left[..., 2:6, 0:4] = middle[..., 2:6, 2:6] = small[..., 3:5, 3:5] = 1
    assert place_score(middle) > place_score(left) > place_score(torch.zeros(1, 1, 8, 8)) == 0
    assert place_score(middle) > place_score(small)


class WithStranger:
    """A face encoder that sees another face beside each that it finds in a picture."""

    def __init__(self, encoder):
        self.encoder, self.name, self.fingerprint = encoder, encoder.name, encoder.fingerprint

    def find(self, image):
        faces = self.encoder.find(image)
        beside = [
            replace(face, box=face.box._replace(left=face.box.left - 1), embedding=-face.embedding)
            for face in (faces if image.size == photo().size else ())
        ]
        return [*faces, *beside]


def test_a_person_is_compared_by_the_face(tmp_path):
    session = random_networks("sd15", face="ip-adapter-faceid-plusv2_sd15")
    encoder = FACE_ENCODERS.get("opencv").open(make_models(tmp_path))
    person = session.with_face_encoder(encoder).encode_face(photo())
    request = request_of(mini(), subjects=(Subject(person),), seeds=(3, 4, 5))
    drawn = session.draw(request)
    whole = replace(person, pixels=to_tensor(photo()))
    compared = replace(request, subjects=(Subject(whole),), best_of=3, seeds=(3,))
    choice = choose(session.components, compared, faces=encoder)
    grey = Image.new("RGB", photo().size, "grey")
    shown = replace(drawn, images=(grey, photo(), grey))
    best = best_of(choice, shown)
    assert best.seeds == (4,)
    together = best_of(replace(choice, faces=WithStranger(encoder)), shown)
    assert (together.seeds, together.scores) == (best.seeds, best.scores)
    assert best.scores[0]["identity_score"] > 0.99
    assert best_of(replace(choice, num_kept=3), shown).scores[2]["identity_score"] == -1
    bare = replace(person, mask=torch.zeros_like(person.mask))  # as of vectors without a crop
    with pytest.raises(InputError, match="only as vectors"):
        choose(session.components, replace(compared, subjects=(Subject(bare),)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"best_of": 1}, "no number from 2"),
        ({"best_of": 2, "seeds": (1, 2, 3)}, "cannot keep 3 pictures"),
        ({"best_of": 2, "output": Output.LATENTS}, "latents"),
        ({"best_of": 2, "subjects": ()}, "needs a subject"),
        ({"best_of": 2, "seeds": (1, 2), "prompt": (PROMPT, PROMPT)}, "2 prompts"),
        ({"best_of": 4, "seeds": (2**63 - 1,)}, "seed is"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_it_is_drawn(given, said):
    with pytest.raises(InputError, match=said):
        request_of(mini(), **given)
    with pytest.raises(InputError, match="2 pictures: it keeps one"):
        for_seeds(replace(insertion_of(mini(), 1), best_of=2), (1, 2))
