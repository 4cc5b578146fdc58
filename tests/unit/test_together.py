"""Calls that go on in turn, and whose questions are answered together."""

import threading
import time

import pytest

from cleave.stages.together import in_lockstep, windows


def asking(ask, item):
    """Asks `item` times, and returns the answers."""
    return [ask((item, k)) for k in range(item)]


def test_questions_of_all_are_answered_together():
    rounds = []

    def answer(questions):
        rounds.append(questions)
        return [100 * item + k for item, k in questions]

    found = list(in_lockstep(asking, [2, 0, 3, 1], answer))
    assert found == [[200, 201], [], [300, 301, 302], [100]]
    assert rounds == [[(2, 0), (3, 0), (1, 0)], [(2, 1), (3, 1)], [(3, 2)]]


def test_no_two_calls_run_side_by_side():
    running, most = [], []

    def call(ask, item):
        for _ in range(3):
            running.append(item)
            most.append(len(running))
            time.sleep(0.001)
            running.remove(item)
            ask(item)
        return item

    assert list(in_lockstep(call, range(6), lambda questions: questions)) == list(range(6))
    assert max(most) == 1


def test_an_error_comes_where_its_result_would_have():
    def call(ask, item):
        ask(item)
        if item == 2:
            raise KeyError(item)
        return item

    found = in_lockstep(call, range(4), lambda questions: questions)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(KeyError, match="2"):
        next(found)


def test_threads_end_when_nobody_answers():
    before, unwound = threading.active_count(), []

    def call(ask, item):
        try:
            ask(item)
        finally:
            unwound.append(item)

    def refuse(questions):
        raise MemoryError("of the device")

    with pytest.raises(MemoryError):
        list(in_lockstep(call, range(3), refuse))
    for _ in range(500):
        if threading.active_count() == before:
            break
        time.sleep(0.01)
    assert threading.active_count() == before
    assert sorted(unwound) == [0, 1, 2]


def test_nothing_is_started_for_nothing():
    assert list(in_lockstep(asking, [], None)) == []


@pytest.mark.parametrize(("count", "expected"), [(3, [3, 3, 1]), (7, [7]), (9, [7]), (1, [1] * 7)])
def test_windows_hold_all_in_order(count, expected):
    found = list(windows(iter(range(7)), count))
    assert [len(window) for window in found] == expected
    assert [item for window in found for item in window] == list(range(7))


def test_an_error_comes_after_the_window_before_it():
    def items():
        yield from "abcd"
        raise KeyError("e")

    found = windows(items(), 3)
    assert [next(found), next(found)] == [["a", "b", "c"], ["d"]]
    with pytest.raises(KeyError):
        next(found)
