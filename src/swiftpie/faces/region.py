"""Where the face of a photograph is, as the region that an edit may change."""

from typing import NamedTuple

from PIL import Image, ImageDraw

from swiftpie.errors import ImageError
from swiftpie.faces import FaceBox, FaceEncoder
from swiftpie.faces.choose import find_faces, main_face

# Detectors' boxes end at brow, chin and cheeks. The ellipse has to hold the whole box, and the rest
# of the head, whose outline belongs to a person.
WIDER, HIGHER = 1.45, 1.7
RISE = 0.1  # of the box's height, by which the middle moves up, as there is more head above


class FaceRegion(NamedTuple):
    """The place of a face in a photograph."""

    mask: Image.Image  # mode L, as large as the photograph; 255 is the face
    notes: tuple[str, ...]  # what the user should know


def face_region(
    encoder: FaceEncoder, image: Image.Image, *, name: str = "the picture to edit"
) -> FaceRegion:
    """Return the place of the largest face; of several large ones, that of the most central.

    Raises:
        ImageError: The picture shows no face.
    """
    found = find_faces(encoder, image)
    if not found.faces:
        raise ImageError(
            f"No face was found in {name} ({image.width}x{image.height} px), so nothing says where "
            "the new face goes. Mark the place by a mask or a box, or name it by a keyword."
        )
    index = main_face(found.faces, found.image.size)
    mask = Image.new("L", found.image.size)
    ImageDraw.Draw(mask).ellipse(_around(found.faces[index].box), fill=255)
    notes: tuple[str, ...] = ()
    if (count := len(found.faces)) > 1:
        notes = (
            f"{count} faces were found in {name}, and number {index + 1} from the left changes, "
            "the largest or most central. Mark another by a mask or a box.",
        )
    return FaceRegion(mask.rotate(-found.turn, expand=True), notes)


def _around(box: FaceBox) -> tuple[float, float, float, float]:
    middle_x = (box.left + box.right) / 2
    middle_y = (box.top + box.bottom) / 2 - RISE * box.height
    across, down = WIDER * box.width / 2, HIGHER * box.height / 2
    return (middle_x - across, middle_y - down, middle_x + across, middle_y + down)
