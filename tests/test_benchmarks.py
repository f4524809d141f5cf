"""The simulation of rate limits: its servers are what they claim to be, and it runs."""

from __future__ import annotations

import asyncio
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import attrs
import pytest

from imagesdk.errors import APIError
from imagesdk.protocol.headers import RateLimitInfo, rate_limit_info
from imagesdk.protocol.refusals import refusal
from imagesdk.testing import virtual_time

# The benchmarks are in no wheel. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks import limiter, observability
from benchmarks._sim_loads import Measured, Wait
from benchmarks._sim_network import SimFaultError, SimServer
from benchmarks._sim_report import (
    Group,
    added_below_the_limit,
    fairness,
    summarise,
    table,
)
from benchmarks._sim_scenarios import CONTENDERS, Run, simulate
from benchmarks._sim_servers import (
    FixedWindow,
    Quantised,
    ServerModel,
    Shared,
    SlidingWindow,
    TokenBucket,
)

T = TypeVar("T")

MODELS: dict[str, Callable[[], ServerModel]] = {
    "token bucket": lambda: TokenBucket(50),
    "sliding": lambda: SlidingWindow(50),
    "refused count": lambda: SlidingWindow(50, counts_refused=True),
    "fixed": lambda: FixedWindow(50),
    "quantised to 1 s": lambda: Quantised(50, 1),
    "quantised to 10 s": lambda: Quantised(50, 10),
    "shared": lambda: Shared(50, others_per_minute=25, rng=random.Random(1)),  # noqa: S311
}


def crowd(model: ServerModel, seconds: float) -> list[tuple[float, int]]:
    """Offer far more than is permitted, at random, and return what was admitted."""
    rng = random.Random(1)  # noqa: S311
    now, admitted = 0.0, []
    while (now := now + rng.expovariate(3.0)) < seconds:
        cost = rng.randint(1, 10)
        if model.offer(now, cost).admitted:
            admitted.append((now, cost))
    return admitted


def most_within(admitted: list[tuple[float, int]], span: float) -> int:
    return max(sum(c for at, c in admitted if start <= at < start + span) for start, _ in admitted)


@pytest.mark.parametrize("name", ["sliding", "refused count"])
def test_a_sliding_window_never_holds_more_than_its_limit(name: str) -> None:
    """In no 60 s are more than 50 images admitted."""
    admitted = crowd(MODELS[name](), 600.0)
    assert not admitted or most_within(admitted, 60.0) <= 50


def test_a_fixed_window_holds_its_limit_in_each_minute_but_not_across() -> None:
    """Each minute takes 50; the end of one and the begin of the next take 100 within a moment."""
    model = FixedWindow(50)
    assert all(model.offer(at, 10).admitted for at in [59.0] * 5 + [60.0] * 5)
    assert not model.offer(61.0, 1).admitted
    assert model.offer(120.0, 1).admitted


def test_a_token_bucket_holds_its_limit_and_refills_continuously() -> None:
    """In any span no more than 50 and what flows in is admitted."""
    admitted = crowd(TokenBucket(50), 600.0)
    for span in (1.2, 12.0, 120.0):
        assert most_within(admitted, span) <= 50 + span * 50 / 60


@pytest.mark.parametrize(("interval", "burst"), [(1, 1), (10, 9)])
def test_a_quantised_server_refuses_bursts_and_lends_to_one_request(
    interval: int, burst: int
) -> None:
    """After a long rest one interval's worth is admitted at once, and a large request in debt."""
    model = Quantised(50, interval)
    assert sum(model.offer(300.0, 1).admitted for _ in range(50)) == burst
    debtor = Quantised(50, interval)
    assert debtor.offer(300.0, 10).admitted
    refused = debtor.offer(300.5, 1)
    assert not refused.admitted
    assert refused.wait is not None
    assert refused.wait >= (10 - burst) / 50 * 60 - interval


def test_refused_requests_count_where_they_are_said_to() -> None:
    """Who asks every second is never served again; who waits a minute is."""
    model = SlidingWindow(50, counts_refused=True)
    assert model.offer(0.0, 50).admitted
    assert not any(model.offer(float(at), 1).admitted for at in range(1, 300))
    assert model.offer(360.0, 50).admitted


def test_others_take_their_share_of_a_shared_limit() -> None:
    """While we ask for nothing, the others get what they ask for: 25 a minute."""
    model = Shared(50, others_per_minute=25, rng=random.Random(2))  # noqa: S311
    assert model.permits(3600.0) == pytest.approx(1500, rel=0.06)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "shared"])
def test_who_waits_as_long_as_told_is_admitted(name: str) -> None:
    """A refusal's wait is exact: admitted then, refused a hair before."""
    for cost in (1, 4, 10):
        model, early = MODELS[name](), MODELS[name]()
        now = 1.0
        while (verdict := model.offer(now, cost)).admitted:
            assert early.offer(now, cost).admitted
            now += 0.25
        assert not early.offer(now, cost).admitted
        assert verdict.wait is not None
        assert model.offer(now + verdict.wait + 1e-6, cost).admitted
        assert not early.offer(now + verdict.wait - 1e-3, cost).admitted


@pytest.mark.parametrize("name", MODELS)
def test_permits_is_what_a_perfect_client_gets(name: str) -> None:
    """A client that knows when it may ask for one image gets exactly what `permits` says."""
    model = MODELS[name]()
    now, admitted = 0.0, 0
    while now < 3600.0:
        verdict = model.offer(now, 1)
        admitted += verdict.admitted
        if not verdict.admitted and name == "refused count":  # a perfect one does not even ask
            break
        now += (verdict.wait or 0.0) + 1e-6
    if name == "refused count":
        assert (admitted, model.permits(60.0)) == (50, 50)
    else:
        assert admitted == pytest.approx(model.permits(3600.0), abs=2)


@pytest.mark.parametrize("name", MODELS)
def test_a_request_beyond_the_limit_is_refused_for_ever(name: str) -> None:
    """51 images never fit, and no wait is named."""
    verdict = MODELS[name]().offer(1.0, 51)
    assert not verdict.admitted
    assert verdict.wait is None


def in_virtual_time(run: Callable[[], Coroutine[object, object, T]]) -> T:
    with virtual_time() as runner:
        return runner.run(run())


def refused(*, hints: bool, cost: int = 1) -> APIError:
    """Return what our client makes of the refusal of an empty token bucket of 5."""
    server = SimServer(TokenBucket(5), seed="1", hints=hints, faults=1e-9)
    assert server.model.offer(0.0, 5).admitted
    body = b'{"prompt": "1", "n": %d}' % cost
    answer = in_virtual_time(lambda: server.exchange(body))
    assert [(r.cost, r.used) for r in server.refused] == [(cost, 5)]
    return refusal(answer.status, answer.headers, answer.body)


@pytest.mark.parametrize(("cost", "told"), [(1, 12.0), (10, None)])
def test_a_refusal_names_the_limit_and_the_wait(cost: int, told: float | None) -> None:
    """Our own reader finds both in the words of 2026; a request that never fits names no wait."""
    error = refused(hints=True, cost=cost)
    assert rate_limit_info(error.headers, str(error)).limit == 5
    assert error.retry_after == told


def test_a_refusal_without_hints_says_nothing() -> None:
    """Neither limit nor wait can be read from it."""
    error = refused(hints=False)
    assert rate_limit_info(error.headers, str(error)) == RateLimitInfo()
    assert error.retry_after is None


def test_a_success_carries_the_limit_if_it_is_to() -> None:
    """The headers are those of the moment of admission."""
    server = SimServer(TokenBucket(50), seed="1", headers=True, faults=1e-9)
    answer = in_virtual_time(lambda: server.exchange(b'{"prompt": "1", "n": 2}'))
    assert answer.body.count(b"https://") == 2
    info = rate_limit_info(answer.headers)
    assert (info.limit, info.remaining, info.reset) == (50, 48, 3)


def test_faults_come_as_often_as_they_should() -> None:
    """Half are 500s, a quarter resets, a quarter never arrive and are not counted."""
    server = SimServer(TokenBucket(1_000_000), seed="1", faults=0.5)
    fates: Counter[object] = Counter()

    async def one() -> None:
        try:
            fates[(await server.exchange(b'{"prompt": "1"}')).status] += 1
        except SimFaultError as fault:
            fates["reset" if fault.reached else "refused"] += 1

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(2000)))

    in_virtual_time(many)
    wanted = {200: 1000, 500: 500, "reset": 250, "refused": 250}
    assert fates == {name: pytest.approx(number, rel=0.15) for name, number in wanted.items()}
    assert server.admitted == 2000 - fates["refused"]
    assert len(server.sent) == 2000


@pytest.mark.parametrize("scenario", ["sliding", "bucket"])
def test_our_client_is_never_refused_by_a_server_with_its_limit(scenario: str) -> None:
    """Five minutes of a saturating batch, faults and all: no 429, and most of what is permitted."""
    run = Run(scenario=scenario, load="mixed", contender="imagesdk", seed=1, seconds=300.0)
    measured = simulate(run)
    assert measured.refusals == 0
    assert measured.lost == 0
    assert measured.admitted >= 0.8 * measured.permitted
    assert simulate(run) == measured


@pytest.mark.parametrize("contender", CONTENDERS)
def test_every_contender_works_off_a_light_load(contender: str) -> None:
    """Each is set up well enough to have its images made, at once and without a 429."""
    run = Run(scenario="sliding", load="light", contender=contender, seed=1, seconds=200.0)
    measured = simulate(run)
    assert measured.admitted > 20
    assert measured.delivered >= 0.7 * measured.admitted
    assert measured.refusals == 0
    assert max(wait.wait for wait in measured.waits) == pytest.approx(0.0, abs=1e-3)


def test_bursts_come_every_five_minutes_and_the_fair_load_asks_for_tens() -> None:
    """The loads ask for what they say."""
    bots = simulate(Run(scenario="sliding", load="bots", contender="pyrate", seed=1, seconds=301.0))
    assert Counter(round(wait.called) for wait in bots.waits) == {0: 30, 300: 30}
    fair = simulate(Run(scenario="sliding", load="fair", contender="pyrate", seed=1, seconds=600.0))
    assert [round(wait.called) for wait in fair.waits if wait.cost == 10] == [180, 360, 540]
    assert sum(wait.cost == 1 for wait in fair.waits) == pytest.approx(525, rel=0.1)
    assert any(not wait.sent for wait in fair.waits)


def test_who_is_passed_is_noticed() -> None:
    """aiolimiter serves small calls first: some for ten wait on while later calls are sent."""
    run = Run(scenario="sliding", load="mixed", contender="aiolimiter", seed=1, seconds=600.0)
    assert simulate(run).passed > 300
    assert simulate(attrs.evolve(run, contender="pyrate")).passed == 0


def waited(called: float, wait: float, *, cost: int = 1, recent: int = 1) -> Wait:
    return Wait(called=called, cost=cost, wait=wait, sent=True, recent=recent)


def result(*waits: Wait, admitted: int = 0) -> Measured:
    return Measured(
        permitted=200,
        admitted=admitted,
        refusals=admitted,
        delivered=0,
        lost=0,
        failed=0,
        passed=0.0,
        waits=waits,
        refused_at=(),
    )


def test_fairness_compares_calls_of_the_same_time() -> None:
    """A call for ten is compared with the calls for one within half a minute of it."""
    waits = waited(100, 6, cost=10), waited(90, 4), waited(110, 8), waited(500, 99)
    assert fairness([result(*waits)]) == 1.0
    assert fairness([result(waited(100, 6, cost=10), waited(90, 4))]) == 1.5
    assert fairness([result(waited(100, 6, cost=10), waited(90, 0))]) == math.inf


def test_only_waits_below_the_limit_and_outside_ramps_are_added() -> None:
    """What goes out while the limit is used up may wait, and so may what is part of a ramp."""
    runs = [result(waited(300.0, 1.5), waited(310.0, 9.0, recent=50), waited(320.0, 0.25))]
    assert added_below_the_limit("bots", runs, 50) == (1.5, 0.25)
    assert added_below_the_limit("light", runs, 50) == (1.5, 1.5)


def test_a_summary_holds_the_mean_and_the_worst() -> None:
    """Counts of runs that were cut short are multiplied, and marked."""
    summary = summarise([result(admitted=196), result(admitted=197)], factor=6.0)
    assert (summary.percent, summary.worst_percent) == (98.25, 98.0)
    assert (summary.refusals, summary.worst_refusals) == (6 * 196.5, 6 * 197)
    assert summary.cells == ("98.2", "~1179", "~0")


@pytest.mark.parametrize("markdown", [False, True])
def test_a_table_keeps_its_columns_apart(*, markdown: bool) -> None:
    """Every cell is there, in lines of one width or in Markdown."""
    groups = [Group("a long title", ("x",)), Group("b", ("y", "z"))]
    text = table("corner", groups, [["row", "1", "22", "333"]], markdown=markdown)
    assert text.splitlines()[-1].strip("| ").replace("|", "").split() == ["row", "1", "22", "333"]
    assert len({len(line) for line in text.splitlines()[1:]}) == 1


def test_the_command_says_what_was_missed(capsys: pytest.CaptureFixture[str]) -> None:
    """Its status is 1 exactly if a target was missed, and each of ours is judged."""
    status = limiter.main(
        [*["--quick", "--workers", "1", "--only", "imagesdk", "--refusals"], "--scenario", "named5"]
    )
    printed = capsys.readouterr().out
    assert "at least 97 %, at most 5 x 429" in printed
    assert "named5 mixed, seed 1" in printed
    assert status == ("MISSED" in printed)


def test_the_cost_of_each_listener_is_measured() -> None:
    """Each listener is one with which calls succeed, and gets a figure for each round."""
    times = observability.measure(rounds=2, calls=3)
    assert set(times) == set(observability.LISTENERS)
    assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in times.values())
