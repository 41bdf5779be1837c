import json
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageCms

from swiftpie import InputError
from swiftpie.cli.options import EditOutput
from swiftpie.cli.writing import FileDrawing, Target, carry_out, warn_of_losses
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.originals import composite, read_original
from swiftpie.imageio.writing import PictureData, encode_image, read_metadata, save_image
from swiftpie.pipelines.settings import EditMode, EditSettings, Scales
from swiftpie.pipelines.tasks import EditRequest
from tests.fixtures.signer import SIGNER, make_signer
from tests.parity.edit import photograph, values

PROMPT = "a dog on the sofa"
BOX = "0.2,0.3,0.6,0.8"
TURNED, MAKER = 0x0112, 0x010F
ROTATED = 6  # EXIF's number for a picture that lies on its side


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "before.png"
    photograph(160, 96).save(path)
    return path


@pytest.fixture
def job(tmp_path, picture):
    settings = EditSettings(mode=EditMode.RELEASED, scales=Scales(text_scale=1.5))
    return FileDrawing(
        EditRequest(
            image=load_image(picture),
            prompt=PROMPT,
            seed=3,
            source_prompt="a cat",
            settings=settings,
            finds_face=True,
        ),
        [Target(tmp_path / "out.png", tmp_path / "region.png")],
        photo=str(picture),
    )


OUTPUT = EditOutput("out.png")


def test_every_file_is_written_and_says_how_it_was_made(editor, job, picture):
    carry_out(editor, job, OUTPUT)
    (target,) = job.targets
    before, after, mask = (load_image(p) for p in (picture, target.picture, target.mask))
    assert before.size == after.size == mask.size
    stored = read_metadata(target.picture)
    assert (stored["prompt"], stored["source_prompt"], stored["seed"]) == (PROMPT, "a cat", "3")
    assert (stored["mode"], stored["preset"]) == ("released", "tiny-editor")
    assert (stored["text_scale"], stored["identity_scale"]) == ("1.5", "0.2")
    assert picture.name not in str(stored)
    with pytest.raises(InputError, match="exists"):
        carry_out(editor, job, OUTPUT)
    carry_out(editor, job, replace(OUTPUT, force=True))


def test_a_picture_keeps_what_its_file_holds_where_the_edit_changes_nothing(
    editor, job, picture, capsys
):
    clear = load_image(picture).convert("RGBA")
    clear.putalpha(200)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", 1
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    stored = PictureData(clear, profile, exif.tobytes())
    picture.write_bytes(encode_image(stored, ".png", metadata=None))
    asked = replace(job.request, image=load_image(picture), mask=(0.0, 0.0, 0.5, 1.0))
    half = job._replace(request=asked)
    (target,) = job.targets
    carry_out(editor, half, OUTPUT)
    after = read_original(target.picture).stored
    same = (np.asarray(after.pixels) == np.asarray(clear)).all(axis=-1)
    assert same[:, 81:].all()
    assert not same[:, :60].all()
    assert after.pixels.getchannel("A").getextrema() == (200, 200)
    assert after.profile == profile
    with Image.open(target.picture) as opened:
        assert (opened.getexif()[0x010F], 0x0112 in opened.getexif()) == ("a camera", False)
    assert read_metadata(target.picture)["prompt"] == PROMPT
    warn_of_losses(job, is_signed=False)
    assert capsys.readouterr().err == ""
    warn_of_losses(
        job._replace(targets=[Target(target.picture.with_suffix(".jpg"))]), is_signed=False
    )
    message = " ".join(capsys.readouterr().err.split())
    assert "does not keep its transparency." in message
    assert "JPEG compresses all pixels again" in message


def test_a_signed_edit_keeps_credentials_and_another_says_whose_it_loses(call, tmp_path):
    signer, before = make_signer(tmp_path / "signer.pem"), tmp_path / "before.png"
    save_image(Image.new("RGB", (96, 96), "tan"), before, metadata=None, sign=signer)
    command = ("edit", before, "at night", "-o")
    lost = call(*command, tmp_path / "lost.png")
    assert f"content credentials, signed by '{SIGNER}'" in " ".join(lost.stderr.split())
    kept = call(*command, tmp_path / "kept.png", "--sign", signer)
    assert "credentials" not in kept.stderr
    assert f"signed by '{SIGNER}'" in call("show", tmp_path / "kept.png").stdout
    call(*command, tmp_path / "no.png", "--sign", before, code=2, says="cannot sign pictures")
    assert not (tmp_path / "no.png").exists()


def test_edits_are_numbered_and_repeat_by_their_seeds(call, picture, tmp_path):
    prompt, options = "a photo at night", ("--box", "0.2,0.2,0.8,0.9", "--variation", 0.8)
    places = ("-o", tmp_path / "out.png", "--save-region", tmp_path / "where.png")
    result = call("edit", picture, prompt, *places, "--seed", 7, "-n", 2, "--json", *options)
    drawn = json.loads(result.stdout)["pictures"]
    assert [row["seed"] for row in drawn] == [7, 8]
    names = {f"{name}-{n}.png" for name in ("out", "where") for n in (1, 2)}
    assert {path.name for path in tmp_path.glob("*.png")} == {"before.png", *names}
    pictures = [np.asarray(load_image(row["path"])) for row in drawn]
    assert np.any(pictures[0] != pictures[1])
    again = ("-o", tmp_path / "again.png", "--seed", 8)
    call("edit", picture, prompt, *again, *options)
    assert np.array_equal(np.asarray(load_image(tmp_path / "again.png")), pictures[1])
    stored = read_metadata(tmp_path / "again.png")
    assert (stored["variation"], stored["prompt"]) == ("0.8", prompt)


def test_edits_in_which_nothing_is_random_are_reported_to_be_the_same(call, picture, tmp_path):
    out = tmp_path / "out.png"
    dyed = ("edit", picture, "a red dog", "--box", "0.2,0.2,0.8,0.8", "-o", out)
    assert "All 2 pictures are the same" in call(*dyed, "-n", 2).stderr
    first, second = (load_image(tmp_path / f"out-{number}.png") for number in (1, 2))
    assert first.tobytes() == second.tobytes()
    call(*dyed, "--seed", 2, says="warning: --seed has no effect")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    photograph(160, 120).save(path)
    return path


@pytest.mark.parametrize(
    "command", ["insert", "remove", pytest.param("replace", marks=pytest.mark.thorough)]
)
def test_a_photograph_is_changed_in_its_region_alone(call, hamster, photo, tmp_path, command):
    out, region = (tmp_path / f"{name}.png" for name in ("out", "region"))
    subject = [] if command == "remove" else [hamster]
    files = ["-o", out, "--save-region", region, "--json"]
    result = call(command, *subject, photo, "--box", BOX, "--seed", 3, *files)
    outside = values(load_image(region).convert("L")) == 0
    differs = (values(load_image(out)) != values(load_image(photo))).any(axis=-1)
    assert differs.any()
    assert not differs[outside].any()
    assert json.loads(result.stdout)["pictures"][0]["path"] == str(out)
    assert read_metadata(out)["seed"] == "3"


USUAL, SPOT = (90, 70), (0.3, 0.4, 0.6, 0.7)


def _on_its_side(path, size=USUAL):
    exif = Image.Exif()
    exif[TURNED], exif[MAKER] = ROTATED, "a camera"
    photograph(*size).save(path, exif=exif)


FORMATS = {
    "palette.gif": lambda path, size=USUAL: photograph(*size).quantize(16).save(path),
    "grey.png": lambda path, size=USUAL: photograph(*size).convert("L").save(path),
    "print.jpg": lambda path, size=USUAL: photograph(*size).convert("CMYK").save(path),
    "clear.png": lambda path, size=USUAL: photograph(*size).convert("RGBA").save(path),
    "side.jpg": _on_its_side,
    "thin.png": lambda path, size=(37, 211): photograph(*size).save(path),
}


def assert_kept(session, identity, path, place=SPOT, *, comes=True):
    result = (
        session.insert(path, identity, box=place, seed=1)
        if comes
        else session.remove(path, mask=place, seed=1)
    )
    original = read_original(path)
    stored = composite(original, result.edited, result.blend)
    before, after = (values(picture.pixels) for picture in (original.stored, stored))
    assert before.shape == after.shape
    assert before.shape[:2] == result.image.size[::-1]
    differs = (before != after).reshape(*before.shape[:2], -1).any(axis=-1)
    assert differs.any() or place is not SPOT  # of a few pixels, what comes may be what was there
    assert not differs[values(result.region) == 0].any()
    assert (stored.profile, stored.exif) == (original.stored.profile, original.stored.exif)


NUM_PICTURES = 10


@pytest.mark.thorough
def test_odd_sizes_in_every_format_keep_their_bits_outside(session, identity, tmp_path):
    draw = Random(0)
    for number in range(NUM_PICTURES):
        name = draw.choice(sorted(FORMATS))
        left, top = (draw.uniform(0, 0.6) for _ in range(2))
        place = (left, top, left + draw.uniform(0.1, 0.4), top + draw.uniform(0.1, 0.4))
        path, size = tmp_path / f"{number}-{name}", (draw.randint(8, 150), draw.randint(8, 150))
        FORMATS[name](path, size)
        assert_kept(session, identity, path, place, comes=draw.random() < 0.5)


@pytest.mark.thorough
def test_a_photograph_of_twelve_megapixels_keeps_its_bits_outside(session, identity, tmp_path):
    photograph(4000, 3000).save(tmp_path / "large.jpg")
    assert_kept(session, identity, tmp_path / "large.jpg")
