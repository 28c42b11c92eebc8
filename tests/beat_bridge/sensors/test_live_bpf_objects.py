"""eBPF objects of this kernel: what was loaded is what the sensor tells."""

import os

import pytest

from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.sensors.host import bpf_objects
from beat_bridge.sensors.host.bpf_objects import look_at_bpf_objects
from tests.lab.guest.planted import bpf

pytestmark = pytest.mark.live


def _load() -> tuple[int, int]:
    """A map and a program that uses it, or a skip where this kernel lets nobody load any."""
    try:
        kept = bpf.create_array("dw_live")
    except OSError as error:
        pytest.skip(f"BPF programs cannot be loaded here: {error}")
    try:
        return kept, bpf.load_constant("dw_live", bpf.PROG_TYPE_SOCKET_FILTER, 0, kept)
    except OSError as error:
        os.close(kept)
        pytest.skip(f"BPF programs cannot be loaded here: {error}")


def test_a_program_and_its_map_are_told() -> None:
    """Id, name, type, and the map a program uses; and both are gone from the next look once they are closed."""
    kept, program = _load()
    try:
        look = look_at_bpf_objects()
        number, map_number = bpf.object_id(program), bpf.object_id(kept)
    finally:
        os.close(program)
        os.close(kept)
    (found,) = (each for each in look.programs if each.id == number)
    assert (found.name, found.type, found.map_ids) == ("dw_live", "socket_filter", (map_number,))
    assert len(found.tag) == 16
    assert [(each.name, each.type) for each in look.maps if each.id == map_number] == [("dw_live", "array")]
    assert look.coverage.status is CoverageStatus.COMPLETE
    assert look.coverage.examined == len(look.programs) + len(look.maps) + len(look.links)


def test_a_refusal_is_no_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this kernel has no bpf(2) for us, that is said, and nothing is taken for listed."""
    monkeypatch.setattr(bpf_objects, "_number", -1)
    coverage = look_at_bpf_objects().coverage
    assert (coverage.status, coverage.reason, coverage.listed) == (CoverageStatus.NONE, Reason.UNSUPPORTED, False)


def test_without_rights_the_look_says_so() -> None:
    """A process without CAP_SYS_ADMIN is refused, and told what to do."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            coverage = look_at_bpf_objects().coverage
            os.write(write, f"{coverage.status.value} {coverage.reason} {coverage.detail}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        said = told.read()
    os.waitpid(child, 0)
    assert said.startswith("none refused")
    assert "CAP_SYS_ADMIN" in said
