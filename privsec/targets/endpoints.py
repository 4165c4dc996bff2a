"""Targets from JSON endpoints: batches, retries, a rate limit and a query budget."""

from __future__ import annotations

import email.utils
import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from privsec.core.access import Access
from privsec.core.errors import ConfigError
from privsec.core.target import Target
from privsec.targets.answers import FLOOR, Answers, TargetError
from privsec.targets.host import from_callable, listed

if TYPE_CHECKING:
    import requests

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""Status codes after which asking again may help."""
LONGEST_WAIT = 300.0
"""Seconds. An endpoint that asks for more patience than this ends the audit."""
MEANING = {
    401: "it lets nobody in without credentials, or not with these: check `headers`",
    403: "it forbids this with these credentials: check `headers`",
    404: "there is nothing at this address: check the URL's path",
    405: "it takes no POST requests: check the URL's path",
    400: "it does not understand the request: check `encode` and `shape`",
    422: "it does not understand the request: check `encode` and `shape`",
    413: "the request is too large: pass a smaller batch_size",
    429: "too many requests: pass `rate`, requests a second",
}


def from_url(
    url: str | Sequence[str],
    *,
    num_classes: int,
    shape: Sequence[int],
    answers: Answers = "probabilities",
    encode: str | Callable[[np.ndarray], Any] = "instances",
    decode: str | Callable[[Any], Any] = "predictions",
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
    retries: int = 5,
    backoff: float = 0.5,
    rate: float | None = None,
    batch_size: int = 256,
    budget: int | None = None,
    grants: Access | None = None,
    floor: float = FLOOR,
) -> Target:
    """The Target of a model behind an HTTP endpoint that takes and gives JSON; a list of addresses makes a stack.

    Without hooks a POST of `{"instances": [[...], ...]}` is answered by `{"predictions": [[...], ...]}`. Failures that
    may pass (no connection, no answer in time, a cut-off answer, status 408, 425, 429, 500, 502, 503, 504) are tried
    again after `backoff` seconds, doubled each time, with jitter, and not before a `Retry-After`. Redirects are not
    followed. Neither headers nor the URL's query are ever shown.

    Args:
        url: http or https.
        num_classes: C.
        shape: shape of one record.
        answers: what comes back.
        encode: the field that holds the records, dotted where it is nested; or a function from float32 [B, ...] to what
            is sent as JSON.
        decode: where the answers are: a dotted path, numbers index lists, "" for the whole body; or a function from the
            parsed JSON to the answers.
        headers: sent with each request, such as `{"Authorization": "Bearer ..."}`.
        timeout: seconds to wait for a connection, and for each piece of the answer.
        retries: how often one request is tried again.
        backoff: seconds before the first retry.
        rate: requests a second to one address, at most; None for no limit.
        batch_size: records of one request.
        budget: how many records may be asked about; None for no limit. A retry asks about the same records and is not
            charged again: the endpoint's own count may be higher.
        grants: the most that an attacker may ask, where that is less than the answers give.
        floor: what a smaller probability is taken to be; an endpoint that rounds to d digits cannot tell 0 from
            0.5 * 10**-d.

    Raises:
        ConfigError: an argument is wrong.
        TargetError: when asked: the endpoint refuses, fails for good, or its answer is not what was described.
        QueryBudgetExceeded: when asked: the budget does not suffice.
    """
    urls, stacked = listed(url)
    for one in urls:
        _check_url(one)
    if timeout <= 0 or retries < 0 or backoff < 0 or (rate is not None and rate <= 0):
        raise ConfigError("timeout and rate are positive, retries and backoff not negative")
    endpoints = [_Endpoint(one, encode, decode, dict(headers or {}), timeout, retries, backoff, rate) for one in urls]
    return from_callable(
        endpoints if stacked else endpoints[0],
        num_classes=num_classes,
        shape=shape,
        answers=answers,
        batch_size=batch_size,
        budget=budget,
        grants=grants,
        floor=floor,
    )


class _Transient(Exception):
    """A failure that may pass; `after` is how long the endpoint asks to be left alone."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(eq=False)
class _Endpoint:
    """float32 [B, ...] -> answers, by one POST and its retries."""

    url: str = field(repr=False)
    encode: str | Callable[[np.ndarray], Any]
    decode: str | Callable[[Any], Any]
    headers: dict[str, str] = field(repr=False)
    timeout: float
    retries: int
    backoff: float
    rate: float | None
    _session: requests.Session | None = field(default=None, repr=False)
    _next: float = field(default=0.0, repr=False)

    def __call__(self, x: np.ndarray) -> Any:
        body = self._body(x)
        for attempt in itertools.count():
            self._pace()
            try:
                return self._picked(self._asked(body))
            except _Transient as failure:
                wait = max(self.backoff * 2**attempt * random.uniform(0.5, 1.0), failure.after)
                if wait > LONGEST_WAIT:
                    raise self._error(f"{failure}. It asks to be left alone for {wait:.0f} s: try again then") from None
                if attempt == self.retries:
                    tried = f"{attempt + 1} times" if attempt else "once (retries=0)"
                    raise self._error(f"{failure}; tried {tried}") from None
            sleep(wait)

    def _body(self, x: np.ndarray) -> bytes:
        if not np.isfinite(x).all():
            raise TargetError("records with NaN or infinity cannot be sent as JSON: clean the records first")
        made: Any = x.tolist() if isinstance(self.encode, str) else self.encode(x)
        if isinstance(self.encode, str):
            for name in reversed(self.encode.split(".") if self.encode else []):
                made = {name: made}
        return json.dumps(made).encode()

    def _pace(self) -> None:
        if self.rate is not None:
            now = monotonic()
            sleep(max(self._next - now, 0.0))
            self._next = max(now, self._next) + 1 / self.rate

    def _asked(self, body: bytes) -> Any:
        """The parsed answer to one request."""
        import requests

        if self._session is None:
            self._session = requests.Session()
            self._session.auth = lambda request: request  # credentials are those of `headers`, never those of ~/.netrc
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self.headers}
        try:
            response = self._session.post(
                self.url, data=body, headers=headers, timeout=self.timeout, allow_redirects=False
            )
        # The library's own texts hold the whole URL: only the kind of failure is told.
        except requests.Timeout:
            raise _Transient(f"no answer within {self.timeout:g} s") from None
        except requests.exceptions.SSLError:
            raise self._error("its certificate is not trusted") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            raise _Transient("the connection failed or was cut off") from None
        except requests.RequestException as error:
            raise self._error(f"the request failed ({type(error).__name__})") from None
        status = response.status_code
        if not 200 <= status < 300:
            raise self._refusal(response)
        text = _text(response)
        if text.startswith("<"):
            raise self._error(f"an HTML page instead of JSON: {self._shown(text)}. A login page, or the wrong path?")
        try:
            return json.loads(text)
        except ValueError:
            raise _Transient(f"the answer is no complete JSON, it ends in {self._shown(text, -60)!r}") from None

    def _refusal(self, response: requests.Response) -> Exception:
        status = response.status_code
        why = MEANING.get(status, "")
        said = self._shown(_text(response))
        reason = f"status {status}" + (f", {why}" if why else "") + (f"; it says: {said}" if said else "")
        if status in TRANSIENT:
            return _Transient(reason, _seconds(response.headers.get("Retry-After", "")))
        if 300 <= status < 400:
            reason = f"status {status}, it sends us elsewhere: give the address it has moved to, if you trust it"
        return self._error(reason)

    def _picked(self, answer: Any) -> Any:
        """The model's answers out of the parsed JSON."""
        if not isinstance(self.decode, str):
            return self.decode(answer)
        for step in self.decode.split(".") if self.decode else []:
            try:
                answer = answer[int(step)] if isinstance(answer, list) else answer[step]
            except (KeyError, IndexError, TypeError, ValueError):
                has = (
                    f"the fields {', '.join(sorted(answer))}"
                    if isinstance(answer, dict)
                    else f"a {type(answer).__name__}"
                )
                raise self._error(
                    f"the JSON has no {self.decode!r}: there is {self._shown(has)} where {step!r} was sought. "
                    "Say by `decode` where the answers are"
                ) from None
        return answer

    def _error(self, reason: str) -> TargetError:
        return TargetError(f"{_place(self.url)}: {reason}")

    def _shown(self, said: str, length: int = 120) -> str:
        """The beginning of what the endpoint says (the end, if negative), without the secrets that it may repeat."""
        for value in (*self.headers.values(), *(value for _, value in parse_qsl(urlsplit(self.url).query))):
            for secret in (value, *value.split()):
                if len(secret) >= 4:
                    said = said.replace(secret, "[...]")
        said = " ".join(said.split())
        return said[length:] if length < 0 else said[:length]


def _text(response: requests.Response) -> str:
    return response.content.decode("utf-8", "replace").strip()


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"an endpoint's address begins with http:// or https://; got one of scheme {parts.scheme!r}")
    if parts.username or parts.password:
        raise ConfigError("leave user and password out of the address and put them into `headers`, which are not shown")


def _place(url: str) -> str:
    """The address without its query, which may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _seconds(retry_after: str) -> float:
    """What a Retry-After header asks for: seconds, or a date; 0 where it is neither."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        until = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)
