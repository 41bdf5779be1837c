import json
import os
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from swiftpie import InputError, WeightsError
from swiftpie.errors import NoSubject
from swiftpie.imageio.decoding import is_safetensors
from swiftpie.pipelines import identity as identities
from swiftpie.pipelines.identity import LARGE_PX, MAX_REFERENCES, encode_identity
from swiftpie.pipelines.identity_file import (
    FORMAT,
    MOST_SMALL_BYTES,
    SMALL,
    identity_bytes,
    prepare_identity,
    read_identity,
    read_identity_header,
)
from tests.tiny.editor import tiny_editor

PROMPT = "a photo of a subject in the snow"


def test_a_saved_identity_gives_the_same_picture(session, sprite, tmp_path):
    identity = session.encode_identity(sprite.resize((200, 200)))
    session.save_identity(identity, tmp_path / "x.spid")
    loaded = session.load_identity(tmp_path / "x.spid")
    assert loaded.fingerprint == identity.fingerprint
    assert torch.equal(loaded.pixels, identity.pixels)
    assert torch.equal(loaded.mask, identity.mask)
    assert torch.equal(loaded.large, identity.large)
    pair = [session.personalize(drawn, PROMPT, seed=1).images[0] for drawn in (identity, loaded)]
    assert pair[0].tobytes() == pair[1].tobytes()


def test_an_identity_keeps_how_it_was_cut_out_and_files_may_not_know(session, sprite, tmp_path):
    on_white = Image.new("RGB", sprite.size, "white")
    on_white.paste(sprite, mask=sprite.getchannel("A"))
    ways = {"auto": "network", "none": "none", "0,0,0.6,1": "network"}
    keys = set()
    for way, found in ways.items():
        identity = session.encode_identity([on_white, sprite], cutout=[way, "auto"])
        assert [cutout.way for cutout in identity.cutouts] == [found, "transparency"]
        keys.add(identity.pixels.sum().item())
        assert session.personalize(identity, PROMPT, seed=1).cutouts == (identity.cutouts,)
    assert len(keys) == 3  # and one way is not taken for another in the cache
    session.save_identity(identity, tmp_path / "x.spid")
    assert session.load_identity(tmp_path / "x.spid").cutouts == identity.cutouts


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
    ("box", "is_cut", "cut_at"),
    [
        ((50, 60, 150, 200), True, ""),
        ((50, 60, 150, 190), False, ""),
        ((0, 60, 150, 190), False, "left"),
        ((50, 0, 200, 200), True, "right top"),
    ],
)
def test_an_identity_knows_what_border_cuts_it_off(session, tmp_path, box, is_cut, cut_at):
    mask = Image.new("L", (200, 200))
    mask.paste(255, box)
    identity = session.encode_identity(Image.new("RGB", (200, 200), "red"), masks=[mask])
    session.save_identity(identity, tmp_path / "x.spid")
    for known in (identity, session.load_identity(tmp_path / "x.spid")):
        assert [cutout.is_cut for cutout in known.cutouts] == [is_cut]
        assert known.cut_at == cut_at


@pytest.mark.parametrize("side", [200, 600])
def test_the_first_picture_is_kept_large_in_the_frame_that_is_read(
    session, sprite, monkeypatch, side
):
    looked, find = [], identities.subject_in
    monkeypatch.setattr(
        identities,
        "subject_in",
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
    assert one.large.shape[-1] == pytest.approx(129, abs=2)  # its rim is soft
    assert encode_identity(tiny_editor(), [sprite.resize((400, 400))]).large is None


def test_large_frames_are_for_models_that_place_subjects(sprite):
    plain = tiny_editor()
    one = encode_identity(plain, [sprite])
    frame = torch.zeros(1, 4, one.pixels.shape[-1] + 1, one.pixels.shape[-1] + 1).byte()
    with pytest.raises(InputError, match="large"):
        prepare_identity(replace(one, large=frame), plain, name="x")


def test_files_without_a_large_frame_are_read(session, saved, tensors, identity):
    assert "large" not in tensors
    loaded = session.load_identity(saved)
    assert loaded.large is None
    assert torch.equal(loaded.tokens, identity.tokens)


def test_the_background_of_a_reference_does_not_matter(session, sprite):
    results, mask = [], sprite.getchannel("A")
    for colour in ("white", "navy"):
        photo = Image.new("RGB", sprite.size, colour)
        photo.paste(sprite, mask=mask)
        identity = session.encode_identity(photo, masks=mask)
        drawn = session.personalize(identity, PROMPT, seed=0).images[0]
        results.append(np.asarray(drawn, dtype=float))
    other = session.personalize(identity, PROMPT, seed=99).images[0]
    assert np.abs(results[0] - results[1]).mean() < 3
    assert np.abs(results[0] - np.asarray(other, dtype=float)).mean() > 3


def test_several_equal_views_are_like_one(session, sprite, identity):
    three = session.encode_identity([sprite] * 3)
    pair = [session.personalize(shown, PROMPT, seed=2).images[0] for shown in (identity, three)]
    difference = np.asarray(pair[0], dtype=int) - np.asarray(pair[1], dtype=int)
    assert np.abs(difference).max() <= 1


@pytest.fixture(scope="module")
def saved(session, identity, tmp_path_factory):
    path = tmp_path_factory.mktemp("identities") / "right.spid"
    session.save_identity(identity, path)
    return path


@pytest.fixture(scope="module")
def tensors(saved):
    return load_file(saved)


def facts_of(identity, **changes):
    known = {"format": FORMAT, "preset": identity.preset, "fingerprint": identity.fingerprint}
    return known | changes


def change(prefix, how):
    def changed(tensors):
        name = next(key for key in tensors if key.startswith(prefix))
        return tensors | {name: how(tensors[name])}

    return changed


def without(prefix):
    return lambda tensors: {n: t for n, t in tensors.items() if not n.startswith(prefix)}


def large(*shape, kind=torch.uint8):
    return lambda tensors: tensors | {"large": torch.zeros(shape, dtype=kind)}


def bright(tensors):
    frame = torch.tensor((200, 0, 0, 90), dtype=torch.uint8).view(1, 4, 1, 1)
    return tensors | {"large": frame.expand(1, 4, 200, 200).contiguous()}


def more_pictures(count, tokens):
    def changed(tensors):
        more = {name: tensors[name][:1].repeat(count, 1, 1, 1) for name in ("pixels", "mask")}
        return tensors | more | {"tokens": tensors["tokens"][:, :1].repeat(1, tokens, 1)}

    return changed


def without_rows(tensors):
    return {n: t[:, :0].contiguous() if "/" in n else t for n, t in tensors.items()}


MADE = ("tokens", "pooled", "pixels", "mask", "keys/", "values/")
DAMAGED = [
    *((change(name, lambda tensor: tensor[..., :-1].contiguous()), "damaged") for name in MADE),
    *((change(name, lambda tensor: tensor * torch.nan), "damaged") for name in MADE),
    *((without(name), "damaged") for name in MADE),
    (change("tokens", lambda tensor: tensor[:0].contiguous()), "damaged"),
    (change("pixels", torch.flatten), "damaged"),
    (change("keys/", torch.Tensor.half), "damaged"),
    (lambda tensors: tensors | {"more": torch.zeros(1)}, "damaged"),
    (more_pictures(MAX_REFERENCES + 1, 9), "damaged"),
    (more_pictures(2, 3), "damaged"),
    (without_rows, "damaged"),
    *((large(*shape), "large") for shape in ((), (0,), (1, 4, 513, 513), (1, 4, 128, 128))),
    *((large(*shape), "large") for shape in ((1, 4, 200, 201), (2, 4, 200, 200))),
    (large(1, 4, 200, 200), "large"),
    (bright, "large"),
    *((large(1, 4, 200, 200, kind=kind), "bytes") for kind in (torch.float32, torch.int8)),
]
FACTS = [
    ([], "identity"),
    (None, "identity"),
    ({"format": FORMAT}, "identity"),
    ({"format": []}, "identity"),
    ({"format": "swiftpie-identity/2", "preset": "", "fingerprint": ""}, "version"),
    ({"format": FORMAT, "preset": 3, "fingerprint": ""}, "text"),
    ({"format": FORMAT, "preset": "\x1b[31m", "fingerprint": ""}, "text"),
    ({"format": FORMAT, "preset": "mini", "fingerprint": "0" * 9999}, "text"),
]
NOTES = ["network", [["network"]], [[1, 2]], [["network", 2.0]], [["mask", 1.0]] * 2, {}]


def refused(session, path, tensors, facts, word="damaged", error=InputError):
    save_file(tensors, path, metadata={"swiftpie": json.dumps(facts)})
    with pytest.raises(error, match=word):
        session.load_identity(path)


@pytest.mark.parametrize(("damage", "word"), DAMAGED)
def test_every_tensor_is_there_and_what_the_networks_make(
    session, identity, tensors, tmp_path, damage, word
):
    refused(session, tmp_path / "x.spid", damage(tensors), facts_of(identity), word)


@pytest.mark.parametrize(("facts", "word"), FACTS)
def test_facts_of_a_wrong_kind_are_refused(session, tensors, tmp_path, facts, word):
    refused(session, tmp_path / "x.spid", tensors, facts, word)


@pytest.mark.parametrize("notes", NOTES)
def test_damaged_notes_of_cutouts_are_refused(session, identity, tensors, tmp_path, notes):
    facts = facts_of(identity, cutouts=notes)
    refused(session, tmp_path / "x.spid", tensors, facts, "cut out")


def test_identities_of_other_weights_are_refused(session, identity, tensors, tmp_path):
    facts = facts_of(identity, fingerprint="0" * 64)
    refused(session, tmp_path / "x.spid", tensors, facts, "weights", error=WeightsError)


@pytest.mark.parametrize("content", [b"", b"no", b"\x80\x04\x95pickle", b"\xff" * 64])
def test_what_is_no_identity_file_is_refused(session, tmp_path, content):
    (tmp_path / "x.spid").write_bytes(content)
    with pytest.raises(InputError, match="identity"):
        session.load_identity(tmp_path / "x.spid")


def test_a_small_file_is_a_tenth_and_computes_the_rest_once_equal_to_the_bit(
    session, identity, saved, tmp_path
):
    small = identity_bytes(identity, is_small=True)
    assert len(small) < saved.stat().st_size / 8
    path = tmp_path / "x.spid"
    path.write_bytes(small)
    assert is_safetensors(path), "or commands and jobs would take it for a picture"
    assert read_identity_header(path).shapes["pixels"] == tuple(identity.pixels.shape)
    again, misses = session.load_identity(path), session.cache.misses
    assert identity_bytes(again) == saved.read_bytes()
    assert session.load_identity(path) is again
    assert session.cache.misses == misses
    for damaged in (small[:-9], small[:40] + b"x" + small[41:], SMALL, SMALL + bytes(9)):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            session.load_identity(path)
    bomb = SMALL + zlib.compress(bytes(MOST_SMALL_BYTES + 1), 9)
    with pytest.raises(InputError, match="too large"):
        read_identity(bomb, "bomb")
    for kept in (replace(identity, is_face=True), replace(identity, tuned="3 steps")):
        assert identity_bytes(kept, is_small=True) == identity_bytes(kept)


def test_places_without_a_file_are_refused_and_files_are_kept(session, identity, saved, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not is_safetensors(tmp_path / "pipe")
    for name in ("pipe", "nothing"):
        with pytest.raises(InputError, match="file"):
            read_identity_header(tmp_path / name)
    with pytest.raises(InputError, match="exists"):
        session.save_identity(identity, saved, force=False)
    session.save_identity(identity, saved)


@pytest.mark.parametrize(
    ("name", "how", "word"),
    [
        ("pixels", lambda tensor: tensor * 1e4, "pixels"),
        ("pixels", lambda tensor: tensor - 0.5, "pixels"),
        ("mask", torch.neg, "mask"),
        ("mask", lambda tensor: tensor * 2, "mask"),
        ("mask", torch.zeros_like, "empty"),
    ],
)
def test_pictures_and_masks_have_values_of_such(
    session, identity, saved, tensors, tmp_path, name, how, word
):
    changed = tensors | {name: how(tensors[name])}
    refused(session, tmp_path / "x.spid", changed, facts_of(identity), word)
    loaded = session.load_identity(saved)
    with pytest.raises(InputError, match=word):
        session.prepare_identity(replace(loaded, **{name: changed[name]}), name="it")


def test_no_empty_picture_hides_among_several(session, sprite, tmp_path):
    several = session.encode_identity([sprite] * 2)
    one_empty = several.mask * torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    session.save_identity(replace(several, mask=one_empty), tmp_path / "x.spid")
    with pytest.raises(InputError, match="empty"):
        session.load_identity(tmp_path / "x.spid")


def test_an_identity_moves_with_all_its_tensors(identity):
    there = identity.to("meta")
    tensors = (there.tokens, there.pooled, there.pixels, there.mask)
    kept = (*tensors, *there.keys.values(), *there.values.values())
    assert {tensor.device.type for tensor in kept} == {"meta"}
    assert len(there.keys) == len(identity.keys) > 0
