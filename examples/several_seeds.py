"""A batch of seeds for two prompts on one contact sheet; a batch gives what single calls give."""

from importlib.resources import as_file, files

import swiftpie

NUM_SEEDS = 6
PROMPTS = ("a robot in a forest", "a huge robot at night")

with as_file(files("swiftpie") / "assets/samples/1f916.webp") as path:
    robot = swiftpie.load_image(path)

session = swiftpie.load("mini")
identity = session.encode_identity(robot)
rows = []
for prompt in PROMPTS:
    result = session.personalize(identity, prompt, seed=0, num_images=NUM_SEEDS)
    rows.append([robot, *result.images])
captions = ("subject", *(f"seed {seed}" for seed in range(NUM_SEEDS)))
swiftpie.contact_sheet(rows, cell_px=128, captions=captions).save("seeds.png")
print("seeds.png")
