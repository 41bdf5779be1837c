"""One subject, one sentence, one picture: the shortest use of SwiftPie."""

from importlib.resources import as_file, files

import swiftpie

with as_file(files("swiftpie") / "assets/samples/1f439.webp") as hamster:  # use your own picture
    session = swiftpie.load("mini")
    identity = session.encode_identity(hamster)

result = session.personalize(identity, "a photo of a hamster on a beach", seed=1)
result.images[0].save("hamster.png")
result.subject_masks[0].save("hamster-mask.png")  # where the model drew the subject
print(f"hamster.png, {result.timings_ms['denoise']:.0f} ms in the denoising step")
