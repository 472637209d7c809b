"""Settings that bring wrong numerics, or a failing library, to the workers that unpickle them."""

from __future__ import annotations

import os
import resource
import signal
import time
from typing import Any, ClassVar

import numpy as np

from ga.evaluation.settings import Settings
from ga.families import volatility_scaling


class PerturbedSettings(Settings):
    """Where they are unpickled, logarithms are one unit in the last place too large."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _perturb, (dict(self.__dict__),)


def _perturb(state: dict[str, object]) -> PerturbedSettings:
    log = volatility_scaling.log
    volatility_scaling.log = lambda values: np.nextafter(log(values), np.inf)
    settings = object.__new__(PerturbedSettings)
    settings.__dict__.update(state)
    return settings


class FailingSettings(Settings):
    """Where they are unpickled, the system fails as soon as a worker limits its memory."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _fail, (dict(self.__dict__),)


def _fail(state: dict[str, object]) -> FailingSettings:
    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    resource.setrlimit = failing
    settings = object.__new__(FailingSettings)
    settings.__dict__.update(state)
    return settings


class EndingSettings(Settings):
    """Where they are unpickled, every evaluation ends its process by a signal, or hangs."""

    how: ClassVar[str] = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return _end, (dict(self.__dict__), self.how)


class KilledSettings(EndingSettings):
    """As where memory is so short that the kernel kills each worker."""

    how = "SIGKILL"


class IllegalSettings(EndingSettings):
    """As where kernels were compiled for another processor."""

    how = "SIGILL"


class HangingSettings(EndingSettings):
    """As on a mount that does not answer any more."""

    how = "hang"


def _end(state: dict[str, object], how: str) -> EndingSettings:
    from ga.execution import worker

    def ending(*_: object) -> None:
        if how != "hang":
            os.kill(os.getpid(), signal.Signals[how])
        time.sleep(3600)  # hangs until it is killed

    worker.evaluate_batch = ending
    settings = object.__new__(EndingSettings)
    settings.__dict__.update(state)
    return settings
