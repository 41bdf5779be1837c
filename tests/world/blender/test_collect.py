import io

from PIL import Image

from swiftpie.scenes import PHOTOGRAPH_PX
from swiftpie_world.blender.collect import HORIZON, ZENITH, cover_of, find, largest_jpeg, under_sky


def test_photographs_are_found_by_name_in_whichever_folder(tmp_path):
    wide = "usr/share/wallpapers/Path/contents/images/2560x1600.jpg"
    for name in (
        "mate-backgrounds_1.26_all/usr/share/nature/Dune.jpg",
        "mate-backgrounds_1.26_all/usr/share/abstract/Flow.jpg",
        f"plasma-workspace-wallpapers_5_all/{wide}",
        f"plasma-workspace-wallpapers_5_all/{wide.replace('2560x1600', '720x1440')}",
        f"plasma-workspace-wallpapers_5_all/{wide.replace('Path', 'Flow')}",
        "skimage/data/coffee.png",
        "skimage/data/README.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = {(package, name) for package, name, _ in find(tmp_path)}
    assert found == {("mate", "Dune"), ("plasma", "Path"), ("skimage", "coffee")}


def test_the_largest_picture_of_a_file_is_taken(tmp_path):
    paths = [tmp_path / name for name in ("small.jpg", "large.jpg")]
    for side, path in zip((16, 48), paths, strict=True):
        Image.new("RGB", (side, side), "red").save(path)
    both = tmp_path / "both.edj"
    both.write_bytes(b"head" + b"between".join(path.read_bytes() for path in paths))
    assert largest_jpeg(both).size == (48, 48)


def test_a_sky_shows_only_where_a_panorama_has_none(tmp_path):
    picture = Image.new("RGBA", (4, 8))
    picture.paste((10, 20, 30, 255), (0, 4, 4, 8))
    picture.save(tmp_path / "panorama.png")
    seen = under_sky(tmp_path / "panorama.png")
    assert seen.getpixel((0, 0)) == ZENITH
    assert seen.getpixel((3, 7)) == (10, 20, 30)
    assert all(a < b < c for a, b, c in zip(ZENITH, seen.getpixel((1, 3)), HORIZON, strict=True))


def test_a_light_blade_in_a_photograph_is_taken_to_stand_in_front(tmp_path):
    picture, file = Image.new("L", PHOTOGRAPH_PX, 60), io.BytesIO()
    picture.paste(160, (380, 480, 384, 520))
    picture.save(file, "WEBP", lossless=True)
    facts = {"ground": [[0, 0.5], [1, 0.95]], "metre": [[0.5, 0.2], [1.0, 0.4]]}
    facts["made_from"] = {"package": "viser"}
    assert cover_of(tmp_path, facts, file.getvalue()) is None
    cover = Image.open(io.BytesIO(cover_of(tmp_path, {**facts, "cover_m": 0.05}, file.getvalue())))
    blade, beside = (cover.convert("L").getpixel((x, 500)) for x in (382, 395))
    assert 0.05 * 0.3 * 576 < blade < 0.05 * 0.4 * 576
    assert beside < blade / 2
    assert cover.convert("L").getpixel((382, 200)) == 0
