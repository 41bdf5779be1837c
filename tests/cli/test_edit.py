import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageCms

from swiftpie import InputError, Session
from swiftpie.cli.options import EditOutput
from swiftpie.cli.writing import FileDrawing, Target, carry_out, warn_of_losses
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.originals import read_original
from swiftpie.imageio.writing import PictureData, encode_image, read_metadata, save_image
from swiftpie.pipelines.settings import EditMode, EditSettings, Scales
from swiftpie.pipelines.tasks import EditRequest
from tests.fixtures.signer import SIGNER, make_signer
from tests.parity.edit import photograph
from tests.pipelines.tiny_editor import tiny_editor

PROMPT = "a dog on the sofa"


@pytest.fixture(scope="module")
def editor():
    return Session(tiny_editor())


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


def changed(job, **fields):
    return job._replace(request=replace(job.request, **fields))


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
    half = changed(job, image=load_image(picture), mask=(0.0, 0.0, 0.5, 1.0))
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
    refused = call(*command, tmp_path / "no.png", "--sign", before)
    assert (refused.exit_code, "cannot sign pictures" in refused.stderr) == (2, True)
    assert not (tmp_path / "no.png").exists()


def test_edits_are_numbered_and_repeat_by_their_seeds(call, picture, tmp_path):
    prompt, options = "a photo at night", ("--box", "0.2,0.2,0.8,0.9", "--variation", 0.8)
    places = ("-o", tmp_path / "out.png", "--save-region", tmp_path / "where.png")
    result = call("edit", picture, prompt, *places, "--seed", 7, "-n", 2, "--json", *options)
    assert result.exit_code == 0, result.output
    drawn = json.loads(result.stdout)["pictures"]
    assert [row["seed"] for row in drawn] == [7, 8]
    names = {f"{name}-{n}.png" for name in ("out", "where") for n in (1, 2)}
    assert {path.name for path in tmp_path.glob("*.png")} == {"before.png", *names}
    pictures = [np.asarray(load_image(row["path"])) for row in drawn]
    assert np.any(pictures[0] != pictures[1])
    again = ("-o", tmp_path / "again.png", "--seed", 8)
    assert call("edit", picture, prompt, *again, *options).exit_code == 0
    assert np.array_equal(np.asarray(load_image(tmp_path / "again.png")), pictures[1])
    stored = read_metadata(tmp_path / "again.png")
    assert (stored["variation"], stored["prompt"]) == ("0.8", prompt)


def test_edits_in_which_nothing_is_random_are_reported_to_be_the_same(call, picture, tmp_path):
    out = tmp_path / "out.png"
    dyed = ("edit", picture, "a red dog", "--box", "0.2,0.2,0.8,0.8", "-o", out)
    result = call(*dyed, "-n", 2)
    assert result.exit_code == 0
    assert "All 2 pictures are the same" in result.stderr
    first, second = (load_image(tmp_path / f"out-{number}.png") for number in (1, 2))
    assert first.tobytes() == second.tobytes()
    result = call(*dyed, "--seed", 2)
    assert result.exit_code == 0
    assert "warning: --seed has no effect" in result.stderr
