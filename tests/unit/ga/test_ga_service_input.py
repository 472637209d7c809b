"""What the service takes: bodies, names of markets and hosts, methods, pages, tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ga.errors import InputError
from ga.service.limits import Limits
from ga.service.tokens import Audit, Holder, Tokens, parse_tokens
from tests.support.service_app import GOOD, TOKEN, Service
from tests.support.waiting import wait_until

ROLES = {"read": "r" * 20, "submit": "s" * 20, "admin": "a" * 20}
Make = Callable[..., Service]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Service] = []

    def begin(**options: object) -> Service:
        made.append(Service(tmp_path, **{"queued": 100, **options}))
        return made[-1]

    yield begin
    for one in made:
        one.http.close()
        one.ledger.close()


@pytest.fixture
def service(make: Make) -> Service:
    return make()


def post(service: Service, body: bytes, key: str = "k"):
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    return service.http.post("/v1/evolutions", content=body, headers=headers)


PLAIN = json.dumps(GOOD)


@pytest.mark.parametrize(
    "body",
    [
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-32"),
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace("{", '{"seed": 1, "seed": 2, ', 1).encode(),
        PLAIN.replace("{", '{"market": "eurusd", ', 1).encode(),
        PLAIN.replace("{", '{"fee": NaN, ', 1).encode(),
        PLAIN.replace("{", '{"fee": -Infinity, ', 1).encode(),
        PLAIN.replace("{", '{"seed": 1, "s\\u0065ed": 1, ', 1).encode(),
        PLAIN.encode() + b"\xff",
    ],
)
def test_ambiguous_json_is_refused(service, body):
    answer = post(service, body)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert service.store.newest(10) == []


def test_plain_json_is_accepted(service):
    assert post(service, PLAIN.encode()).status_code == 202


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize(
    "market",
    [
        "hyperliquid:../../etc/passwd",
        "hyperliquid:BTC,interval=../../x",
        "hyperliquid:BTC,interval=",
        "hyperliquid:",
        "hyperliquid:BTC+BTC",
        "hyperliquid:BTC,url=http://169.254.169.254/",
        "hyperliquid:B%2f",
        "hyperliquid",
    ],
)
def test_invalid_download_is_refused(make, market, enabled):
    answer = make(hyperliquid=enabled).submit(market=market)
    assert answer.status_code == 422
    assert "market" in answer.json()["detail"]


def test_downloads_are_off_unless_enabled(make):
    market = "hyperliquid:BTC+ETH,interval=1h"
    assert make().submit(market=market).status_code == 422
    assert make(hyperliquid=True).submit(market=market).status_code == 202


@given(
    st.lists(
        st.sampled_from(["..", ".", "", "x.csv", "deep", "/", "~", "%2e%2e", "\\", "a b"]),
        min_size=1,
        max_size=5,
    )
)
def test_market_names_never_leave_their_folder(tmp_path_factory, parts):
    folder = tmp_path_factory.getbasetemp() / "markets"
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    for file in (folder / "x.csv", folder / "deep" / "x.csv", folder.parent / "x.csv"):
        file.touch()
    spec = "/".join(parts)
    try:
        found = Limits(markets=folder).market(spec)
    except InputError:
        return
    assert set(parts) <= {"x.csv", "deep"}
    assert Path(found) == folder.resolve() / spec


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("10.1.2.3", True),
        ("ours", True),
        ("ours.:80", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[evil]", False),
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/v1/evolutions", "/nosuch"])
def test_only_known_hosts_are_served(make, host, known, path):
    service = make(hosts=["ours"])
    answer = service.http.get(path, headers={"Host": host})
    assert (answer.status_code != 421) == known
    if not known:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/healthz", "/v1/evolutions", "/nosuch", "/v1/evolutions/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE"])
def test_every_answer_has_security_headers(service, method, path):
    answer = service.http.request(method, path, follow_redirects=False)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers


def test_head_answers_like_get_without_body(service):
    run = service.submit().json()["id"]
    for path in ("/healthz", "/v1/evolutions", "/nosuch", f"/v1/evolutions/{run}", "/openapi.json"):
        get, head = service.http.get(path), service.http.head(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers == get.headers
    # The evolution does not end; this does.
    stream = service.http.head(f"/v1/evolutions/{run}/events")
    assert (stream.status_code, stream.content) == (200, b"")
    assert stream.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/evolutions", "GET, HEAD, OPTIONS, POST"),
        ("/v1/evolutions/0123456789ab", "DELETE, GET, HEAD, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_name_the_methods_of_path(service, path, allowed):
    answer = service.http.options(path)
    assert (answer.status_code, answer.headers["allow"]) == (204, allowed)
    assert service.http.options("/nosuch").status_code == 404


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/v1/evolutions/", "/v1/evolutions"),
        ("/v1/evolutions/?limit=2", "/v1/evolutions?limit=2"),
        ("//evil.example/", "/evil.example"),
        ("/%0d%0aSet-Cookie:x/", "/%0d%0aSet-Cookie:x"),
    ],
)
def test_last_slash_is_redirected_within_service(service, path, where):
    answer = service.http.get("http://testserver" + path, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (308, where)


def test_operations_have_stable_distinct_ids(service):
    paths = service.http.get("/openapi.json").json()["paths"]
    ids = [one["operationId"] for path in paths.values() for one in path.values()]
    assert sorted(ids) == [
        "cancelEvolution", "getEvolution", "getHealth", "getMetrics", "getReadiness",
        "getStrategy", "listAudit", "listEvolutions", "listStrategies", "submitEvolution",
        "watchEvolution",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_pages_show_each_evolution_once(service, size, monkeypatch):
    # Several at the same time: the run decides their order.
    monkeypatch.setattr(
        "ga.service.job_store.time.time", iter([1.5, 2.5, 2.5, 2.5, 3.25] * 9).__next__
    )
    runs = {service.submit(str(n)).json()["id"] for n in range(10)}
    seen: list[str] = []
    after = {}
    while True:
        page = service.http.get("/v1/evolutions", params={"limit": size, **after}).json()
        seen += [one["id"] for one in page["evolutions"]]
        assert len(page["evolutions"]) <= size
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert len(seen) == len(set(seen)) == 10
    assert set(seen) == runs
    times = [service.store.get(run).created_at for run in seen]
    assert times == sorted(times, reverse=True)


def test_list_is_filtered(service):
    one = service.submit("one").json()["id"]
    other = service.submit("other", market="synthetic:bars=700").json()
    service.store.move(one, "finished")

    def listed(**query: object) -> list[str]:
        answer = service.http.get("/v1/evolutions", params=query)
        assert answer.status_code == 200, answer.text
        return [found["id"] for found in answer.json()["evolutions"]]

    assert listed(market="synthetic:bars=700") == [other["id"]]
    assert listed(market="synthetic:bars=700", state="finished") == []
    assert listed(since=other["created_at"]) == [other["id"]]
    assert listed(since=0) == [other["id"], one]
    for bad in ({"after": "x"}, {"since": "nan"}, {"market": "a b"}, {"page": 2}):
        assert service.http.get("/v1/evolutions", params=bad).status_code == 422


LIST = "\n".join(["# name role token", *(f"{role}er {role} {ROLES[role]}" for role in ROLES), ""])


def asked(service: Service, role: str, method: str, path: str) -> int:
    headers = {"Authorization": f"Bearer {ROLES[role]}", "Idempotency-Key": role}
    body = {"json": GOOD} if method == "POST" else {}
    return service.http.request(method, path, headers=headers, **body).status_code


def test_roles_allow_what_they_include(make):
    service = make(token=Tokens(LIST))
    unknown = "/v1/evolutions/0123456789ab"
    found = {
        role: [
            asked(service, role, "GET", "/v1/evolutions"),
            asked(service, role, "GET", "/metrics"),
            asked(service, role, "POST", "/v1/evolutions"),
            asked(service, role, "DELETE", unknown),
            asked(service, role, "GET", "/v1/audit"),
        ]
        for role in ROLES
    }
    assert found == {
        "read": [200, 200, 403, 403, 403],
        "submit": [200, 200, 202, 404, 403],
        "admin": [200, 200, 202, 404, 200],
    }
    headers = {"Authorization": f"Bearer {ROLES['admin']}"}
    entries = service.http.get("/v1/audit", headers=headers).json()["entries"]
    assert [(one["token"], one["method"], one["outcome"]) for one in reversed(entries)] == [
        ("reader", "POST", "forbidden"),
        ("reader", "DELETE", "forbidden"),
        ("reader", "GET", "forbidden"),
        ("submiter", "POST", "done"),
        ("submiter", "DELETE", 404),
        ("submiter", "GET", "forbidden"),
        ("adminer", "POST", "done"),
        ("adminer", "DELETE", 404),
        ("adminer", "GET", "done"),
    ]
    accepted = [one["run"] for one in entries if one["method"] == "POST" and one["run"]]
    assert sorted(accepted) == sorted(job.run for job in service.store.newest(10))
    assert not any(token in json.dumps(entries) for token in ROLES.values())


def test_refused_plan_is_no_done_change(service):
    assert service.submit(population_size=0).status_code == 422
    assert service.submit(market="nosuch.csv").status_code == 422
    entries = service.http.get("/v1/audit").json()["entries"]
    assert [one["outcome"] for one in entries] == [422, 422]


def test_audit_file_gets_every_entry(tmp_path):
    file = tmp_path / "audit"
    for number in range(2):
        Audit(file).add(token="t", outcome=number)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["outcome"] for line in lines] == [0, 1]
    with pytest.raises(InputError, match=r"--audit .* cannot be written"):
        Audit(tmp_path / "none" / "audit")


def test_full_audit_file_is_reported_once():
    said: list[str] = []
    audit = Audit(Path("/dev/full"), said.append)
    for _ in range(3):
        audit.add(token="t")
    assert len(said) == 1
    assert len(audit.newest(10)) == 3


def test_changed_token_file_is_read_again(tmp_path):
    file, said = tmp_path / "tokens", []
    file.write_text(LIST)
    tokens = Tokens(LIST, file=file, say=said.append)
    new = "n" * 20

    def replace(text: str) -> None:
        draft = tmp_path / "draft"
        draft.write_text(text)
        os.replace(draft, file)

    replace(f"next read {new}")
    wait_until(lambda: tokens.holder(new), seconds=60, what="the new token is known")
    assert tokens.holder(ROLES["admin"]) is None
    replace("broken\nfile")
    wait_until(
        lambda: tokens.holder(new) and len(said) == 2, seconds=60, what="the damage is reported"
    )
    assert tokens.holder(new).role == "read"
    assert new not in "".join(said)


@pytest.mark.parametrize(
    "text",
    ["", "# none", "short", f"a b {TOKEN}", f"a read {TOKEN}\na read {TOKEN}x", "a read short",
     f"a read {TOKEN}\nb read {TOKEN}", f"a read {TOKEN} more", f"{TOKEN}\n{TOKEN}x"],
)  # fmt: skip
def test_invalid_token_lists_are_refused(text):
    with pytest.raises(InputError, match=r"^file: ") as refused:
        parse_tokens(text, "file")
    assert TOKEN not in str(refused.value)


def test_rate_limit_is_per_token(make, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("ga.service.tokens.time.monotonic", lambda: now[0])
    service = make(token=Tokens(LIST), request_rate=3)
    assert [asked(service, "read", "GET", "/v1/evolutions") for _ in range(5)] == [200] * 3 + [
        429
    ] * 2
    assert asked(service, "admin", "GET", "/v1/evolutions") == 200
    now[0] += 0.5
    assert [asked(service, "read", "GET", "/v1/evolutions") for _ in range(2)] == [200, 429]


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 20))
def test_rate_limit_admits_at_most_its_rate(gaps, rate):
    holder, now, admitted = Holder("a", "read"), 0.0, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ga.service.tokens.time.monotonic", lambda: now)
        for gap in gaps:
            now += gap
            if holder.admitted(rate):
                admitted.append(now)
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            # A second's worth at once, and the rate after it.
            assert last - first + 1 <= rate + (admitted[last] - start) * rate + 1e-6
