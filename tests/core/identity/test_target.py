"""A proof's address names the called one: same resource, and nothing beside it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity.target import URL_CHARS_MAX, Target, names_target, origin_of

HOME = Target(
    "GET", frozenset({"https://broker.example", "http://127.0.0.1:8400"}), "/v1/a%2Fb"
)
segments = st.text(
    alphabet="abcXYZ019-_~.%!$&'()*+,;=:@", min_size=1, max_size=8
).filter(lambda s: "%" not in s and s not in {".", ".."})
paths = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(paths)
def test_the_address_that_was_called_is_recognised_in_every_equal_writing(path):
    target = Target("GET", frozenset({"https://broker.example"}), path)
    for htu in (
        f"https://broker.example{path}",
        f"HTTPS://BROKER.example:443{path}",
        f"https://broker.example{path}?query=1#fragment",
        "https://broker.example" + path.replace("a", "%61"),
    ):
        assert names_target(htu, target)


@given(paths, paths)
def test_another_path_is_another_address(called, claimed):
    target = Target("GET", frozenset({"https://broker.example"}), called)
    same = called == claimed
    assert names_target(f"https://broker.example{claimed}", target) is same


@pytest.mark.parametrize(
    "htu",
    [
        "https://broker.example/v1/a%2fb",
        "https://broker.example:443/v1/a%2Fb",
        "https://broker.example:0443/v1/%61%2Fb",
        "http://127.0.0.1:8400/v1/a%2Fb?x=/../y",
    ],
)
def test_normal_forms_compare_equal(htu):
    assert names_target(htu, HOME)


@pytest.mark.parametrize(
    "htu",
    [
        "http://broker.example/v1/a%2Fb",
        "https://broker.example:8443/v1/a%2Fb",
        "https://evil.example/v1/a%2Fb",
        "https://broker.example.evil.example/v1/a%2Fb",
        "https://broker.example@evil.example/v1/a%2Fb",
        "https://user@broker.example/v1/a%2Fb",
        "https://user:pass@broker.example/v1/a%2Fb",
        "https://broker.example/v1/a/b",
        "https://broker.example/V1/a%2Fb",
        "https://broker.example/v1/a%2Fb/",
        "https://broker.example//v1/a%2Fb",
        "https://broker.example/v1/./a%2Fb",
        "https://broker.example/v1/x/../a%2Fb",
        "https://broker.example/v1/%2e%2e/v1/a%2Fb",
        "https://broker.example/v1/a%2Fb%",
        "https://broker.example/v1/a%2Fb\n",
        "https://broker.example/v1/a\t%2Fb",
        "https://broker.example\\@evil.example/v1/a%2Fb",
        "//broker.example/v1/a%2Fb",
        "/v1/a%2Fb",
        "ftp://broker.example/v1/a%2Fb",
        "https:///v1/a%2Fb",
        "https://broker.example",
        "https://brok\u0435r.example/v1/a%2Fb",
        "",
    ],
)
def test_another_address_is_not_taken_for_ours(htu):
    assert not names_target(htu, HOME)


def test_a_request_line_with_dot_segments_matches_no_proof():
    target = Target("GET", HOME.origins, "/v1/../v1/tools")
    assert not names_target("https://broker.example/v1/../v1/tools", target)


def test_an_address_at_the_length_limit_is_read_and_a_longer_one_is_not():
    base = "https://broker.example/"
    longest = base + "a" * (URL_CHARS_MAX - len(base))
    target = Target("GET", HOME.origins, longest.removeprefix(base[:-1]))
    assert names_target(longest, target)
    target = Target("GET", HOME.origins, target.path + "a")
    assert not names_target(longest + "a", target)


@pytest.mark.parametrize(
    "path", ["/v1/a%", "/v1/a%2", "/v1/a%zz", "/v1/\u00e4", "/a b"]
)
def test_a_request_line_that_is_no_path_matches_no_proof(path):
    target = Target("GET", HOME.origins, path)
    assert not names_target(f"https://broker.example{path}", target)


@given(st.text(max_size=60))
def test_no_text_breaks_the_comparison(text):
    assert names_target(text, HOME) in {True, False}
    assert names_target("https://broker.example" + text, HOME) in {True, False}


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("HTTPS://Broker.Example:443/x", "https://broker.example"),
        ("http://127.0.0.1:8400", "http://127.0.0.1:8400"),
        ("http://[::1]:8400/", "http://[::1]:8400"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_an_origin_has_one_form(url, origin):
    assert origin_of(url) == origin


def test_an_origin_needs_a_host():
    with pytest.raises(ValueError, match="host"):
        origin_of("http://user@host/")
