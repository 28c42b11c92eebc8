"""The ground the vocabulary stands on: frozen values, and the ways in which something can be missing."""

from enum import StrEnum

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An immutable value that compares by content and travels as JSON."""


class Reason(StrEnum):
    """Why a thing is not here. The four are never folded into one another, nor into "clean"."""

    ABSENT = "absent"
    """Looked, and it does not exist (a kernel thread has no executable)."""
    REFUSED = "refused"
    """The kernel or the site denied the look (EPERM, EACCES)."""
    FAILED = "failed"
    """The look was allowed and went wrong (I/O error, torn data, time-out)."""
    UNSUPPORTED = "unsupported"
    """This kernel or build has no such interface."""


class Unavailable(Value, frozen=True, kw_only=True, tag="unavailable", tag_field="is"):
    """Stands in a field's place when its value could not be had."""

    reason: Reason
    detail: str = ""
    """One line for a person: what was tried and what answered."""


class Viewpoint(StrEnum):
    """From where a host was looked at."""

    HOST = "host"
    AGENT = "agent"
    HYPERVISOR = "hypervisor"
    DRAKVUF = "drakvuf"


class Verdict(StrEnum):
    """What a thing is taken for. UNKNOWN means it could not be judged, and is never read as benign."""

    BENIGN = "benign"
    UNKNOWN = "unknown"
    SUSPICIOUS = "suspicious"
    MALICIOUS = "malicious"

    @property
    def rank(self) -> int:
        """0 for benign up to 3 for malicious; unknown stands between benign and suspicious."""
        return list(Verdict).index(self)
