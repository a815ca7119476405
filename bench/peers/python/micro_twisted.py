"""The suites of `bench/micro` on Twisted, on its epoll reactor.

    python micro_twisted.py timers|deferred|threads [--quick]

A line of JSON for each figure; the same work has the same name as in the Rust programs. There are
fewer operations, as each takes longer, and no 10 M timers. While timers are measured the collector
of cycles is off: over a million live calls it takes most of the time, and that is not Twisted's.
With --quick next to nothing is done, only to see that all of it works.
"""

import argparse
import gc
import json
import queue
import sys
import threading
from time import perf_counter

from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import defer, protocol, reactor, task
from twisted.internet.threads import deferToThread
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import TimeoutMixin

REPETITIONS = 5
LINKS = 10
LISTED = 100
# Tasks that are under way at a time.
BATCH = 1000
FULL = {
    "live": [10_000, 1_000_000],
    "timers": 200_000,
    "deadlines": 500_000,
    "chains": 20_000,
    "lists": 2000,
    "tasks": 10_000,
    "calls": 1_000_000,
    "round_trips": 10_000,
}
QUICK = {
    "live": [100, 1000],
    "timers": 2000,
    "deadlines": 1000,
    "chains": 10,
    "lists": 10,
    "tasks": 2000,
    "calls": 1000,
    "round_trips": 10,
}


class Repetitions:
    """Of work of several kinds that is done in one go. The first one does not count."""

    def __init__(self, *works):
        self.works = works
        self.times = []

    def wanted(self):
        return len(self.times) < 1 + REPETITIONS

    def note(self, *times):
        self.times.append(times)

    def print_figures(self):
        for (work, operations), times in zip(self.works, zip(*self.times[1:])):
            seconds = max(sorted(times)[REPETITIONS // 2], 1e-9)
            figure = {
                "work": work,
                "per_second": round(operations / seconds, 2),
                "nanoseconds": round(seconds * 1e9 / operations, 2),
                "operations": operations,
            }
            print(json.dumps(figure), flush=True)


def turn():
    """Fires when the reactor has gone round once."""
    return task.deferLater(reactor, 0)


class Generator:
    """Numbers that look random and are the same in each run: SplitMix64."""

    MASK = (1 << 64) - 1

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        mixed = self.state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & self.MASK
        return ((mixed ^ (mixed >> 31)) * bound) >> 64

    def delay(self):
        """From 1 ms to 10 minutes."""
        return 0.001 + self.below(600_000_000 - 1000) / 1e6

    def step(self):
        """By how much a timeout is put off by the next message: up to 100 ms."""
        return self.below(100_000) / 1e6


class Timers:
    """Those that live while some are added, cancelled and reset.

    Which ones, and by how much, is drawn before the time is taken. The turn that follows belongs to
    each batch: only then does Twisted put new calls in its heap.
    """

    def __init__(self, live, batch):
        self.generator = Generator(live)
        self.batch = batch
        self.fired = 0
        self.live = []
        for _ in range(live):
            delay = self.generator.delay()
            self.live.append((reactor.callLater(delay, self.fire), delay))

    def fire(self):
        self.fired += 1

    def draw(self):
        """Moves random ones to the end, and returns where they begin."""
        live, below = self.live, self.generator.below
        start = len(live) - self.batch
        for end in range(len(live) - 1, start - 1, -1):
            other = below(end + 1)
            live[end], live[other] = live[other], live[end]
        return start

    async def add(self):
        delays = [self.generator.delay() for _ in range(self.batch)]
        live, fire = self.live, self.fire
        start = perf_counter()
        for delay in delays:
            live.append((reactor.callLater(delay, fire), delay))
        await turn()
        return perf_counter() - start

    async def cancel(self):
        first = self.draw()
        # Some have fired by now, which cannot be cancelled.
        drawn = [call for call, _ in self.live[first:] if call.active()]
        del self.live[first:]
        start = perf_counter()
        for call in drawn:
            call.cancel()
        await turn()
        return perf_counter() - start

    async def reset(self):
        first = self.draw()
        drawn = []
        for index in range(first, len(self.live)):
            call, delay = self.live[index]
            delay += self.generator.step()
            self.live[index] = (call, delay)
            if call.active():
                drawn.append((call, delay))
        start = perf_counter()
        for call, delay in drawn:
            call.reset(delay)
        await turn()
        return perf_counter() - start

    def clear(self):
        for call, _ in self.live:
            if call.active():
                call.cancel()


def count(number):
    """A round number, in short."""
    if number < 1000:
        return str(number)
    return f"{number // 1000} k" if number < 1_000_000 else f"{number // 1_000_000} M"


async def timers(sizes):
    gc.disable()
    for live in sizes["live"]:
        batch = min(2000, live)
        rounds = -(-sizes["timers"] // batch)
        names = [f"timers {what}, {count(live)} live" for what in ("add", "cancel", "reset")]
        repetitions = Repetitions(*((name, rounds * batch) for name in names))
        population = Timers(live, batch)
        await turn()
        while repetitions.wanted():
            add = cancel = reset = 0.0
            for _ in range(rounds):
                add += await population.add()
                cancel += await population.cancel()
                reset += await population.reset()
            repetitions.note(add, cancel, reset)
        repetitions.print_figures()
        population.clear()
        await turn()
    connection_deadline(sizes)


class Idle(TimeoutMixin, protocol.Protocol):
    """One that is lost when nothing comes for a minute."""

    def connectionMade(self):
        self.setTimeout(60)


def connection_deadline(sizes):
    idle = Idle()
    idle.makeConnection(StringTransport())

    def resets():
        for _ in range(sizes["deadlines"]):
            idle.resetTimeout()

    measure("connection deadline reset", sizes["deadlines"], resets)
    idle.setTimeout(None)


def measure(work, operations, repetition):
    repetitions = Repetitions((work, operations))
    while repetitions.wanted():
        start = perf_counter()
        repetition()
        repetitions.note(perf_counter() - start)
    repetitions.print_figures()


def add_one(n):
    return n + 1


def plain():
    deferred = defer.Deferred()
    for _ in range(LINKS):
        deferred.addCallback(add_one)
    deferred.callback(0)
    return value(deferred)


def add_one_later(n):
    return defer.succeed(n + 1)


def returning():
    deferred = defer.Deferred()
    for _ in range(LINKS):
        deferred.addCallback(add_one_later)
    deferred.callback(0)
    return value(deferred)


class Refused(Exception):
    """The error that the chain over an error is about."""


def refuse(_):
    raise Refused


def over_an_error():
    deferred = defer.Deferred()
    deferred.addCallback(refuse)
    for _ in range(LINKS - 2):
        deferred.addCallback(add_one)
    deferred.addErrback(lambda _: LINKS)
    deferred.callback(0)
    return value(deferred)


def gathered():
    deferreds = [defer.Deferred() for _ in range(LISTED)]
    every = defer.gatherResults(deferreds)
    for deferred in deferreds:
        deferred.callback(1)
    return sum(value(every))


def value(deferred):
    got = []
    deferred.addCallback(got.append)
    return got[0]


async def await_those_that_fired(_):
    total = 0
    for _ in range(LINKS):
        deferred = defer.Deferred()
        deferred.callback(1)
        total += await deferred
    return total


async def await_those_to_come(awaited):
    total = 0
    for _ in range(LINKS):
        deferred = defer.Deferred()
        awaited.append(deferred)
        total += await deferred
    return total


async def run_batch(work, tasks):
    """Starts tasks, and fires what they await turn after turn, until all have ended."""
    awaited, ended = [], []
    for _ in range(tasks):
        defer.ensureDeferred(work(awaited)).addCallback(ended.append)
    while len(ended) < tasks:
        await turn()
        fired = awaited[:]
        awaited.clear()
        for deferred in fired:
            deferred.callback(1)
    assert sum(ended) == tasks * LINKS


async def deferred(sizes):
    for work, chain in (
        ("chain of 10", plain),
        ("chain of 10, each returning a Deferred that has fired", returning),
        ("chain of 10 over an error", over_an_error),
    ):

        def chains():
            for _ in range(sizes["chains"]):
                assert chain() == LINKS

        measure(f"deferred {work}", sizes["chains"], chains)

    def lists():
        for _ in range(sizes["lists"]):
            assert gathered() == LISTED

    measure(f"deferred list of {LISTED}", sizes["lists"], lists)
    tasks = sizes["tasks"]
    batches = -(-tasks // BATCH)
    for work, awaits in (
        ("each fired before it is awaited", await_those_that_fired),
        ("each fired in a later turn", await_those_to_come),
    ):
        repetitions = Repetitions((f"deferred await of {LINKS}, {work}", tasks))
        while repetitions.wanted():
            start = perf_counter()
            for _ in range(batches):
                await run_batch(awaits, tasks // batches)
            repetitions.note(perf_counter() - start)
        repetitions.print_figures()


def call_as_fast_as_may_be(calls, done):
    counted = 0

    def called():
        nonlocal counted
        counted += 1
        if counted == calls:
            done.callback(None)

    for _ in range(calls):
        reactor.callFromThread(called)


def call_one_at_a_time(calls, done):
    answered = queue.SimpleQueue()
    for _ in range(calls):
        reactor.callFromThread(answered.put, None)
        answered.get()
    reactor.callFromThread(done.callback, None)


async def threads(sizes):
    for work, calls, caller in (
        ("call_from_thread", sizes["calls"], call_as_fast_as_may_be),
        ("call_from_thread round trip", sizes["round_trips"], call_one_at_a_time),
    ):
        repetitions = Repetitions((work, calls))
        while repetitions.wanted():
            done = defer.Deferred()
            start = perf_counter()
            thread = threading.Thread(target=caller, args=(calls, done))
            thread.start()
            await done
            repetitions.note(perf_counter() - start)
            thread.join()
        repetitions.print_figures()
    jobs = sizes["round_trips"]
    repetitions = Repetitions(("defer_to_thread round trip", jobs))
    while repetitions.wanted():
        start = perf_counter()
        for job in range(jobs):
            assert await deferToThread(add_one, job) == job + 1
        repetitions.note(perf_counter() - start)
    repetitions.print_figures()


def main():
    suites = {"timers": timers, "deferred": deferred, "threads": threads}
    parser = argparse.ArgumentParser(description="Measures one suite on Twisted.")
    parser.add_argument("suite", choices=suites)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    failures = []

    def start():
        running = defer.ensureDeferred(suites[arguments.suite](QUICK if arguments.quick else FULL))
        running.addErrback(failures.append)
        running.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run()
    if failures:
        sys.exit(failures[0].getTraceback())


main()
