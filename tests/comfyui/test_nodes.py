import asyncio
import gc
import json
import weakref
from dataclasses import replace

import pytest
import torch
from PIL import Image

import swiftpie
from swiftpie.photo.cutout import cut_out
from swiftpie.photo.search import Search
from tests.comfyui.interface import NODES, Cancelled, as_image, load_nodes, shape_of
from tests.tiny.faces import make_world, photo, small_session

WORKFLOWS = sorted((NODES / "workflows").glob("*.json"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comfyui")
    (folder / "input").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        package, switches = load_nodes(folder, patch)
        extension = asyncio.run(package.comfy_entrypoint())
        nodes = {node.__name__: node for node in asyncio.run(extension.get_node_list())}
        yield nodes, switches, folder


@pytest.fixture
def nodes(loaded):
    return loaded[0]


@pytest.fixture(scope="module")
def subject(loaded, session, sprite):
    nodes, *_ = loaded
    image = as_image(sprite)
    (subject, seen) = nodes["EncodeIdentity"].execute(session, image, "auto").args
    return subject, seen


@pytest.fixture(scope="module")
def drawn(loaded, session, subject):
    nodes, switches, _ = loaded
    (image, mask) = nodes["Personalize"].execute(session, "a dog on a beach", 3, 2, subject[0]).args
    return image, mask, switches.bars[-1]


def same(image, picture):
    return torch.equal(image, as_image(picture)[0])


def test_there_are_ten_nodes_at_most_and_their_names_are_ours(nodes):
    schemas = [node.define_schema() for node in nodes.values()]
    assert len({schema.node_id for schema in schemas}) == len(schemas) <= 10
    assert all(schema.node_id.startswith("SwiftPie") and schema.description for schema in schemas)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_name_the_inputs_that_there_are_and_link_what_fits(nodes, path):
    known = {
        node.define_schema().node_id: shape_of(node.define_schema()) for node in nodes.values()
    }
    graph = json.loads(path.read_text())
    ours = [node for node in graph.values() if node["class_type"] in known]
    assert len(ours) >= 3
    for node in ours:
        shape, given = known[node["class_type"]], node["inputs"]
        takes = shape["required"] | shape["optional"]
        assert shape["required"].keys() <= given.keys() <= takes.keys()
        for name, value in given.items():
            if isinstance(value, list) and graph[value[0]]["class_type"] in known:
                source = known[graph[value[0]]["class_type"]]
                assert source["outputs"][value[1]] == takes[name]


def test_a_recipe_is_loaded_where_comfyui_computes(nodes):
    (loaded,) = nodes["LoadRecipe"].execute("mini", download=False).args
    assert loaded.components.preset.name == "mini"
    assert loaded.components.device.type == "cpu"
    with pytest.raises(swiftpie.ConfigError, match="reference="):
        nodes["LoadRecipe"].execute("mini", download=False, reference="someone/sd21:unet")


@pytest.mark.thorough
def test_nothing_holds_a_session_that_comfyui_has_let_go(nodes, session, subject):
    own = swiftpie.Session(session.components)
    nodes["Personalize"].execute(own, "a dog on a beach", 3, 1, subject[0])
    known = weakref.ref(own)
    del own
    gc.collect()
    assert known() is None


def test_an_identity_is_the_librarys_and_is_shown(subject, session, sprite):
    (one,), seen = subject
    expected = session.encode_identity(sprite)
    assert torch.equal(one.identity.tokens, expected.tokens)
    assert seen.shape == (1, 128, 128, 3)
    assert torch.allclose(seen[0], (expected.pixels[0] + 1).movedim(0, -1) / 2)


def test_a_name_is_a_subject_and_a_sentence_names_one(nodes, session):
    encode, personalize = nodes["EncodeIdentity"].execute, nodes["Personalize"].execute
    (one,), seen = encode(session, name="kitten").args
    assert (one.name, one.identity.named.name, seen.shape) == ("kitten", "cat", (1, 128, 128, 3))
    (placed,) = nodes["PlaceSubject"].execute((one,), "", 1.0).args
    assert placed[0].name == "kitten"
    prompt = "a kitten on a beach"
    expected = session.generate(prompt, seed=3).images[0]
    for given in ((), placed):
        assert same(personalize(session, prompt, 3, 1, given).args[0][0], expected)


def test_a_mask_says_where_the_subject_is(nodes, session, sprite):
    image = as_image(sprite)
    alpha = image[..., 3]
    (one, *_), _ = nodes["EncodeIdentity"].execute(session, image[..., :3], "auto", alpha).args
    assert one.identity.cutouts[0].way == "mask"


def test_pictures_are_those_of_their_seeds(drawn, subject, session):
    image, mask, _ = drawn
    assert image.shape == (2, 128, 128, 3)
    assert mask.shape == (2, 128, 128)
    alone = session.personalize(subject[0], "a dog on a beach", seed=4)
    assert same(image[1], alone.images[0])
    assert same(mask[1], alone.subject_masks[0])


def test_the_bar_moves_and_finished_pictures_are_shown(drawn):
    image, _, bar = drawn
    assert bar.current == bar.total == 4
    assert [same(one, shown) for one, shown in zip(image, bar.previews, strict=True)] == [True] * 2


def test_a_cancelled_drawing_ends_within_a_picture(loaded, session, subject):
    nodes, switches, _ = loaded
    switches.is_cancelled = lambda: len(switches.bars[-1].previews) == 1
    try:
        with pytest.raises(Cancelled):
            nodes["Personalize"].execute(session, "a dog on a beach", 3, 64, subject[0])
    finally:
        switches.is_cancelled = lambda: False
    assert len(switches.bars[-1].previews) == 1


def test_subjects_are_chained_each_in_its_box(nodes, subject):
    place = nodes["PlaceSubject"].execute
    (left,) = nodes["MakeBox"].execute(0.0, 0.3, 0.5, 0.9).args
    (first,) = place(subject[0], "dog", 1.0, box=left).args
    (both,) = place(subject[0], "", 0.5, others=first).args
    assert [(subject.name, subject.scale, subject.box) for subject in both] == [
        ("dog", 1.0, left),
        ("", 0.5, None),
    ]
    with pytest.raises(swiftpie.InputError, match="2 subjects"):
        place(both, "", 1.0)


def test_a_box_may_be_drawn_as_a_mask(nodes):
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:6, 4:] = 1
    assert nodes["MakeBox"].execute(0.0, 0.0, 1.0, 1.0, mask).args == ((0.5, 0.25, 1.0, 0.75),)


def test_scales_reach_the_picture(nodes, session, subject, drawn):
    words = {"detail_scale": 1.0, "background_scale": 0.0, "text_scale": 1.0, "balance": 0.0}
    (scales,) = nodes["MakeScales"].execute(identity_scale=0.0, **words).args
    (image, _) = (
        nodes["Personalize"].execute(session, "a dog on a beach", 3, 1, subject[0], scales).args
    )
    assert not torch.equal(image[0], drawn[0][0])


def test_an_edit_keeps_all_else_to_the_last_bit_and_tells_where(nodes, session, drawn):
    given = (drawn[0] * 0.999).clamp(0, 1)  # finer than the 8 bits of a file
    prompts = ("a blue dog on a beach", "a dog on a beach")
    image, mask = nodes["Edit"].execute(session, given, *prompts, 5, 0.0).args
    assert image.shape == given.shape
    for number in range(2):
        outside = mask[number] == 0
        assert 0.5 < outside.float().mean() < 1
        assert torch.equal(image[number][outside], given[number][outside])
    photo = Image.fromarray((given[0] * 255).round().byte().numpy())
    alone = session.edit(photo, prompts[0], source_prompt=prompts[1], seed=5)
    assert same(mask[0], alone.region)
    changed = as_image(alone.blend)[0] > 0
    assert torch.equal(image[0][changed], as_image(alone.image)[0][changed])


def test_a_cut_out_is_the_librarys(nodes, drawn):
    cut, mask = nodes["CutOut"].execute(drawn[0][:1], "auto", (0.1, 0.1, 0.9, 0.95)).args
    photo = Image.fromarray((drawn[0][0] * 255).round().byte().numpy())
    assert cut.shape == (1, 128, 128, 4)
    assert torch.equal(cut[..., 3], mask)
    expected = cut_out(photo, Search(box=(0.1, 0.1, 0.9, 0.95))).mask
    assert torch.equal(mask[0], expected[0, 0])


def test_a_saved_identity_comes_back_and_a_new_file_is_read_anew(loaded, session, subject):
    nodes, _, folder = loaded
    tuned = replace(subject[0][0].identity, tuned="tokens, 20 steps")
    files = (
        nodes["SaveIdentity"].execute((replace(subject[0][0], source=tuned),), "swiftpie/dog").ui
    )
    written = folder / "output" / "swiftpie" / "dog_00001_.spid"
    assert str(written) == files
    written.rename(folder / "input" / "dog.spid")
    load = nodes["LoadIdentity"]
    assert load.define_schema().inputs[1].options == ["dog.spid"]
    ((again,), _) = load.execute(session, "dog.spid").args
    assert torch.equal(again.identity.tokens, tuned.tokens)
    assert again.identity.tuned == "tokens, 20 steps"
    before = load.fingerprint_inputs(file="dog.spid")
    (folder / "input" / "dog.spid").write_bytes(b"another")
    assert load.fingerprint_inputs(file="dog.spid") != before


@pytest.mark.thorough
def test_a_person_comes_into_pictures_and_photographs(nodes, tmp_path):
    world = make_world(tmp_path)
    encoder = swiftpie.open_face_encoder(swiftpie.FaceSettings(face_models=world / "faces"))
    own = small_session(world).with_face_encoder(encoder)
    image = as_image(photo())
    (subject, seen) = nodes["EncodeIdentity"].execute(own, image, face=True).args
    assert (subject[0].identity.is_face, seen.shape) == (True, (1, 64, 64, 3))
    draw = nodes["Personalize"].execute
    plain, styled = (
        draw(own, "a person at sea", 3, 1, subject, **more).args[0]
        for more in ({"identity_guidance": "plain"}, {"identity_guidance": "am1"})
    )
    assert not torch.equal(plain, styled)
    assert not torch.equal(draw(own, "a person", 3, 1, subject, style_image=image).args[0], plain)
    edited, mask = nodes["Edit"].execute(own, image, "a person", "", 5, 0.0, subject=subject).args
    outside = mask[0] == 0
    assert 0.5 < outside.float().mean() < 1
    assert torch.equal(edited[0][outside], image[0][outside])
    with pytest.raises(swiftpie.InputError, match="shows 1"):
        nodes["EncodeIdentity"].execute(own, image, face=True, face_number=2)


BLACK, WHITE = torch.zeros(1, 64, 64), torch.ones(1, 64, 64)


def encode(nodes, session, *given, **more):
    return nodes["EncodeIdentity"].execute(session, *given, **more)


def edit(nodes, session, image, **where):
    pair = image[..., :3].repeat(2, 1, 1, 1)
    return nodes["Edit"].execute(session, pair, "a dog", "", 5, 0.0, **where)


REFUSED = [  # with the nodes, a session and a picture of a subject
    (lambda n, *_: n["LoadRecipe"].execute("sdxl-turbo", download=False), "sdxl-turbo"),
    (lambda n, s, _: encode(n, s, name="elefant"), "elephant"),
    (lambda n, s, image: encode(n, s, image, name="cat"), "name"),
    (lambda n, s, _: encode(n, s), "Neither"),
    (lambda n, s, image: encode(n, s, image[..., :3], "auto", BLACK), "editor"),
    (lambda n, s, image: edit(n, s, image, mask=WHITE, box=(0, 0, 1, 1)), "exclude"),
    (lambda n, s, image: edit(n, s, image, mask=WHITE.repeat(3, 1, 1)), "masks"),
    (lambda n, s, image: edit(n, s, image, mask=WHITE, task="insert"), "removed"),
    (lambda n, s, image: edit(n, s, image, keyword="dog", task="remove"), "'keyword'"),
    (lambda n, s, image: edit(n, s, image, keep_pose=True), "'keep_pose'"),
    (lambda n, s, image: encode(n, s, image, face=True), "faces"),
    (lambda n, s, _: n["Personalize"].execute(s, "a dog", 1, 2, to="a dog at night"), "one seed"),
]


@pytest.mark.parametrize(("call", "word"), REFUSED)
def test_what_cannot_be_is_refused(nodes, session, sprite, tmp_path, monkeypatch, call, word):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(swiftpie.InputError, match=word):
        call(nodes, session, as_image(sprite))
