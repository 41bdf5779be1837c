"""Encode a subject once, keep it as a file and use it again without its pictures."""

from importlib.resources import as_file, files

import swiftpie

session = swiftpie.load("mini")
with as_file(files("swiftpie") / "assets/samples/1f980.webp") as crab:
    session.save_identity(session.encode_identity(crab), "crab.spid")

identity = session.load_identity("crab.spid")
for seed, prompt in enumerate(("a crab under water", "a crab on a wooden table")):
    name = f"crab-{seed}.png"
    session.personalize(identity, prompt, seed=seed).save(name)
    print(name)
