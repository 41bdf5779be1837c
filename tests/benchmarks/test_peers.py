from benchmarks._machine import Sample
from benchmarks.peers import ratios_of, table

TIMES = {
    "diffusers": {"edit": 8.0},
    "peer/full": {"edit": 6.0},
    "peer/tiny": {"edit": 4.0},
    "swiftpie-x/tiny": {"edit": 2.0, "second_edit": 1.0},
}


def test_peers_of_the_same_decoder_are_compared_and_told():
    found = {
        name: [{operation: Sample(1000 * s) for operation, s in times.items()}]
        for name, times in TIMES.items()
    }
    ratios = ratios_of(found)
    told = {(made.slower, made.operation): made.times.median for made in ratios}
    assert list(told.values()) == [4, 8, 2, 4]
    assert {slower for slower, _ in told} == {"diffusers", "peer/tiny"}
    assert any("| 2.00 | peer/tiny | 4.00 | 2.00" in line for line in table(found, ratios))
