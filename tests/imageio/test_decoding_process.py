from swiftpie.imageio.decoding_process import MAX_MIB
from tests.processes import printed_by


def test_memory_and_time_have_bounds():
    # In this process the limits would stay, so they are looked at in the one that has them.
    probe = (
        "import resource, sys; from swiftpie.imageio import decoding_process as d; "
        "d._limit_memory(); d._limit_time(); print(resource.getrlimit(resource.RLIMIT_DATA)[0], "
        "resource.getrlimit(resource.RLIMIT_CPU)[0])"
    )
    memory, seconds = map(int, printed_by(probe).split())
    assert memory == MAX_MIB << 20
    assert seconds <= 10


def test_the_process_loads_no_tensor_library():
    probe = "import sys, swiftpie.imageio.decoding_process; print('torch' in sys.modules)"
    assert printed_by(probe) == "False\n"
