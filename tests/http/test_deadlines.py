"""Deadlines against a model that looks at everybody."""

from __future__ import annotations

from math import inf

from handy_ws.http.deadlines import Deadlines
from hypothesis import given
from hypothesis import strategies as st

LIMITS = {"short": 1.0, "long": 5.0}

steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "discard", "pass"]),
        st.sampled_from(["short", "long"]),
        st.integers(0, 5),
        st.floats(0, 3),
    )
)


@given(steps)
def test_everybody_is_due_in_time_and_nobody_before(
    plan: list[tuple[str, str, int, float]],
) -> None:
    deadlines: Deadlines[str, tuple[str, int]] = Deadlines(LIMITS)
    model: dict[tuple[str, int], float] = {}
    now = 0.0
    for step, kind, number, passed in plan:
        waiter = (kind, number)
        if step == "add":
            deadlines.add(kind, waiter, now)
            model[waiter] = now + LIMITS[kind]
        elif step == "discard":
            deadlines.discard(kind, waiter)
            model.pop(waiter, None)
        else:
            now += passed
            due = []
            for one in deadlines.expired(now):
                deadlines.discard(one[0], one)
                due.append(one)
            assert sorted(due) == sorted(w for w, at in model.items() if at <= now)
            for one in due:
                del model[one]
        assert deadlines.next() == min(model.values(), default=inf)
        for name in LIMITS:
            waiting = {w for w in model if w[0] == name}
            assert set(deadlines.waiting(name)) == waiting
            assert deadlines.count(name) == len(waiting)


def test_what_has_no_limit_is_not_there_to_discard() -> None:
    deadlines: Deadlines[str, int] = Deadlines(LIMITS)
    deadlines.discard("unknown", 1)
    assert deadlines.next() == inf
