from benchmarks._beside import SETTINGS, best_of
from benchmarks._timing import Sample, row
from swiftpie.apps.cli.main import DECIDED, WAITING


def rows_of(times):
    """Rows of one round for each setting and state."""
    return [
        row(f"{name}, {state}", "personalize", [found], first=found)
        for name, both in times.items()
        for state, ms in zip(("idle", "loaded"), both, strict=True)
        for found in [{"personalize": Sample(ms)}]
    ]


def test_the_best_setting_is_good_alone_and_beside_load():
    times = {one.name: (60.0, 500.0) for one in SETTINGS}
    times |= {"GOMP_SPINCOUNT=3000": (51.0, 148.0), "GOMP_SPINCOUNT=300": (68.0, 98.0)}
    times |= {"openvino": (19.0, 44.0)}  # is no setting of PyTorch
    assert best_of(rows_of(times)) == "GOMP_SPINCOUNT=300"
    assert WAITING.keys() <= {*DECIDED}
    assert f"GOMP_SPINCOUNT={WAITING['GOMP_SPINCOUNT']}" in {one.name for one in SETTINGS}
