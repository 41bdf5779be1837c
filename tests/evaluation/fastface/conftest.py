import pytest
from PIL import Image, ImageOps

from tests.faces.tiny_faces import photo
from tests.faces.tiny_world import make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Tiny models, two photographs of a person, one of nobody, and three prompts."""
    root = make_world(tmp_path_factory.mktemp("fastface"))
    people = root / "people"
    people.mkdir()
    photo().save(people / "b.png")
    ImageOps.autocontrast(photo()).save(people / "a.jpg")
    Image.new("RGB", (64, 64), "green").save(people / "c.png")
    (people / "notes.txt").write_text("not a picture")
    (root / "prompts.txt").write_text("A person reading\n\nOil painting; a person at sea\n")
    return root
