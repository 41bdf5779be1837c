"""The two identity scales against each other, same noise everywhere: what does each branch add?"""

from importlib.resources import as_file, files

import swiftpie

SCALES = (0.0, 0.5, 1.0, 1.5)
PROMPT = "a photo of a sauropod in a flower meadow"

session = swiftpie.load("mini")
with as_file(files("swiftpie") / "assets/samples/1f995.webp") as sauropod:
    identity = session.encode_identity(sauropod)

rows = []
for detail_scale in SCALES:  # down
    row = []
    for identity_scale in SCALES:  # across
        scales = swiftpie.Scales(identity_scale=identity_scale, detail_scale=detail_scale)
        result = session.personalize(identity, PROMPT, seed=7, scales=scales)
        row.append(result.images[0])
    rows.append(row)
captions = [f"identity {scale}" for scale in SCALES]
swiftpie.contact_sheet(rows, cell_px=128, captions=captions).save("scales.png")
print(f"scales.png; detail grows from {SCALES[0]} at the top to {SCALES[-1]} at the bottom")
