"""Identities: encoding, files, and what is refused."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from swiftpie import InputError, WeightsError
from swiftpie.errors import NoSubject
from swiftpie.imageio.decoding import is_safetensors
from swiftpie.pipelines import identity as identities
from swiftpie.pipelines.identity import LARGE_PX, MAX_REFERENCES, encode_identity, with_own_colours
from swiftpie.pipelines.identity_file import FORMAT, fitted, read_identity_header
from tests.pipelines.tiny_editor import tiny_editor
from tests.shapes import as_mask, ellipse

PROMPT = "a photo of a subject in the snow"


def test_a_saved_identity_gives_the_same_picture(session, sprite, tmp_path):
    identity = session.encode_identity(sprite.resize((200, 200)))
    session.save_identity(identity, tmp_path / "x.spid")
    loaded = session.load_identity(tmp_path / "x.spid")
    assert loaded.fingerprint == identity.fingerprint
    assert torch.equal(loaded.pixels, identity.pixels)
    assert torch.equal(loaded.mask, identity.mask)
    assert torch.equal(loaded.large, identity.large)
    pair = [session.personalize(one, PROMPT, seed=1).images[0] for one in (identity, loaded)]
    assert pair[0].tobytes() == pair[1].tobytes()


def test_an_identity_keeps_how_it_was_cut_out_and_files_may_not_know(session, sprite, tmp_path):
    on_white = Image.new("RGB", sprite.size, "white")
    on_white.paste(sprite, mask=sprite.getchannel("A"))
    ways = {"auto": "network", "none": "none", "0,0,0.6,1": "network"}
    keys = set()
    for way, found in ways.items():
        identity = session.encode_identity([on_white, sprite], cutout=[way, "auto"])
        assert [one.way for one in identity.cutouts] == [found, "transparency"]
        keys.add(identity.pixels.sum().item())
        assert session.personalize(identity, PROMPT, seed=1).cutouts == (identity.cutouts,)
    assert len(keys) == 3  # and one way is not taken for another in the cache
    session.save_identity(identity, tmp_path / "x.spid")
    assert session.load_identity(tmp_path / "x.spid").cutouts == identity.cutouts
    with pytest.raises(InputError, match="with 1 cut-outs"):
        session.encode_identity([sprite, sprite], cutout=["auto"])
    with pytest.raises(InputError, match="is no way to cut a subject out"):
        session.encode_identity(sprite, cutout="mask.png")


def test_a_reference_without_a_subject_is_named_and_left_out(session, sprite, tmp_path, caplog):
    blank = tmp_path / "blank.png"
    Image.new("RGB", (90, 90), "grey").save(blank)
    several = session.encode_identity([sprite, blank, sprite.resize((80, 80))])
    alone = session.encode_identity([sprite, sprite.resize((80, 80))])
    assert several.left_out == (2,)
    assert torch.equal(several.tokens, alone.tokens)
    assert "Picture 2 (" in caplog.text
    assert "blank.png" in caplog.text
    with pytest.raises(NoSubject, match="None of the 2 pictures"):
        session.encode_identity([blank, Image.open(blank)])


@pytest.mark.parametrize(
    ("ground", "size"), [((0, 255, 0), (420, 300)), ((30, 60, 220), (2520, 1800))]
)
def test_the_soft_edge_of_a_cut_out_has_the_colour_of_the_subject(ground, size):
    subject, shape = (190, 60, 40), ellipse().filter(ImageFilter.GaussianBlur(2)).resize(size)
    photo = Image.composite(Image.new("RGB", size, subject), Image.new("RGB", size, ground), shape)
    mask = as_mask(shape)
    cut = np.asarray(with_own_colours(photo, mask), dtype=int)
    soft, solid = (mask > 0.05)[0, 0].numpy(), (mask > 0.99)[0, 0].numpy()
    assert np.abs(cut - subject)[soft].mean() < 4
    assert np.array_equal(cut[solid], np.asarray(photo)[solid])


@pytest.mark.parametrize(
    "cutouts", ["network", [["network"]], [[1, 2]], [["network", 2.0]], [["mask", 1.0]] * 2, {}]
)
def test_damaged_notes_of_cutouts_are_refused(session, identity, tmp_path, cutouts):
    path = tmp_path / "x.spid"
    session.save_identity(identity, path)
    with safe_open(path, "pt") as opened:
        header = json.loads(opened.metadata()["swiftpie"])
    header["cutouts"] = cutouts
    save_file(load_file(path), path, metadata={"swiftpie": json.dumps(header)})
    with pytest.raises(InputError, match="how it was cut out"):
        read_identity_header(path)
    del header["cutouts"]
    save_file(load_file(path), path, metadata={"swiftpie": json.dumps(header)})
    assert read_identity_header(path).cutouts == ()


@pytest.mark.parametrize("side", [200, 600])
def test_the_first_picture_is_kept_large_in_the_frame_that_is_read(
    session, sprite, monkeypatch, side
):
    looked, find = [], identities.cut_out_or_given
    monkeypatch.setattr(
        identities,
        "cut_out_or_given",
        lambda *given, **named: looked.append(given) or find(*given, **named),
    )
    identity = session.encode_identity([sprite.resize((side, side)), sprite])
    assert len(looked) == 2  # at each picture once
    large = identity.large
    assert large.dtype == torch.uint8
    assert large.shape == (1, 4, min(side, LARGE_PX), min(side, LARGE_PX))
    assert (large[:, :3] <= large[:, 3:]).all()
    mask = identity.mask[:1]
    read = torch.cat([(identity.pixels[:1] + mask) / 2, mask], dim=1)
    shrunk = F.interpolate(large / 255, read.shape[-2:], mode="bilinear", antialias=True)
    assert (shrunk - read).abs().mean() < 0.003
    assert (shrunk - read.roll(2, dims=-1)).abs().mean() > 0.01
    assert identity.without_detail().to("cpu").large is large


def test_no_picture_is_kept_larger_than_it_is_or_for_models_that_place_none(session, sprite):
    small = sprite.resize((100, 100))
    cover = Image.new("L", (400, 400), 0)
    cover.paste(255, (20, 30, 136, 90))  # 116 px are nine tenths of 129
    assert session.encode_identity([small, sprite.resize((400, 400))]).large is None
    assert session.encode_identity(sprite.resize((128, 90)), cutout="none").large is None
    one = session.encode_identity(sprite.resize((400, 400)), masks=cover)
    assert one.large.shape[-1] == 129
    assert encode_identity(tiny_editor(), [sprite.resize((400, 400))]).large is None


@pytest.mark.parametrize(
    "shape", [(), (0,), (1, 4, 513, 513), (1, 4, 128, 128), (1, 4, 200, 201), (2, 4, 200, 200)]
)
def test_large_frames_of_other_shapes_are_refused_before_they_are_read(
    session, parts, tmp_path, shape
):
    tensors, facts = parts
    large = {"large": torch.zeros(shape, dtype=torch.uint8)}
    refused(session, tmp_path / "x.spid", tensors | large, facts, match="its large frame has")
    with pytest.raises(InputError, match="its large frame has"):
        read_identity_header(tmp_path / "x.spid")


def test_large_frames_are_bytes_for_models_that_place_subjects(session, parts, tmp_path, sprite):
    tensors, facts = parts
    for kind in (torch.float32, torch.int8, torch.float64):
        other = tensors | {"large": torch.zeros(1, 4, 200, 200, dtype=kind)}
        refused(session, tmp_path / "x.spid", other, facts, match=f"{kind} instead of bytes")
    plain = tiny_editor()
    one = encode_identity(plain, [sprite])
    large = torch.zeros(1, 4, one.pixels.shape[-1] + 1, one.pixels.shape[-1] + 1).byte()
    with pytest.raises(InputError, match="makes no large frames"):
        fitted(replace(one, large=large), plain, name="x")


def test_files_without_a_large_frame_are_read(session, parts, identity, tmp_path):
    assert "large" not in parts[0]
    loaded = session.load_identity(tmp_path / "right.spid")
    assert loaded.large is None
    assert torch.equal(loaded.tokens, identity.tokens)


def test_an_existing_file_is_kept(session, identity, tmp_path):
    target = tmp_path / "x.spid"
    target.write_bytes(b"mine")
    with pytest.raises(InputError, match="exists"):
        session.save_identity(identity, target)
    assert target.read_bytes() == b"mine"


def test_the_background_of_a_reference_does_not_matter(session, sprite):
    results = []
    for colour in ("white", "navy"):
        photo = Image.new("RGB", sprite.size, colour)
        photo.paste(sprite, mask=sprite.getchannel("A"))
        mask = sprite.getchannel("A")
        identity = session.encode_identity(photo, masks=mask)
        results.append(
            np.asarray(session.personalize(identity, PROMPT, seed=0).images[0], dtype=float)
        )
    other = session.personalize(identity, PROMPT, seed=99).images[0]
    assert np.abs(results[0] - results[1]).mean() < 3
    assert np.abs(results[0] - np.asarray(other, dtype=float)).mean() > 3


def test_several_equal_views_are_like_one(session, sprite, identity):
    three = session.encode_identity([sprite] * 3)
    pair = [session.personalize(one, PROMPT, seed=2).images[0] for one in (identity, three)]
    difference = np.asarray(pair[0], dtype=int) - np.asarray(pair[1], dtype=int)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("count", [0, 9])
def test_the_number_of_references_is_limited(session, sprite, count):
    with pytest.raises(InputError, match="identity needs 1 to 8"):
        session.encode_identity([sprite] * count)


def test_masks_must_match_the_pictures_in_number(session, sprite):
    with pytest.raises(InputError, match="2 pictures came with 1 masks"):
        session.encode_identity([sprite, sprite], masks=[None])


def test_identities_of_other_weights_are_refused(session, identity, tmp_path):
    session.save_identity(identity, tmp_path / "x.spid")
    data = (tmp_path / "x.spid").read_bytes()
    changed = data.replace(identity.fingerprint.encode(), b"0" * 64)
    (tmp_path / "y.spid").write_bytes(changed)
    with pytest.raises(WeightsError, match="other weights"):
        session.load_identity(tmp_path / "y.spid")


def test_what_is_no_identity_file_is_refused(session, tmp_path):
    path = tmp_path / "x.spid"
    with pytest.raises(InputError, match="no file"):
        session.load_identity(path)
    save_file({"a": torch.zeros(1)}, path)
    for content in (path.read_bytes(), b"", b"no", b"\x80\x04\x95pickle", b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not an identity file"):
            session.load_identity(path)


@pytest.fixture
def parts(session, identity, tmp_path):
    """Tensors and facts of a file, to be damaged."""
    session.save_identity(identity, tmp_path / "right.spid")
    facts = {"format": FORMAT, "preset": identity.preset, "fingerprint": identity.fingerprint}
    return load_file(tmp_path / "right.spid"), facts


def refused(session, path, tensors, facts, match="damaged"):
    save_file(tensors, path, metadata={"swiftpie": json.dumps(facts)})
    with pytest.raises(InputError, match=match):
        session.load_identity(path)


def with_nan(tensor):
    return torch.full_like(tensor, float("nan"))


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor[:0].contiguous(),
        lambda tensor: tensor[..., :-1].contiguous(),
        lambda tensor: tensor.flatten(),
        lambda tensor: tensor.half(),
        with_nan,
    ],
)
@pytest.mark.parametrize("name", ["tokens", "pooled", "pixels", "mask", "keys/", "values/"])
def test_every_tensor_is_what_the_networks_make(session, parts, tmp_path, name, change):
    tensors, facts = parts
    whole = next(one for one in tensors if one.startswith(name))
    refused(session, tmp_path / "x.spid", tensors | {whole: change(tensors[whole])}, facts)


@pytest.mark.parametrize(("pictures", "tokens"), [(MAX_REFERENCES + 1, 9), (2, 3)])
def test_tokens_are_of_as_many_pictures_as_a_subject_may_have(
    session, parts, tmp_path, pictures, tokens
):
    tensors, facts = parts
    more = {name: tensors[name][:1].repeat(pictures, 1, 1, 1) for name in ("pixels", "mask")}
    more["tokens"] = tensors["tokens"][:, :1].repeat(1, tokens, 1)
    refused(session, tmp_path / "x.spid", tensors | more, facts)


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("pixels", lambda tensor: tensor * 1e4, "its pixels range from"),
        ("pixels", lambda tensor: tensor - 0.5, "its pixels range from"),
        ("mask", torch.neg, "its mask range from -1 to"),
        ("mask", lambda tensor: tensor * 2, "its mask range from 0 to 2"),
        ("mask", torch.zeros_like, "mask of a picture is empty"),
    ],
)
def test_pictures_and_masks_have_values_of_such(session, parts, tmp_path, name, change, match):
    tensors, facts = parts
    changed = tensors | {name: change(tensors[name])}
    refused(session, tmp_path / "x.spid", changed, facts, match=match)
    loaded = session.load_identity(tmp_path / "right.spid")
    with pytest.raises(InputError, match=match):
        session.fitted(replace(loaded, **{name: changed[name]}), name="it")


def test_no_empty_picture_hides_among_several(session, sprite, tmp_path):
    several = session.encode_identity([sprite] * 2)
    one_empty = several.mask * torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    session.save_identity(replace(several, mask=one_empty), tmp_path / "x.spid")
    with pytest.raises(InputError, match="mask of a picture is empty"):
        session.load_identity(tmp_path / "x.spid")


@pytest.mark.parametrize("value", [(0, 0, 0, 0), (200, 0, 0, 90)])
def test_large_frames_are_premultiplied_and_not_empty(session, parts, tmp_path, value):
    tensors, facts = parts
    large = torch.tensor(value, dtype=torch.uint8).view(1, 4, 1, 1).expand(1, 4, 200, 200)
    changed = tensors | {"large": large.contiguous()}
    refused(session, tmp_path / "x.spid", changed, facts, match="its large frame is empty, or")


@pytest.mark.parametrize("name", ["tokens", "pooled", "pixels", "mask", "keys/", "values/"])
def test_every_tensor_is_there_and_no_other(session, parts, tmp_path, name):
    tensors, facts = parts
    lost = next(one for one in tensors if one.startswith(name))
    without = {one: tensor for one, tensor in tensors.items() if one != lost}
    refused(session, tmp_path / "x.spid", without, facts)
    refused(session, tmp_path / "x.spid", tensors | {f"{name}more": torch.zeros(1)}, facts)


def test_keys_without_tokens_are_refused_everywhere(session, parts, tmp_path):
    tensors, facts = parts
    layers = [name for name in tensors if "/" in name]
    empty = {name: tensors[name][:, :0].contiguous() for name in layers}
    refused(session, tmp_path / "x.spid", tensors | empty, facts)


@pytest.mark.parametrize(
    ("facts", "match"),
    [
        ([], "not an identity file"),
        (None, "not an identity file"),
        ({"format": FORMAT}, "not an identity file"),
        ({"format": []}, "not an identity file"),
        ({"format": "swiftpie-identity/2", "preset": "", "fingerprint": ""}, "this version reads"),
        ({"format": FORMAT, "preset": 3, "fingerprint": ""}, "no short text"),
        ({"format": FORMAT, "preset": "\x1b[31m", "fingerprint": ""}, "no short text"),
        ({"format": FORMAT, "preset": "mini", "fingerprint": "0" * 9999}, "no short text"),
    ],
)
def test_facts_of_a_wrong_kind_are_refused(session, parts, tmp_path, facts, match):
    refused(session, tmp_path / "x.spid", parts[0], facts, match)


def test_a_pipe_is_no_identity_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not is_safetensors(tmp_path / "pipe")
    with pytest.raises(InputError, match="no file"):
        read_identity_header(tmp_path / "pipe")
