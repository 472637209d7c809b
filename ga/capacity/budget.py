"""How many spot workers a budget for a day pays: the guard of ``deploy/aws/cluster.yaml``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from ga.capacity.prices import EXTRAS, HEADS, HOURS_A_DAY, NODE, Extras, Price

DOLLARS_A_DAY: Final = 30.0
"""The plan's budget. A day must cost less."""
_MONTHS: Final = 12 / 365
"""Months in a day."""
_MAX_WORKERS: Final = re.compile(r"^max_workers:\s*(\d+)\s*(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Day:
    """What a day costs, in US dollars, when every spot worker costs its cap."""

    head: float
    workers: float
    addresses: float
    disks: float
    traffic: float

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return math.fsum((self.head, self.workers, self.addresses, self.disks, self.traffic))


def day(workers: int, *, price: Price = NODE, extras: Extras = EXTRAS) -> Day:
    """The highest cost of a day with this number of spot workers and the head on demand."""
    machines = workers + HEADS
    return Day(
        head=HEADS * HOURS_A_DAY * price.on_demand,
        workers=workers * HOURS_A_DAY * extras.spot_cap,
        addresses=machines * HOURS_A_DAY * extras.address_hour,
        disks=machines * extras.disk_gb * extras.disk_gb_month * _MONTHS,
        traffic=extras.traffic_gb_day * extras.traffic_gb,
    )


def most_workers(
    dollars: float = DOLLARS_A_DAY, *, price: Price = NODE, extras: Extras = EXTRAS
) -> int:
    """The largest number of spot workers with which a day costs less than ``dollars``; 0 where the
    head alone costs as much.
    """
    alone, one = (day(count, price=price, extras=extras).total for count in (0, 1))
    count = max(0, math.ceil((dollars - alone) / (one - alone)) - 1)
    # The quotient is rounded; the sum decides.
    while count and day(count, price=price, extras=extras).total >= dollars:
        count -= 1
    return count


def configured_workers(text: str) -> int | None:
    """``max_workers`` of a cluster file of ``ray up``; None: it does not state one."""
    found = _MAX_WORKERS.search(text)
    return None if found is None else int(found[1])
