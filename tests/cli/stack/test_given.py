"""What the caller runs elsewhere is read from the environment, passwords apart."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from broker.cli.stack.planning.given import Given, as_role, given_by, split_password

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@given(password=words)
def test_a_password_is_taken_out_of_a_url_and_given_back_whole(password: str) -> None:
    url = f"postgresql://someone:{quote(password, safe='')}@db.example:5432/shop?x=1"
    bare, found = split_password(url)
    assert bare == "postgresql://someone@db.example:5432/shop?x=1"
    assert found == password


@given(password=words)
def test_a_password_in_the_query_is_taken_out_too(password: str) -> None:
    url = f"unix:///run/redis.sock?password={quote(password, safe='')}&db=0"
    assert split_password(url) == ("unix:///run/redis.sock?db=0", password)


def test_a_url_without_a_password_stays_as_it_is() -> None:
    for url in ("", "postgresql://u@h/d?host=%2Frun%2Fpg", "redis://h:6379/0"):
        assert split_password(url) == (url, "")


def test_a_url_is_rewritten_for_another_role() -> None:
    url = "postgresql://admin@db.example:5432/shop?sslmode=require"
    assert as_role(url, "cf_edge") == url.replace("admin@", "cf_edge@")
    assert as_role("postgresql://h/d", "cf_edge") == "postgresql://cf_edge@h/d"


def test_a_password_may_come_from_a_file(tmp_path) -> None:
    file = tmp_path / "password"
    file.write_text("from a file\n")
    found = given_by(
        {
            "COUNTERFOIL_DATABASE_URL": "postgresql://admin@h/d",
            "COUNTERFOIL_DATABASE_PASSWORD_FILE": str(file),
        }
    )
    assert found.database_url == "postgresql://admin@h/d"
    assert found.database_password == "from a file"


def test_an_empty_environment_gives_nothing() -> None:
    assert given_by({"PATH": "/bin"}) == Given()
