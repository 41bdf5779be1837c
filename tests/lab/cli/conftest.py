"""What the commands of the lab share with those of the library, and a pack to train with."""

import itertools
import json
import shutil

import pytest

from swiftpie_lab.data.subjects import INDEX_NAME, is_held_out
from tests.cli.conftest import call, one_thread, photo, samples

__all__ = ["call", "one_thread", "photo", "samples", "training_pack"]


@pytest.fixture(scope="session")
def training_pack(samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs") / "pack"
    shutil.copytree(samples, folder)
    text = (folder / INDEX_NAME).read_text()
    for picture in sorted(folder.glob("*.webp"))[::2]:
        code = picture.stem
        if is_held_out(code):
            others = (f"{code}-{number}" for number in itertools.count())
            other = next(other_code for other_code in others if not is_held_out(other_code))
            picture.rename(folder / f"{other}.webp")
            text = text.replace(json.dumps(code), json.dumps(other))
    (folder / INDEX_NAME).write_text(text)
    return folder
