"""End one process, and be sure that it was that one."""

import signal
import time

from responders.outcomes import ActionFailedError, Outcome
from responders.playbooks.model import StopProcess, StopSignal
from responders.targets import OpenedProcess


def stop_process(process: OpenedProcess, step: StopProcess) -> Outcome:
    """Signal a confirmed process through its pidfd and wait for its end, which the kernel tells through the same.

    Raises:
        ActionFailedError: Not allowed, or it was still there after the grace time.
    """
    signals = [signal.SIGKILL] if step.signal is StopSignal.KILL else [signal.SIGTERM, signal.SIGKILL]
    began = time.monotonic()
    for number in signals:
        try:
            process.send_signal(number)
        except ProcessLookupError:
            pass  # it ended by itself since it was confirmed: the pidfd says so below
        except PermissionError as error:
            raise ActionFailedError(
                f"process {process.pid} may not be signalled: run the responder as root or as the process's user"
            ) from error
        if process.ended(step.grace_seconds):
            took = (time.monotonic() - began) * 1000
            return Outcome(
                explanation=f"process {process.pid} ({process.identity.name}) was ended with {number.name}",
                proof=f"the kernel reported the end of process {process.pid} through its pidfd {took:.1f} ms later",
            )
    raise ActionFailedError(
        f"process {process.pid} did not end within {step.grace_seconds:g} s of SIGKILL: "
        "it may hang in the kernel (state D)"
    )
