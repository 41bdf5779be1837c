import pytest
import torch

from swiftpie.backbones import machine
from swiftpie.backbones.machine import free_main_memory, free_memory

MIB = 1 << 20


@pytest.fixture
def limits(tmp_path, monkeypatch):
    for name in ("GROUP", "PROCESS"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(machine, name, tmp_path / name)
    return tmp_path


def test_a_container_leaves_less(limits):
    for name, text in {"max": 9 * MIB, "current": 7 * MIB, "stat": f"inactive_file {MIB}"}.items():
        (limits / "GROUP" / f"memory.{name}").write_text(f"{text}\n")
    assert free_main_memory() == 3 * MIB
    (limits / "GROUP" / "memory.max").write_text("max\n")
    assert free_main_memory() > 9 * MIB


def test_a_limit_on_the_data_of_a_process_leaves_less(limits):
    (limits / "PROCESS" / "limits").write_text(f"Max data size  {5 * MIB}  unlimited  bytes\n")
    (limits / "PROCESS" / "status").write_text("VmSize: 9000 kB\nVmData: 1024 kB\n")
    assert free_main_memory() == 4 * MIB
    (limits / "PROCESS" / "limits").write_text("Max data size  unlimited  unlimited  bytes\n")
    assert free_main_memory() > 5 * MIB


def test_an_accelerator_without_an_index_is_the_current_one(monkeypatch):
    said = {
        "mem_get_info": (8 * MIB, 16 * MIB),
        "get_per_process_memory_fraction": 0.5,
        "memory_reserved": 4 * MIB,
        "memory_allocated": 3 * MIB,
    }
    for name, value in said.items():
        monkeypatch.setattr(torch.cuda, name, {1: value}.__getitem__)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert free_memory(torch.device("cuda")) == free_memory(torch.device("cuda", 1)) == 5 * MIB


@pytest.mark.gpu
def test_what_other_programs_and_limits_leave_of_an_accelerator_counts():
    device = torch.device("cuda")
    before = free_memory(device)
    held = torch.empty(1 << 28, dtype=torch.uint8, device=device)
    assert before - free_memory(device) >= len(held)
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        assert free_memory(device) < 0.01 * torch.cuda.mem_get_info(device)[1]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
