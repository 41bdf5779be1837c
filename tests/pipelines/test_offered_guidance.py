"""A distribution of one file adds a guidance that every surface offers by its name."""

import os
import sys

from tests.processes import install, printed, printed_by

HOUSE = """
from swiftpie.guidance import ClassifierFree

def METHOD(num_steps):
    return {"guidance": ClassifierFree((2.0,) * num_steps)}

def BROKEN(num_steps):
    return ClassifierFree((2.0,) * num_steps)
"""
TRIAL = """
from swiftpie import ConfigError, IdentityGuidance, InputError
from swiftpie.guidance import ClassifierFree
from swiftpie.pipelines.draw import draw
from tests.contracts.test_techniques import drawing
from tests.golden.networks import random_networks

assert [method.value for method in IdentityGuidance][-1] == "house", list(IdentityGuidance)
session = random_networks("sd15")
steps = len(session.components.schedule.steps)
def pixels(**options):
    return session.draw(drawing(session, **options)).images[0].tobytes()

named = pixels(identity_guidance=IdentityGuidance("house"))
assert named == pixels(guidance=ClassifierFree((2.0,) * steps))
assert named != pixels()
try:
    pixels(identity_guidance=IdentityGuidance("house"), guidance=ClassifierFree((2.0,) * steps))
except InputError as error:
    assert "house" in str(error)
else:
    raise AssertionError("both were taken")
try:
    pixels(identity_guidance=IdentityGuidance("broken"))
except ConfigError as error:
    assert "'broken'" in str(error) and "a mapping" in str(error)
else:
    raise AssertionError("what is no mapping was taken")
"""


def offer(folder):
    """Write a distribution that offers two guidances, one of them broken."""
    (folder / "house.py").write_text(HOUSE)
    points = ("broken = house:BROKEN", "house = house:METHOD")
    install(folder, "house", "[swiftpie.guidance]", *points)


def test_one_file_adds_a_guidance_to_python_and_the_command_line(tmp_path):
    offer(tmp_path)
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": paths, "COLUMNS": "200"}
    printed_by(TRIAL, env=environment, timeout=120)
    help_ = (sys.executable, "-m", "swiftpie", "personalize", "--help")
    assert "|house" in printed(*help_, env=environment, timeout=120)
