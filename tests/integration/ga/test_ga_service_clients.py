"""Clients that are slow, many, or do not read, and jobs that would never end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from ga.errors import InputError
from ga.service.database_watch import DatabaseWatch
from ga.service.event_hub import DroppedError, End, EventHub
from ga.service.limits import Limits
from ga.sources import load_market
from tests.support.service_app import Service as App
from tests.support.service_process import TOKEN, Service
from tests.support.waiting import wait_until

SECONDS = 240.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def begin(*arguments: str) -> Service:
        store = str(tmp_path / f"service-{len(made)}.db")
        made.append(Service(tmp_path / "service.log", store, *arguments))
        return made[-1]

    yield begin
    for one in made:
        if one.process.poll() is None:
            one.close()


def dial(service: Service, sent: bytes = b"") -> socket.socket:
    address = urlsplit(service.url)
    made = socket.create_connection((address.hostname, address.port), SECONDS)
    made.sendall(sent)
    return made


def everything(client: socket.socket) -> bytes:
    """What a client is sent until the service closes the connection."""
    parts = []
    try:
        while part := client.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


HEAD = f"POST /v1/evolutions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"


def test_slow_requests_are_ended_by_service(start):
    service = start("--max-header-seconds", "1", "--max-body-seconds", "1")
    with ExitStack() as stack:

        def dialled(sent: str) -> socket.socket:
            return stack.enter_context(dial(service, sent.encode()))

        head = dialled(HEAD)
        silent = dialled("")
        body = dialled(f"{HEAD}Idempotency-Key: k\r\nContent-Length: 100\r\n\r\n{{")
        unread = dialled("GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1")
        assert everything(head).startswith(b"HTTP/1.1 408 ")
        assert everything(silent) == b""
        answer = everything(body)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in answer
        assert everything(unread).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", ["", HEAD, f"{HEAD}Content-Length: 100\r\n\r\n{{"])
def test_half_sent_requests_leave_room_for_others(start, sent):
    service = start("--max-client-connections", "40", "--max-header-seconds", "600")
    with ExitStack() as stack:
        held = [stack.enter_context(dial(service, sent.encode())) for _ in range(300)]
        for number in range(3):
            assert service.http.get(f"{service.url}/healthz", timeout=SECONDS).ok
            assert service.submit(f"key-{number}").status_code == 202
        # The oldest were closed for the newest.
        assert everything(held[0]) == b""
        descriptors = len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))
        assert descriptors < 40 + 60
    assert "Traceback" not in Path(service.log.name).read_text()


def test_health_is_answered_above_connection_limit(start):
    service = start("--max-client-connections", "3", "--max-watchers", "50")
    run = service.submit("long", generations=1000).json()["id"]
    service.http.close()
    watch = f"GET /v1/evolutions/{run}/events HTTP/1.1\r\nHost: localhost\r\n"
    watch += f"Authorization: Bearer {TOKEN}\r\n\r\n"
    with ExitStack() as stack:
        watching = [stack.enter_context(dial(service, watch.encode())) for _ in range(3)]
        for client in watching:
            assert client.recv(15).startswith(b"HTTP/1.1 200 ")
        for path, status in (("/v1/evolutions", 503), ("/healthz", 200), ("/readyz", 200)):
            answer = service.http.get(service.url + path, timeout=SECONDS)
            assert answer.status_code == status, answer.text
            assert answer.headers["Connection"] == "close"
            # Each has a connection of its own: none above the limit is kept.
    wait_until(
        lambda: service.http.get(f"{service.url}/v1/evolutions", timeout=SECONDS).ok,
        seconds=SECONDS,
        what="there is room again",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_ends_service_with_open_watchers(start, number):
    service = start()
    run = service.submit("long", generations=1000).json()["id"]
    wait_until(service.children, seconds=SECONDS, what="an evolution is started")
    url = f"{service.url}/v1/evolutions/{run}/events"
    watching = [service.http.get(url, stream=True, timeout=SECONDS) for _ in range(5)]
    body = dial(service, f"{HEAD}Idempotency-Key: k\r\nContent-Length: 100\r\n\r\n{{".encode())
    children = service.children()
    with closing(body):
        service.process.send_signal(number)
        for one in watching:
            assert "event: end" not in one.text  # ends, though the evolution has not
        assert service.close(number) == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    log = Path(service.log.name).read_text()
    assert "Traceback" not in log
    assert "graceful" not in log


def counted(service: App) -> list[str]:
    """The statements that the service's sessions execute from now on."""
    seen: list[str] = []
    sa.event.listen(
        service.ledger.engine, "before_cursor_execute", lambda *given: seen.append(given[2])
    )
    return seen


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    made = App(tmp_path, queued=100)
    with closing(made.ledger), made.http:
        yield made


@pytest.fixture
def hub(app: App) -> Iterator[EventHub]:
    with (
        closing(DatabaseWatch(app.ledger.engine, seconds=5)) as watch,
        closing(EventHub(app.store, watch)) as made,
    ):
        yield made


def test_queries_do_not_depend_on_watchers(app, hub, monkeypatch):
    runs = [app.submit(str(n)).json()["id"] for n in range(20)]
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)  # only this test polls
    seen = counted(app)

    async def queries(watchers: int) -> int:
        for number in range(watchers):
            run = runs[number % len(runs)]
            hub.join(run)
            hub.begin(run, -1)
        before = len(seen)
        hub.poll()
        return len(seen) - before

    async def all_queries() -> list[int]:
        return [await queries(number) for number in (1, 20, 200, 1000)]

    one, *others = asyncio.run(all_queries())
    assert one > 0
    assert others == [one] * 3


def test_unread_events_drop_their_watcher(app, hub, monkeypatch):
    run = app.submit().json()["id"]
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)

    async def drop() -> None:
        slow, quick = hub.join(run), hub.join(run)
        hub.begin(run, -1)
        for _ in range(1100):
            slow.push([End(None)])
        await asyncio.sleep(0)
        with pytest.raises(DroppedError):
            await slow.next(SECONDS)
        app.store.move(run, "cancelled")
        hub.poll()
        found = await quick.next(SECONDS)
        assert isinstance(found, End)
        assert found.job is not None
        assert found.job.state == "cancelled"

    asyncio.run(drop())


def test_closed_hub_drops_all_watchers(app, hub):
    run = app.submit().json()["id"]

    async def drop() -> None:
        news = hub.join(run)
        hub.begin(run, -1)
        hub.close()
        with pytest.raises(DroppedError):
            await news.next(SECONDS)
        with pytest.raises(DroppedError):
            hub.join(run)

    asyncio.run(drop())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "markets"
    (made / "several").mkdir(parents=True)
    for name in ("fifo.csv", "several/fifo.csv"):
        os.mkfifo(made / name)
    with (made / "huge.csv").open("wb") as file:
        file.truncate(1 << 34)
    (made / "deep.csv").mkdir()
    (made / "zero.csv").symlink_to("/dev/zero")
    (made / ".hidden.csv").write_text("time,open,high,low,close\n")
    (made / "good.csv").write_text("time,open,high,low,close\n")
    return made


@pytest.mark.parametrize(
    "spec",
    ["fifo.csv", "several", "several/fifo.csv", "huge.csv", "zero.csv", ".hidden.csv", "./good.csv",
     "several/../good.csv", "//good.csv", "good.csv/", "several//fifo.csv", "{folder}/good.csv"],
)  # fmt: skip
def test_markets_that_are_no_plain_files(folder, spec):
    limits = Limits(markets=folder)
    assert limits.market("good.csv") == str(folder / "good.csv")
    with pytest.raises(InputError, match="market "):
        limits.market(spec.format(folder=folder))


@pytest.mark.parametrize("name", ["fifo.csv", "several"])
def test_fifo_is_refused_before_it_is_opened(folder, name):
    with pytest.raises(InputError, match="not a regular file"):
        load_market(str(folder / name))


def test_market_replaced_by_fifo_fails_with_reason(start, folder):
    service = start("--markets", str(folder))
    blocked = service.submit("one", generations=1000).json()["id"]
    replaced = service.submit("two", market="good.csv").json()["id"]
    (folder / "good.csv").unlink()
    os.mkfifo(folder / "good.csv")
    next_one = service.submit("three", generations=2).json()["id"]
    assert service.http.delete(f"{service.url}/v1/evolutions/{blocked}", timeout=SECONDS).ok
    wait_until(
        lambda: service.get(f"/{next_one}")["state"] == "finished",
        seconds=SECONDS,
        what="the queue goes on",
    )
    found = service.get(f"/{replaced}")
    assert found["state"] == "failed"
    assert "not a regular file" in found["error"]
