"""Problems: every error leaves with its own code, and none with what is ours alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI, Query

from broker.api import problems
from broker.core.words import errors
from broker.core.words.errors import BrokerError, NonceNeededError, RateLimitedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ISSUER = "http://broker.test"
SECRET = "password=hunter2"


def tree(kind: type[BrokerError] = BrokerError) -> list[type[BrokerError]]:
    """Return every class of the error tree."""
    below = [one for sub in kind.__subclasses__() for one in tree(sub)]
    ours = [one for one in [kind, *below] if one.__module__ == errors.__name__]
    return list(dict.fromkeys(ours))


def raised(name: str) -> Exception:
    """Return the error that a test asks for by name."""
    if name == "ours":
        return RuntimeError(SECRET)
    if name == "NonceNeededError":
        return NonceNeededError("what happened", nonce="n1")
    if name == "told":
        return RateLimitedError(
            "slow", retry_after_s=7, headers={"RateLimit": '"a";r=0'}
        )
    kind: type[BrokerError] = getattr(errors, name)
    return kind("what happened", hint="do this", pointer="/a")


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.state.issuer = ISSUER

    @app.get("/raise/{name}")
    async def endpoint(name: str) -> None:
        raise raised(name)

    @app.get("/query")
    async def query(limit: Annotated[int, Query(le=9)]) -> int:
        return limit

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
        yield client


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
async def test_every_error_becomes_a_problem_with_its_own_code(http, kind) -> None:
    answer = await http.get(f"/raise/{kind.__name__}")
    problem = answer.json()
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert answer.status_code == problem["status"] == kind.status
    assert problem["code"] == kind.code
    assert problem["type"] == f"/errors/{kind.code}"
    assert problem["title"] == kind.title
    assert problem["detail"] == "what happened"
    assert problem["hint"]


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
async def test_a_401_says_how_to_get_in_and_nothing_else_does(http, kind) -> None:
    answer = await http.get(f"/raise/{kind.__name__}")
    challenge = answer.headers.get("www-authenticate", "")
    assert bool(challenge) is (kind.status == 401)
    if challenge:
        assert challenge.startswith("DPoP ")
        assert f'"{ISSUER}/.well-known/oauth-protected-resource"' in challenge


async def test_a_nonce_travels_in_its_header(http) -> None:
    answer = await http.get("/raise/NonceNeededError")
    assert answer.headers["dpop-nonce"] == "n1"


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
async def test_what_may_pass_later_says_when(http, kind) -> None:
    answer = await http.get(f"/raise/{kind.__name__}")
    assert ("retry-after" in answer.headers) is (kind.status in {429, 503})


async def test_an_errors_own_headers_and_seconds_are_kept(http) -> None:
    answer = await http.get("/raise/told")
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["ratelimit"] == '"a";r=0'


async def test_our_own_mistake_is_a_500_without_its_text(http) -> None:
    answer = await http.get("/raise/ours")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert answer.json()["code"] == "broker-error"
    assert SECRET not in answer.text
    assert "RuntimeError" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/none", 404, "not-found"), ("PUT", "/query", 405, "malformed")],
)
async def test_a_wrong_path_or_method_is_a_problem_too(
    http, method, path, status, code
) -> None:
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == problems.MEDIA_TYPE


@pytest.mark.parametrize("query", ["", "limit=10", "limit=4111-1111"])
async def test_a_wrong_query_is_an_invalid_field_and_its_value_is_not_repeated(
    http, query
) -> None:
    answer = await http.get(f"/query?{query}")
    problem = answer.json()
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert (answer.status_code, problem["code"]) == (422, "invalid")
    assert problem["pointer"] == "/query/limit"
    assert "4111" not in answer.text
