"""Bugs that the kit must find: methods of channels and runtime with one fragment replaced, in memory, for the time of a test.

A fragment that is not found, or is there twice, is an error: a mutant that has lost its place would prove nothing.
"""

from __future__ import annotations
import __future__

import contextlib
import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence

from streamflow.channels import MergeEnd, ReceiveEnd, SendEnd
from streamflow.channels import _balance as balance
from streamflow.channels import _barrier as barrier
from streamflow.channels import _choosing as choosing
from streamflow.channels import _control as control
from streamflow.channels import _fork as fork
from streamflow.channels import _hand as hand
from streamflow.channels import _lanes as lanes
from streamflow.channels import _limited as limited
from streamflow.channels import _ordering as ordering
from streamflow.channels import _pairing as pairing
from streamflow.channels import _plain_fork as plain_fork
from streamflow.channels import _route as route
from streamflow.channels import _sweep as sweep
from streamflow.channels import _wakes as wakes
from streamflow.runtime import _account as account
from streamflow.runtime import _chain as chain
from streamflow.runtime import _deadlock as deadlock
from streamflow.runtime import _drain as drain
from streamflow.runtime import _engine as engine
from streamflow.runtime import _jobs as jobs
from streamflow.runtime import _kill_switch as kill_switch
from streamflow.runtime import _quiescence as quiescence
from streamflow.runtime import _reporting as reporting
from streamflow.runtime import _stage_run as stage_run
from streamflow.runtime import _supervision as supervision
from streamflow.runtime import _swallowing as swallowing
from streamflow.runtime._engine import Engine


@dataclasses.dataclass(frozen=True)
class Change:
    """One fragment of one function, and what stands there instead."""

    owner: object
    name: str
    before: str
    after: str

    def function(self) -> Callable[..., object]:
        """Return the function with the fragment replaced."""
        original = inspect.getattr_static(self.owner, self.name)
        plain = original.__func__ if isinstance(original, (staticmethod, classmethod)) else original
        source = inspect.getsource(plain)
        if source.count(self.before) != 1:
            message = f"{self.name} has {source.count(self.before)} times the fragment {self.before!r}; mend the mutant"
            raise LookupError(message)
        lines = textwrap.dedent(source.replace(self.before, self.after))
        lines = lines[min(lines.find(word) for word in ("async def ", "def ") if word in lines) :]  # without decorators
        # The class is a name outside the function, as in its class body, so that `super()` finds it.
        whole = f"def make(__class__):\n{textwrap.indent(lines, '    ')}\n    return {self.name}\n"
        code = compile(whole, f"<mutant of {self.name}>", "exec", __future__.annotations.compiler_flag)
        names: dict[str, Callable[..., object]] = {}
        exec(code, plain.__globals__, names)
        made = names["make"](self.owner)
        return type(original)(made) if isinstance(original, (staticmethod, classmethod)) else made


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One bug, and the rules of which at least one must find it."""

    name: str
    changes: Sequence[Change]
    killers: Sequence[str]

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Have the bug."""
        with contextlib.ExitStack() as undo:
            for one in self.changes:
                undo.callback(setattr, one.owner, one.name, inspect.getattr_static(one.owner, one.name))
                setattr(one.owner, one.name, one.function())
            yield


def mutant(name: str, owner: object, method: str, before: str, after: str, *killers: str) -> Mutant:
    return Mutant(name, (Change(owner, method, before, after),), killers)


_ROOM = "len(self._buffer) < self._limit"

MUTANTS = (
    # Edges
    Mutant(
        "capacity off by one",
        (
            Change(
                ReceiveEnd,
                "_open_limit",
                "return self.capacity if self.capacity <= WIDE",
                "return self.capacity + 1 if self.capacity <= WIDE",
            ),
            Change(SendEnd, "_leave_first", "self._limit = peer.capacity", "self._limit = peer.capacity + 1"),
        ),
        ("RT-12",),
    ),
    mutant("capacity off by two on the fast path", SendEnd, "send", _ROOM, f"{_ROOM} + 2", "RT-12"),
    mutant(
        "lost wake-up at capacity 1",
        ReceiveEnd,
        "__init__",
        "self._low = capacity // 2",
        "self._low = capacity // 2 - 1",
        "RT-01",
    ),
    mutant("the next sender is not woken", wakes.Wakes, "_end_turn", "self._wake_sender()", "pass", "RT-32"),
    mutant(
        "checkpoint after the element moved",
        ReceiveEnd,
        "__anext__",
        "                if self._turns and len(self._buffer) <= self._low:\n"
        "                    self._wake_sender()\n                return item",
        "                await anyio.lowlevel.checkpoint()\n                return item",
        "RT-30",
    ),
    Mutant(
        "direct hand-off",
        (
            Change(
                wakes.Wakes,
                "_wake",
                "        if waiter is not None:\n",
                "        if waiter is not None and self._buffer and not self._merges and type(self._buffer[0]) in self._plain:\n"
                "            self.__dict__['_handed'] = self._buffer.popleft()\n"
                "        if waiter is not None:\n",
            ),
            Change(
                ReceiveEnd,
                "__anext__",
                "                await waiter\n",
                "                self.__dict__.pop('_handed', None)\n"
                "                await waiter\n"
                "                if '_handed' in self.__dict__:\n"
                "                    self.received += 1\n"
                "                    return self.__dict__.pop('_handed')\n",
            ),
        ),
        ("RT-30",),
    ),
    mutant(
        "a cancelled send has sent",
        SendEnd,
        "_send_usual_in_turn",
        "        finally:\n            self._leave_first(turn)",
        "        except BaseException:\n            if self.is_open:\n                self._put(item)\n"
        "            raise\n        finally:\n            self._leave_first(turn)",
        "RT-31",
    ),
    mutant(
        "close before drain",
        SendEnd,
        "close",
        "        self._closed = True\n",
        "        self._closed = True\n        self._peer._buffer.clear()\n",
        "RT-01",
    ),
    mutant(
        "a loop's marker takes room of an edge bounded by weight",
        limited.LimitedSendEnd,
        "_enter",
        "if self._shuts_out is None or not isinstance(item, self._shuts_out):",
        "if True:",
        "RT-33",
    ),
    mutant(
        "urgent elements wait like all",
        lanes.Lanes,
        "_pass_by",
        "if group.lane >= lane or",
        "if True or",
        "RT-19",
    ),
    # Forks
    mutant(
        "a fork ignores that a branch has gone",
        fork.ForkEnd,
        "_commit",
        'if end._peer.state == "open":',
        "if True:",
        "RT-22",
    ),
    mutant(
        "a fork sends what one branch has room for, before the other has",
        plain_fork.PlainForkEnd,
        "_room_in",
        "                    return 0 if end._limit > 0 and peer._relay is None else -1",
        "                    continue",
        "RT-34",
    ),
    mutant(
        "with any branch the fork ends",
        fork.ForkEnd,
        "__init__",
        "for end in essential:",
        "for end in branches:",
        "RT-22",
    ),
    mutant(
        "route sends to two branches", route.RouteEnd, "_route_of", "return (end,)", "return self._branches", "RT-24"
    ),
    mutant("balance looks at nobody's load", balance.BalanceEnd, "_freest", "(_load(end), (own", "(0, (own", "RT-23"),
    mutant(
        "tap slows the main path",
        fork.ForkEnd,
        "_route_of",
        "        return route\n",
        "        return (*route, *self._taps)\n",
        "RT-21",
    ),
    mutant(
        "a fork does not tell the merges what it copies",
        fork.ForkEnd,
        "_told",
        "                join.expect(item, number)\n",
        "                pass\n",
        "RT-01",
    ),
    # Merges
    mutant(
        "merge ends at the first end",
        MergeEnd,
        "_next_ready",
        "                self._drop_input(number)\n",
        "                self._complete()\n                return None\n",
        "RT-01",
    ),
    mutant(
        "every copy of a boundary leaves", control.ControlJoin, "arrive", "if known is None or", "if True or", "RT-01"
    ),
    mutant(
        "a merge lets go of boundaries that are still to come",
        control.ControlJoin,
        "release",
        "            if not known.awaited:\n",
        "            if True:\n",
        "RT-01",
    ),
    mutant(
        "zip drops",
        pairing.ZipEnd,
        "_take_from",
        "self._fill(made)",
        "self.received % 3 == 2 or self._fill(made)",
        "RT-01",
    ),
    mutant(
        "ordered join out of order",
        ordering.OrderedEnd,
        "_choose",
        "return due[0] if due[0] in ready else None",
        "return ready[-1]",
        "RT-01",
    ),
    mutant(
        "concatenation of whatever comes",
        choosing.ConcatEnd,
        "_choose",
        "return first if first == ready[0] else None",
        "return ready[0]",
        "RT-01",
    ),
    mutant(
        "a race has two winners",
        choosing.RaceEnd,
        "_take_from",
        "if len(self._inputs) > 1 and",
        "if not self._inputs and",
        "RT-01",
    ),
    mutant("weights are forgotten", choosing.PriorityEnd, "_pull", "self._credit[number] -= 1", "pass", "RT-25"),
    mutant(
        "priority starves", lanes.Lanes, "_pass_by", "group.passed >= PASSES[lane]", "group.passed >= 100_000", "RT-26"
    ),
    mutant("preference for the last", choosing.PriorityEnd, "_choose", "return ready[0]", "return ready[-1]", "RT-20"),
    # Stages and runs
    mutant("no close on return", stage_run.StageRun, "close_outputs", "self.output.close()", "pass", "RT-01"),
    mutant(
        "who feeds a stage that has enough is not told",
        stage_run.StageRun,
        "close_inputs",
        "one.close(reason)",
        "pass",
        "RT-10",
    ),
    mutant(
        "error swallowed",
        Engine,
        "stage_ended",
        "self._stage_failed(stage, stage.in_hand(), error)",
        "pass",
        "RT-03",
    ),
    mutant(
        "wrong stage named",
        Engine,
        "_stage_failed",
        "stage_error(stage.name,",
        "stage_error(self._stages[0].name,",
        "RT-03",
    ),
    mutant(
        "wrong stage named under fusion",
        chain.Chain,
        "_work",
        "self._end_with(self._at, error)",
        "self._end_with(self._first, error)",
        "RT-35",
    ),
    mutant(
        "what passes a fused stage by is dropped",
        chain.Chain,
        "go_on",
        "if not await pass_head(source):",
        "if source.backlog and not source._accepts(source.backlog[0]):\n"
        "                    source._take()\n"
        "                elif not await pass_head(source):",
        "RT-01",
    ),
    mutant(
        "restart loses the element in hand",
        supervision.Supervisor,
        "_recovers",
        "one.is_due = True",
        "one.clear()",
        "RT-13",
    ),
    mutant(
        "the element in hand is given twice",
        hand.Hand,
        "give",
        "self.is_due = False",
        "self.is_due = self.times < 2",
        "RT-13",
    ),
    mutant(
        "drain drops an accumulator",
        drain,
        "begin_drain",
        "if not one.inputs:",
        "if not one.inputs or one.node.stage.kind.name == 'ACCUMULATE':",
        "RT-14",
    ),
    mutant(
        "an interruption drops control",
        sweep,
        "_drop_stale",
        "stays = [does_stay(item) for",
        "stays = [does_stay(item) and type(item).__name__ != 'TurnEnd' for",
        "RT-06",
    ),
    mutant("deadlock detector deaf", deadlock.DeadlockWatch, "suspect", "if self._is_due or", "if True or", "RT-17"),
    mutant(
        "a slow consumer is a deadlock",
        deadlock,
        "_user_may_help",
        "return True\n    return any(",
        "pass\n    return any(",
        "RT-17",
    ),
    mutant(
        "kill switch ignored",
        kill_switch.KillSwitch,
        "_fire",
        "for run in tuple(self._runs):",
        "for run in ():",
        "RT-16",
    ),
    mutant(
        "a switch that was used is forgotten",
        kill_switch.KillSwitch,
        "attach",
        'if self._state != "armed":',
        "if False:",
        "RT-16",
    ),
    mutant("undelivered count wrong", account.Account, "read", "_lost(end) - self._before[end.name]", "0", "RT-15"),
    mutant(
        "event twice",
        reporting.Reporter,
        "stage_ended",
        "if not self.is_over:",
        "for _ in range(2):",
        "RT-18",
    ),
    mutant(
        "a loop ends while something goes around",
        quiescence.LoopWatch,
        "_all_wait",
        "        stages = [",
        "        return True\n        stages = [",
        "RT-33",
    ),
    mutant(
        "a barrier lets the last turn out early",
        barrier.BarrierEnd,
        "_let_go",
        "if not all(number",
        "if not any(number",
        "RT-01",
    ),
    mutant(
        "an edge keeps what it has given",
        ReceiveEnd,
        "__anext__",
        "        while True:\n",
        "        self.__dict__.setdefault('kept', []).append(object())\n        while True:\n",
        "SF-16",
    ),
    mutant(
        "a task that never began is waited for", jobs.Job, "_struck", "if not self._begun and", "if False and", "SF-22"
    ),
    mutant(
        "what swallows is cancelled at every turn",
        swallowing.Redelivery,
        "_look",
        "min(2 * self._pause_s, LONGEST_PAUSE_S)",
        "0.0",
        "SF-27",
    ),
    mutant(
        "what ends the program is wrapped",
        engine,
        "stage_error",
        "if isinstance(cause, (KeyboardInterrupt, SystemExit)):",
        "if False:",
        "SF-41",
    ),
)
"""The bugs."""
