from __future__ import annotations

import email.utils
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from privsec.core.access import Access
from privsec.core.errors import ConfigError, QueryBudgetExceeded
from privsec.core.signals import SIGNALS
from privsec.targets import TargetError, endpoints, from_url
from tests.oracles import training as oracle

KERNEL = np.random.default_rng(2).normal(size=(5, 3))
TOKEN = "s3cret-token"


def scores(x) -> np.ndarray:
    return np.exp(oracle.log_softmax(np.asarray(x, np.float64) @ KERNEL))


class Server(ThreadingHTTPServer):
    """Answers each request by the next of `script`, the last one again and again; keeps what it was sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.requests = [normal], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/model/predict?key=QUERYKEY"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self):
        self.server.requests.append((self.headers, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        step = min(len(self.server.requests), len(self.server.script)) - 1
        self.server.script[step](self)

    def answer(self, body, status=200, **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def normal(handler):
    handler.answer({"predictions": scores(handler.server.requests[-1][1]["instances"]).tolist()})


def fails(status, body=b"", **headers):
    return lambda handler: handler.answer(body, status, **headers)


def says(body):
    return lambda handler: handler.answer(body)


def cut_off(handler):
    handler.answer(b'{"predictions": [[0.1,', Content_Length="500")
    handler.close_connection = True


def slow(handler):
    time.sleep(0.5)
    handler.answer({"predictions": []})


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def waited(monkeypatch) -> list[float]:
    """The seconds that were waited; nobody really waits."""
    seconds = []
    monkeypatch.setattr(endpoints, "sleep", seconds.append)
    return seconds


def made(server, **options):
    return from_url(
        server.url, **{"num_classes": 3, "shape": (5,), "headers": {"Authorization": f"Bearer {TOKEN}"}, **options}
    )


def test_signals_are_those_of_its_answers_and_every_record_is_sent_once(server, examples):
    target = made(server, batch_size=10)
    assert target.grants is Access.SCORES
    recorded = target.record(examples)
    sent = [request["instances"] for _, request in server.requests]
    assert [len(part) for part in sent] == [10, 10, 3] and target.spent == 23
    np.testing.assert_array_equal(np.concatenate(sent).astype(np.float32), examples.x)
    assert server.requests[0][0]["Authorization"] == f"Bearer {TOKEN}"
    expected = oracle.signals(examples.x @ KERNEL, examples.y)
    for name in SIGNALS:
        np.testing.assert_allclose(recorded.observe(examples, name)[0], expected[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("encode", "decode", "answers", "script"),
    [
        (
            "inputs.0.rows",
            "outputs.1.data",
            "logits",
            lambda r: {"outputs": [{}, {"data": (r["inputs"]["0"]["rows"] @ KERNEL).tolist()}]},
        ),
        ("", "", "labels", lambda r: (r @ KERNEL).argmax(1).tolist()),
        (
            lambda x: {"csv": "\n".join(",".join(map(str, row)) for row in x.tolist())},
            lambda body: [[row[name] for name in "abc"] for row in body],
            "probabilities",
            lambda r: [
                dict(zip("abc", scores([float(v) for v in line.split(",")]), strict=True)) for line in r["csv"].split()
            ],
        ),
    ],
    ids=["paths", "whole body", "functions"],
)
def test_other_formats(server, examples, encode, decode, answers, script):
    server.script = [lambda handler: handler.answer(script(server.requests[-1][1]))]
    target = made(server, encode=encode, decode=decode, answers=answers)
    np.testing.assert_array_equal(target.labels(examples.x), (examples.x @ KERNEL).argmax(1))


@pytest.mark.parametrize(
    "trouble",
    [fails(500), fails(502), fails(429), says(b'{"predictions": [[0.1, 0.'), cut_off],
    ids=["500", "502", "429", "half a JSON", "cut off"],
)
def test_what_passes_is_tried_again_after_growing_waits(server, examples, waited, trouble):
    server.script = [trouble] * 4 + [normal]
    target = made(server, backoff=1.0)
    np.testing.assert_allclose(target.scores(examples.x), scores(examples.x), atol=1e-6)
    assert len(server.requests) == 5 and target.spent == 23  # retries are not charged
    assert all(0.5 * 2**k <= wait <= 2**k for k, wait in enumerate(waited)) and len(waited) == 4


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honored(server, examples, waited, date):
    after = email.utils.formatdate(time.time() + 20, usegmt=True) if date else "20"
    server.script = [fails(429, Retry_After=after), fails(503, Retry_After="soon"), normal]
    made(server, backoff=0.001).labels(examples.x)
    assert 18 <= waited[0] <= 20 and waited[1] < 0.01


def test_an_endpoint_that_wants_to_be_left_alone_for_long_is(server, examples, waited):
    server.script = [fails(429, Retry_After="86400")]
    with pytest.raises(TargetError, match="left alone for 86400 s"):
        made(server).labels(examples.x)
    assert len(server.requests) == 1 and not waited


ENDS = {
    "401": (fails(401), "status 401, .*check `headers`", 1),
    "403": (fails(403, b'{"error": "no scope"}'), "status 403, .*`headers`; it says: .*no scope", 1),
    "404": (fails(404), "status 404, .*check the URL's path", 1),
    "400": (fails(400, b"wants 7 columns"), "check `encode` and `shape`; it says: wants 7 columns", 1),
    "413": (fails(413), "smaller batch_size", 1),
    "418": (fails(418, b"a teapot"), "status 418; it says: a teapot", 1),
    "302": (fails(302, Location="http://elsewhere.example/"), "sends us elsewhere", 1),
    "429 for good": (fails(429), "status 429, too many requests: pass `rate`.*; tried 3 times", 3),
    "500 for good": (fails(500, b"Traceback: boom"), "status 500; it says: Traceback: boom; tried 3 times", 3),
    "half a JSON": (says(b'{"predictions": [[0.25, 0.2'), r"no complete JSON, it ends in .*0\.25, 0\.2'; tried 3", 3),
    "cut off": (cut_off, "failed or was cut off; tried 3 times", 3),
    "nothing": (says(b""), "no complete JSON", 3),
    "HTML": (says(b"<!doctype html><h1>Sign in</h1>"), "HTML page instead of JSON: .*Sign in", 1),
    "other fields": (says({"error": "no model"}), "no 'predictions': there is the fields error", 1),
    "a list": (says([1, 2]), "there is a list where 'predictions' was sought", 1),
    "too few rows": (says({"predictions": [[0.2, 0.3, 0.5]]}), "asked about 23 records", 1),
    "too few classes": (says({"predictions": [[0.5, 0.5]] * 23}), "num_classes", 1),
    "NaN": (says({"predictions": [[0.2, 0.3, float("nan")]] * 23}), "record 0 holds nan", 1),
    "null": (says({"predictions": None}), "asked about 23 records|cannot be read", 1),
    "logits": (says({"predictions": [[-2.0, 3.0, 9.0]] * 23}), "pass answers='logits'", 1),
}


@pytest.mark.parametrize("case", ENDS)
def test_what_does_not_pass_is_told(server, examples, waited, case):
    script, message, requests = ENDS[case]
    server.script = [script]
    with pytest.raises(TargetError, match=message):
        made(server, retries=2).labels(examples.x)
    assert len(server.requests) == requests and len(waited) == requests - 1


def test_no_answer_in_time_and_nobody_there(server, examples, waited):
    server.script = [slow]
    with pytest.raises(TargetError, match=r"/model/predict: no answer within 0\.05 s; tried 2 times"):
        made(server, timeout=0.05, retries=1).labels(examples.x)
    with pytest.raises(TargetError, match="connection failed"):
        from_url("http://127.0.0.1:9/x", num_classes=3, shape=(5,), retries=0).labels(examples.x)


def test_secrets_are_never_shown(server, examples, waited):
    """Neither by an error, nor where the endpoint repeats them, nor by repr."""

    def repeats(handler):
        handler.answer(f"{handler.path} {handler.headers['Authorization']} {TOKEN}!".encode(), 400)

    shown = [repr(made(server))]
    for script in (repeats, fails(500), says(f'{{"x": "{TOKEN}'.encode()), says({TOKEN: 1}), cut_off, slow):
        server.script = [script]
        with pytest.raises(TargetError) as info:
            made(server, retries=0, timeout=0.1).labels(examples.x)
        assert info.value.__suppress_context__ or info.value.__context__ is None
        shown.append(str(info.value))
    assert "127.0.0.1" in shown[1] and "[...]" in shown[1]
    assert not any(secret in text for text in shown for secret in (TOKEN, "QUERYKEY"))


def test_credentials_of_the_machine_are_not_sent(server, examples, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    made(server).labels(examples.x)
    made(server, headers=None).labels(examples.x)
    assert [headers["Authorization"] for headers, _ in server.requests] == [f"Bearer {TOKEN}", None]


def test_the_rate_is_kept(server, examples, monkeypatch):
    now, waited = [100.0], []

    def sleep(seconds):
        waited.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(endpoints, "sleep", sleep)
    monkeypatch.setattr(endpoints, "monotonic", lambda: now[0])
    made(server, rate=4.0, batch_size=5).labels(examples.x)
    np.testing.assert_allclose(waited, [0, 0.25, 0.25, 0.25, 0.25])


def test_a_budget_stops_before_anything_is_sent(server, examples):
    with pytest.raises(QueryBudgetExceeded):
        made(server, budget=22).labels(examples.x)
    assert not server.requests


def test_several_addresses_are_a_stack(server, examples):
    target = from_url([server.url, server.url], num_classes=3, shape=(5,))
    assert target.size == 2
    np.testing.assert_allclose(target.scores(examples.x)[1], scores(examples.x), atol=1e-6)


def test_records_that_are_no_numbers_are_not_sent(server, examples):
    with pytest.raises(TargetError, match="cannot be sent as JSON"):
        made(server).labels(np.full((1, 5), np.nan, np.float32))
    assert not server.requests


@pytest.mark.parametrize("url", ["ftp://host/model", "file:///etc/passwd", "host/model", "https:///model"])
def test_only_http_is_spoken(url):
    with pytest.raises(ConfigError, match="begins with http"):
        from_url(url, num_classes=3, shape=(5,))


def test_wrong_arguments():
    with pytest.raises(ConfigError, match="out of the address") as info:
        from_url("https://me:mine@host/model", num_classes=3, shape=(5,))
    assert "mine" not in str(info.value)
    with pytest.raises(ConfigError, match="positive"):
        from_url("https://host/model", num_classes=3, shape=(5,), timeout=0)
