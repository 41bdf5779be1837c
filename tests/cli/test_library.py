import json

from swiftpie.library import CREDIT, subject_library


def test_the_library_is_listed_and_searched(call):
    everyone = call("library")
    assert everyone.stdout.splitlines() == list(subject_library().names())
    assert CREDIT in everyone.stderr
    found = json.loads(call("library", "kitten", "--json").stdout)
    assert [entry["name"] for entry in found] == ["cat", "cat face"]
    assert "kitten" in found[0]["words"]
    cars = call("library", "car").stdout.splitlines()[1:]
    assert cars[0].startswith("automobile  ")
    table = call("library", "kitten").stdout.splitlines()
    rows = [line for line in table[1:] if not line.startswith(" ")]  # others go on
    assert [line.split("  ")[0] for line in rows] == ["cat", "cat face"]
    unknown = call("library", "xqzw")
    assert unknown.exit_code == 2
    assert "has no subject called 'xqzw'" in unknown.stderr


def test_scenes_are_listed_by_name(call):
    every = call("library", "--scenes")
    assert "castle" in every.stdout.splitlines()
    one = call("library", "castle", "--scenes", "--json")
    (castle,) = json.loads(one.stdout)
    assert castle["name"] == "castle"
    assert castle["pictures"] == len(castle["credits"]) == 2
    missing = call("library", "castel", "--scenes")
    assert missing.exit_code == 2
    assert "castle" in missing.stderr
