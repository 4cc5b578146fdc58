"""Many images at a time, for a GPU, by code that knows one image at a time."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from cleave.io.device import device
from cleave.io.gpus import visible
from cleave.stages.job import Job

# Images whose eigenproblems are solved together: float64 matrices of 1.7 GB at 3,600 patches, and
# as many photos, graphs and feature maps in memory (of 12 megapixels: 0.6 GB). More would not be
# quicker, for the matrices outgrow every cache of a GPU at two already.
TOGETHER = 16

Item, Result = TypeVar("Item"), TypeVar("Result")
Ask = Callable[[Any], Any]


def given_gpu(job: Job) -> bool:
    """Whether the scheduler gave this job a GPU that is there; torch is imported only if so."""
    return job.gpus > 0 and bool(visible()) and device() != "cpu"


def windows(items: Iterable[Item], count: int) -> Iterator[list[Item]]:
    """Lists of up to `count`, in order; an error comes after a list of what came before it."""
    window: list[Item] = []
    try:
        for item in items:
            window.append(item)
            if len(window) == count:
                yield window
                window = []
    except Exception:
        if window:
            yield window
        raise
    if window:
        yield window


def alike(
    items: Sequence[Item],
    kind: Callable[[Item], Hashable],
    answer: Callable[[list[Item]], Iterable[Result]],
) -> list[Result]:
    """The answers in the order of the items, those of one kind found together."""
    places = defaultdict(list)
    for place, item in enumerate(items):
        places[kind(item)].append(place)
    found: dict[int, Result] = {}
    for group in places.values():
        found |= zip(group, answer([items[place] for place in group]), strict=True)
    return [found[place] for place in range(len(items))]


def in_lockstep(
    function: Callable[[Ask, Item], Result],
    items: Sequence[Item],
    answer: Callable[[list[Any]], Sequence[Any]],
) -> Iterator[Result]:
    """What `function(ask, item)` returns for each item, the questions of all answered together.

    A call goes on until it asks; then the next one does. When every call waits or has ended, what
    they asked is answered at once, in the order of the items. Each call has a thread of its own,
    but no two ever run side by side: the order of all that happens is the same each time, and
    nothing needs a lock.

    Yields:
        Results in the order of the items; an error of a call comes where its result would have.
    """
    calls = [_Call(function, item) for item in items]
    try:
        asking = [(call, question) for call in calls if (question := call.start()) is not _ENDED]
        while asking:
            answers = answer([question for _, question in asking])
            asking = [
                (call, question)
                for (call, _), found in zip(asking, answers, strict=True)
                if (question := call.resume(found)) is not _ENDED
            ]
        for call in calls:
            yield call.result()
    finally:
        for call in calls:
            call.abandon()


_ENDED: Any = object()


class _Abandoned(BaseException):
    """Unwinds a call that nobody answers any more."""


class _Call(Generic[Item, Result]):
    """One call of a function in a thread, which stands still while it is not resumed."""

    def __init__(self, function: Callable[[Ask, Item], Result], item: Item):
        self._function, self._item = function, item
        self._questions: SimpleQueue[Any] = SimpleQueue()
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._outcome: Callable[[], Result]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Any:
        """Runs until the first question; that, or _ENDED."""
        self._thread.start()
        return self._questions.get()

    def resume(self, answer: Any) -> Any:
        """Runs on with the answer until the next question; that, or _ENDED."""
        self._answers.put(answer)
        return self._questions.get()

    def result(self) -> Result:
        """What the call returned; raises what it raised."""
        return self._outcome()

    def abandon(self) -> None:
        """Lets the call end at its question, if it has not."""
        self._answers.put(_ENDED)

    def _run(self) -> None:
        try:
            found = self._function(self._ask, self._item)
            self._outcome = lambda: found
        except BaseException as error:
            self._outcome = _raiser(error)
        self._questions.put(_ENDED)

    def _ask(self, question: Any) -> Any:
        self._questions.put(question)
        answer = self._answers.get()
        if answer is _ENDED:
            raise _Abandoned
        return answer


def _raiser(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail
