"""A guest owns every byte that is read: whatever it writes there, a look ends, and never with a traceback."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.sensors.hypervisor.kernel.bpf import _programs_in_use as bpf_programs_in_use
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record
from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.memory.paging import OutOfTimeError
from beat_bridge.sensors.hypervisor.symbols.profile import load_profile
from tests.beat_bridge.sensors.hypervisor.kernel.conftest import Watched
from tests.beat_bridge.sensors.hypervisor.kernel.fuzz import BUDGET_SECONDS, Corrupted, Run
from tests.lab.guest import RELEASES, plants
from tests.lab.guest.monitor import paused
from tests.lab.guest.saved import saved

RUNS = int(os.environ.get("DOORWATCH_FUZZ_RUNS", "300"))
"""Of each release."""
SEED = os.environ.get("DOORWATCH_FUZZ_SEED", "4")
HARD_SECONDS = 60 + 2 * RUNS
"""Many times what the runs take: a hang, not a slow machine."""


@pytest.mark.guest
@pytest.mark.parametrize("release", RELEASES)
def test_random_corruption_never_breaks_a_look(release: str) -> None:
    """Looks at a corrupted image all end in time, in an honest inventory or one clear line, and lose nothing unsaid."""
    with saved(release) as image:
        ended = subprocess.run(
            [sys.executable, "-m", Run.__module__, str(image.ram), str(image.kernel_image), SEED, str(RUNS)],
            capture_output=True,
            text=True,
            timeout=HARD_SECONDS,
            check=False,
        )
    whole, *lines = ended.stdout.splitlines()
    runs = [msgspec.json.decode(line, type=Run) for line in lines]
    assert ended.returncode == 0, f"it ended in run {len(runs)} of seed {SEED}: {ended.stderr[-2000:]}"
    assert len(runs) == RUNS
    assert json.loads(whole)["reads"] > 1000
    assert [run for run in runs if run.wrong or run.silent] == []
    assert max(run.seconds for run in runs) < BUDGET_SECONDS + 1
    assert sum(run.outcome == "gaps" for run in runs) > RUNS // 3


@pytest.mark.guest
def test_another_kernel_in_its_place_is_one_line(watched: Watched) -> None:
    """A guest whose kernel is not where it was gives a line that says so, and no inventory."""
    corrupted = Corrupted(watched.memory)
    introspection = Introspection(corrupted, watched.profile)
    corrupted.write(watched.profile.physical(watched.profile.address("linux_banner")), bytes(8))
    with pytest.raises(DoorwatchError, match="restarted"):
        introspection.look()


@pytest.mark.guest
def test_without_an_image_the_code_is_not_called_clean(watched: Watched) -> None:
    """A profile out of the guest's own RAM sees the same things, and says that code could not be compared."""
    alone = Introspection(watched.memory, load_profile(None, watched.memory)).look()
    whole = watched.look()
    assert {process.pid for process in whole.processes if process.seen_by} >= {1}
    assert {module.name for module in alone.modules} == {module.name for module in whole.modules}
    (coverage,) = (each for each in alone.coverage if each.sensor == "kernel_text")
    assert (coverage.status, coverage.reason) == (CoverageStatus.PARTIAL, Reason.UNSUPPORTED)
    assert "give its image" in coverage.detail


@pytest.mark.guest
def test_a_pass_that_takes_too_long_is_cut_short_and_says_so(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in a pass its time is spent, there is one line, or an inventory in which no later sensor is complete."""
    introspection = Introspection(watched.memory, watched.profile)
    introspection.look()
    deadline = view(introspection._prog).deadline
    asked = itertools.count()
    monkeypatch.setattr(deadline, "check", lambda: next(asked) and None)
    whole = introspection.look()
    reads = next(asked)
    cut = []
    for part in (0, 0.02, 0.1, 0.2, 0.4, 0.6, 0.8):
        left = iter(range(int(reads * part)))

        def check(left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise OutOfTimeError("the pass took longer than it may")

        monkeypatch.setattr(deadline, "check", check)
        try:
            seen = introspection.look()
        except OutOfTimeError:
            continue
        assert len(seen.processes) <= len(whole.processes)
        accounts = {each.sensor: each for each in seen.coverage}
        assert "longer than it may" in accounts["kernel_text"].detail
        assert accounts["kernel_text"].reason is Reason.FAILED
        cut.append(len(seen.gaps))
    assert len(cut) >= 3
    assert cut == sorted(cut, reverse=True)
    monkeypatch.undo()
    assert {each.sensor for each in introspection.look().gaps} <= {*(each.sensor for each in whole.gaps)}


@pytest.mark.guest
def test_a_program_that_says_it_is_not_in_use_is_a_gap(watched: Watched) -> None:
    """Cut from its table, with a forged count of nobody: no program of that id is shown, and so not all were seen."""
    with plants.program(watched.guest, "network_program") as planted, paused(watched.guest.monitor_path):
        prog, corrupted = watched.prog, Corrupted(watched.memory)
        view(prog).again()
        auxiliary = record(prog, "struct bpf_prog", "aux")
        programs = {number: auxiliary.read(program)[0] for number, program in bpf_programs_in_use(prog)}
        translate = view(prog).space.translate
        counter = programs[planted.facts["program"]] + offset_of(prog, "struct bpf_prog_aux", "refcnt.counter")
        table = symbol(prog, "prog_idr") + offset_of(prog, "struct idr", "idr_rt.xa_head")
        corrupted.write(translate(counter), bytes(8))
        corrupted.write(translate(table), bytes(8))
        seen = Introspection(corrupted, watched.profile).look()
    (coverage,) = (each for each in seen.coverage if each.sensor == "bpf_objects")
    assert planted.facts["program"] not in {each.id for each in seen.bpf_programs}
    assert coverage.status is CoverageStatus.PARTIAL
    assert "nobody refers to it" in coverage.detail
