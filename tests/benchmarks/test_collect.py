from PIL import Image

from benchmarks.collect import HORIZON, ZENITH, find, largest_jpeg, under_sky


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
