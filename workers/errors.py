"""What calling code can be raised: one exception for each way in which a job can end other than by returning.

Outcomes are values (`workers.jobs`); they become exceptions only where somebody awaits a result. An exception that a
handler raised keeps its type where that is a builtin one, so ``except FileNotFoundError`` works as it does without a
pool; any other is a `JobFailed` that names it.
"""

from __future__ import annotations

import ast
import builtins
import re
from concurrent.futures import BrokenExecutor
from concurrent.futures import CancelledError as _FutureCancelled

from workers.jobs import Cancelled, Failed, Outcome, Rejected, TimedOut, WorkerLost


class PoolError(Exception):
    """The root of everything that the pool itself raises.

    Example::

        try:
            thumbnail = await pool.submit("resize", path="a.png")
        except PoolError as problem:
            log.warning("no thumbnail: %s", problem)
    """


class NotEncodable(PoolError, TypeError):
    """An argument or a result cannot be sent. The text names it and says what to do about it."""


class NotImportable(PoolError, ValueError):
    """A function cannot be found by an import path, or the pool runs no functions by import path; the text says why."""


class NoSuchJob(PoolError, LookupError):
    """The pool's workers know no handler of that name. The text lists those that they know."""


class BadHandlers(PoolError, ValueError):
    """What the pool was told to run cannot be run: no such module, nothing public in it, or two of one name."""


class PoolBroken(PoolError, BrokenExecutor):
    """The pool is gone, closed, or never began, and takes no jobs. The text says why and what to do."""


class WrongProcess(PoolBroken):
    """The pool object was carried into a child by a fork. The child has to join the pool with a `Client` of its own."""


class JobError(PoolError):
    """A job ended without a result.

    Args:
        outcome: how it ended.

    Example::

        except JobError as problem:
            print(type(problem.outcome).__name__, problem)
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def __str__(self) -> str:
        return describe(self.outcome)


class JobFailed(JobError):
    """The handler raised something that is no builtin exception.

    ``outcome`` is a `Failed`: ``kind`` (the exception's class name), ``message``, ``worker``, ``elapsed_s`` in seconds,
    and ``trace`` (the end of its traceback, which is also shown as this exception's cause).
    """

    outcome: Failed


class JobLost(JobError, BrokenExecutor):
    """The worker died with the job in its hands, so the job may have run in part. The pool itself goes on.

    ``outcome`` is a `WorkerLost`: ``worker``, and the ``reason`` of its death. Declare a handler ``idempotent`` to have
    its jobs run once more instead.
    """

    outcome: WorkerLost


class JobTimedOut(JobError, TimeoutError):
    """No answer by the deadline. ``outcome`` is a `TimedOut` with ``timeout_s`` in seconds."""

    outcome: TimedOut


class JobCancelled(JobError, _FutureCancelled):
    """Somebody ended the job before it had an end. ``outcome`` is a `Cancelled` with its ``reason``."""

    outcome: Cancelled


class JobRejected(JobError):
    """The job was never accepted, because queues are full or the pool is closing; nothing of it has run.

    ``outcome`` is a `Rejected` with its ``reason``. ``submit_wait`` waits for room instead.
    """

    outcome: Rejected


class RemoteTraceback(Exception):
    """The traceback of an exception in a worker, as text: the cause of what is raised here."""

    def __init__(self, trace: str) -> None:
        super().__init__(trace)
        self.trace = trace

    def __str__(self) -> str:
        return f'\n"""\n{self.trace}"""'


def describe(outcome: Outcome) -> str:
    """Say in one line how a job ended."""
    match outcome:
        case Failed(kind, message):
            return f"{kind}: {message}" if message else kind
        case WorkerLost(worker):
            why = getattr(outcome, "reason", "")
            return (
                f"worker {worker} died{f' ({why})' if why else ''} with the job in its hands; it may have run in part"
            )
        case TimedOut(timeout_s):
            return f"no answer within {timeout_s:.6g} s"
        case Cancelled(reason) | Rejected(reason):
            return reason
        case _:
            return "returned"


def error_of(outcome: Failed | WorkerLost | TimedOut | Cancelled | Rejected) -> Exception:
    """The exception that tells of an outcome."""
    match outcome:
        case WorkerLost():
            return JobLost(outcome)
        case TimedOut():
            return JobTimedOut(outcome)
        case Cancelled():
            return JobCancelled(outcome)
        case Rejected():
            return JobRejected(outcome)
    error = _rebuilt(outcome.kind, outcome.message, outcome.trace) or JobFailed(outcome)
    if outcome.trace:
        error.__cause__ = RemoteTraceback(outcome.trace)
    return error


_OURS: dict[str, type[PoolError]] = {kind.__name__: kind for kind in (NotEncodable, NotImportable, NoSuchJob)}

_OS_ERROR = re.compile(r"\[Errno (\d+)\] ([^:]*)(?:: (.*))?", re.DOTALL)


def _rebuilt(kind: str, message: str, trace: str) -> Exception | None:
    """An exception of the type that was raised, if that is a builtin one (or one of ours) and can be had from a text.

    Not those that mean something to whatever they pass through on their way up: a ``StopIteration`` would end a loop.
    """
    if kind in _OURS:
        return _OURS[kind](message)
    found = getattr(builtins, kind, None)
    if not (isinstance(found, type) and issubclass(found, Exception)) or not _is_builtin(kind, trace):
        return None
    if issubclass(found, StopIteration | StopAsyncIteration | UnicodeError | BaseExceptionGroup):
        return None if found is not UnicodeError else UnicodeError(message)
    if issubclass(found, OSError) and (parts := _OS_ERROR.fullmatch(message)):
        return _os_error(*parts.groups())
    if found is KeyError:
        return KeyError(_literal(message))
    return found(message) if message else found()


def _is_builtin(kind: str, trace: str) -> bool:
    """A traceback ends in the exception's full name; a class of the same name from elsewhere is another one."""
    if not trace:
        return True
    names = re.findall(rf"^((?:[\w.<>]+\.)?{re.escape(kind)})(?::|$)", trace, re.MULTILINE)
    return bool(names) and names[-1] == kind


def _os_error(number: str, text: str, names: str | None) -> OSError:
    # OSError makes the right subclass of itself from the number.
    if names is None:
        return OSError(int(number), text)
    first, arrow, second = names.partition(" -> ")
    if arrow:
        return OSError(int(number), text, _literal(first), None, _literal(second))
    return OSError(int(number), text, _literal(names))


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
