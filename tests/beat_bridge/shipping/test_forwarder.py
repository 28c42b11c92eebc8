"""The forwarder against a hostile target: every document is taken once or is a dead letter, and the counts say so."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.shipping import Forwarder, ForwarderState, Letter, Limits, Pace, Refusal, Spool
from beat_bridge.shipping.letters import DeadLetters
from beat_bridge.shipping.target import (
    Answered,
    ItemFate,
    Lines,
    Malformed,
    NotNow,
    Outcome,
    TooLarge,
    Trouble,
    fate,
)
from tests.beat_bridge.shipping.samples import Store, document, identity

AT_ONCE = Pace(first=0.0001, longest=0.001, denied=0.001)


class Hostile(Store):
    """Answers with everything that can go wrong, and takes documents in between, with and without saying so."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)  # noqa: S311 - a repeatable test
        self._lock = threading.Lock()

    def send(self, lines: Sequence[Lines]) -> Outcome:
        """Anything."""
        with self._lock:
            chance = self._random.random()
            luck = [self._random.random() for _ in lines]
        if chance < 0.15:
            return NotNow(Trouble.RETRYING, "busy")
        if chance < 0.25:
            self.take([entry for entry in lines if identity(entry).endswith("good")])  # the answer was lost
            return NotNow(Trouble.RETRYING, "no answer")
        if chance < 0.3:
            return NotNow(Trouble.DENIED, "wrong password")
        if len(lines) > 3 and chance < 0.5:
            return TooLarge(Refusal(type="http_error", reason="too large", status=413))
        if any(identity(entry).endswith("poison") for entry in lines):
            return Malformed(Refusal(type="action_request_validation_exception", reason="poison", status=400))
        answers: list[Refusal | None] = []
        for entry, draw in zip(lines, luck, strict=True):
            if identity(entry).endswith("bad"):
                answers.append(Refusal(type="document_parsing_exception", reason="bad", status=400))
            elif draw < 0.2:
                answers.append(Refusal(type="es_rejected_execution_exception", reason="queue full", status=429))
            else:
                taken = self.take([entry])
                assert isinstance(taken, Answered)
                answers += taken.items
        return Answered(tuple(answers))


def letters_of(spool: Spool) -> list[str]:
    """Ids of the dead letters."""
    return [letter.id for letter in spool.letters.read() if isinstance(letter, Letter)]


def ship(spool: Spool, target: Store, **limits: int) -> None:
    """Run a forwarder until the spool is empty."""
    forwarder = Forwarder(spool, target, limits=Limits(**limits), pace=AT_ONCE)
    forwarder.run(threading.Event(), until_empty=True)


@given(
    kinds=st.lists(st.sampled_from(["good", "good", "good", "bad", "poison"]), max_size=40),
    seed=st.integers(0, 1000),
    size=st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_each_document_ends_in_one_place(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], seed: int, size: int
) -> None:
    """Good documents are in the target once, the others are dead letters once, whatever the target answers between."""
    names = [f"{number} {kind}" for number, kind in enumerate(kinds)]
    target = Hostile(seed)
    with Spool(tmp_path_factory.mktemp("spool"), segment_bytes=1000) as spool:
        for name in names:
            spool.append([document(name)])
        ship(spool, target, documents=size)
        status = spool.status()
        dead = letters_of(spool)
    good = {name for name in names if name.endswith("good")}
    assert set(target.taken) == good
    assert Counter(dead) == Counter(set(names) - good)
    assert (status.delivered, status.dead_letters, status.pending_documents) == (len(good), len(dead), 0)


class Answer(Store):
    """Gives the same answer until it is changed."""

    def __init__(self, outcome: Callable[[Sequence[Lines]], Outcome], understands: bool = True) -> None:
        super().__init__()
        self.outcome = outcome
        self.asked = threading.Event()
        self._understands = understands

    def send(self, lines: Sequence[Lines]) -> Outcome:
        """The answer."""
        self.asked.set()
        return self.outcome(lines)

    def understands(self) -> bool:
        """As told."""
        return self._understands


def test_a_denied_request_is_said_and_loses_nothing(tmp_path: Path) -> None:
    """With a wrong credential the state says so in one line and everything stays; mended, everything is delivered."""
    target = Answer(lambda _: NotNow(Trouble.DENIED, "the credential is refused (401)"))
    stop = threading.Event()
    with Spool(tmp_path) as spool:
        spool.append(document(number) for number in range(5))
        forwarder = Forwarder(spool, target, pace=AT_ONCE)
        thread = threading.Thread(target=forwarder.run, args=(stop,), kwargs={"until_empty": True})
        thread.start()
        while forwarder.status().state is not ForwarderState.DENIED:
            assert target.asked.wait(10)
            target.asked.clear()
        assert forwarder.status().detail == "the credential is refused (401)"
        assert spool.status().pending_documents == 5
        target.outcome = target.take
        thread.join(10)
        assert (spool.status().delivered, len(target.taken)) == (5, 5)
        assert forwarder.status().state is ForwarderState.STOPPED


def test_a_target_that_understands_nothing_makes_no_dead_letters(tmp_path: Path) -> None:
    """When also a well-formed request is refused, the documents are not to blame: they wait."""
    malformed = Malformed(Refusal(type="media_type_header_exception", reason="unknown media type", status=400))
    target = Answer(lambda _: malformed, understands=False)
    stop = threading.Event()
    with Spool(tmp_path) as spool:
        spool.append([document("a"), document("b")])
        forwarder = Forwarder(spool, target, pace=AT_ONCE)
        thread = threading.Thread(target=forwarder.run, args=(stop,))
        thread.start()
        while forwarder.status().state is not ForwarderState.DENIED:
            assert target.asked.wait(10)
            target.asked.clear()
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
        assert (spool.status().pending_documents, letters_of(spool)) == (2, [])


def test_stopping_does_not_wait_for_a_target_that_hangs(tmp_path: Path) -> None:
    """A request that never ends is left behind at the end of the grace time, and its documents stay in the spool."""
    release = threading.Event()

    def hang(lines: Sequence[Lines]) -> Outcome:
        release.wait(60)
        return Answered((None,) * len(lines))

    target = Answer(hang)
    stop = threading.Event()
    with Spool(tmp_path) as spool:
        spool.append([document("a")])
        thread = threading.Thread(target=Forwarder(spool, target).run, args=(stop,), kwargs={"grace": 0.05})
        thread.start()
        assert target.asked.wait(10)
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
        assert spool.status().pending_documents == 1
        release.set()
        assert spool.next_batch(1, 100)


def test_no_room_for_dead_letters_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk takes no letters, a refused document stays in the spool; with room again it becomes a letter."""
    refusal = Refusal(type="document_parsing_exception", reason="bad", status=400)
    target = Answer(lambda lines: Answered((refusal,) * len(lines)))
    real = DeadLetters.append
    failed = threading.Semaphore(0)

    def full(*_: object) -> int:
        failed.release()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DeadLetters, "append", full)
    with Spool(tmp_path) as spool:
        spool.append([document("bad")])
        forwarder = Forwarder(spool, target, pace=AT_ONCE)
        thread = threading.Thread(target=forwarder.run, args=(threading.Event(),), kwargs={"until_empty": True})
        thread.start()
        assert failed.acquire(timeout=10)
        assert failed.acquire(timeout=10)
        assert "No space left on device" in forwarder.status().detail
        assert spool.status().pending_documents == 1
        monkeypatch.setattr(DeadLetters, "append", real)
        thread.join(10)
        assert letters_of(spool) == ["bad"]
        assert spool.status().dead_letters == 1


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (201, "", ItemFate.DELIVERED),
        (409, "version_conflict_engine_exception", ItemFate.DELIVERED),
        (429, "es_rejected_execution_exception", ItemFate.RETRY),
        (500, "exception", ItemFate.RETRY),
        (503, "unavailable_shards_exception", ItemFate.RETRY),
        (403, "security_exception", ItemFate.DENIED),
        (403, "cluster_block_exception", ItemFate.DENIED),
        (404, "index_not_found_exception", ItemFate.DENIED),
        (400, "document_parsing_exception", ItemFate.DEAD),
        (404, "document_missing_exception", ItemFate.DEAD),
        (413, "too_long", ItemFate.DEAD),
    ],
)
def test_what_an_items_answer_means(status: int, error: str, expected: ItemFate) -> None:
    """Each answer of Elasticsearch to one document has one consequence."""
    assert fate(status, error) is expected


@given(st.integers(0, 10_000), st.sampled_from(list(Trouble)))
def test_waits_stay_within_their_bounds(attempt: int, trouble: Trouble) -> None:
    """However often something was tried, the next wait is positive and at most the longest."""
    assert 0 < Pace().delay(trouble, attempt) <= 30
