"""One subject, one sentence, one picture: the shortest use of SwiftPie."""

from importlib.resources import as_file, files

import swiftpie

with as_file(files("swiftpie") / "assets/photos/dog.jpg") as photo:  # use your own picture
    session = swiftpie.load("mini")
    identity = session.encode_identity(photo)

result = session.personalize(identity, "a dog on a beach", seed=1)
result.save("dog-on-a-beach.png")
result.subject_masks[0].save("dog-mask.png")  # where the model drew the subject
print(f"dog-on-a-beach.png, {result.timings_ms['denoise']:.0f} ms in the denoising step")
