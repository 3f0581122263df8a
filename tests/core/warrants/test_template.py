"""Templates: a request follows from the decision, and from nothing else."""

import copy
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.core.warrants.template import (
    FORM_FIELDS_MAX,
    TEMPLATE_DEPTH_MAX,
    Filling,
    TemplateError,
    check_form,
    check_path,
    difference,
    fill_body,
    fill_form,
    fill_path,
    fill_query,
    form_difference,
    places,
)

ACTION = "0198c0de-0000-7000-8000-000000000001"


def filling(customer: str = "c_1", **arguments: object) -> Filling:
    return Filling(arguments, customer=customer, action=ACTION)


texts = st.text(max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=texts | st.integers())
def test_a_value_fills_exactly_one_path_segment_or_is_refused(value) -> None:
    try:
        path = fill_path("/orders/{args.id}/refunds", filling(id=value))
    except TemplateError:
        return
    head, segment, tail = path[1:].split("/")
    assert (head, tail) == ("orders", "refunds")
    assert unquote(segment, errors="strict") == str(value)
    assert segment not in {"", ".", ".."}
    assert path.isascii()
    assert not set(path) & set(" ?#\\;\r\n")


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        "../admin",
        "a/b",
        "a\\b",
        "%2e%2e",
        "%2F",
        "a%00",
        "a\x00",
        "a;b",
        "a?b=c",
        "a#b",
        "a\r\nHost: x",
        "\x85",
        "\ud800",
        True,
        None,
        1.0,
        ["a"],
        {"a": 1},
    ],
)
def test_a_value_that_could_change_the_path_is_refused(value) -> None:
    with pytest.raises(TemplateError) as caught:
        fill_path("/orders/{args.id}", filling(id=value))
    assert "admin" not in str(caught.value)


def test_a_path_needs_its_argument_and_its_customer() -> None:
    with pytest.raises(TemplateError):
        fill_path("/orders/{args.id}", filling())
    with pytest.raises(TemplateError, match="customer"):
        fill_path("/customers/{customer}", filling(customer=""))


def test_dots_from_two_values_make_no_dot_segment() -> None:
    with pytest.raises(TemplateError, match="dot segment"):
        fill_path("/a/{args.x}{args.y}", filling(x=".", y="."))
    assert fill_path("/a/{args.x}-{args.y}", filling(x=".", y=".")) == "/a/.-."


@given(value=texts | st.integers(), other=texts)
def test_a_query_value_stays_one_value(value, other) -> None:
    assume("\r" not in f"{value}{other}")
    try:
        pairs = fill_query(
            {"q": "{args.q}", "o": "x{args.o}"}, filling(q=value, o=other)
        )
    except TemplateError:
        return
    read = parse_qsl("&".join(pairs), keep_blank_values=True, strict_parsing=True)
    assert sorted(read) == sorted([("q", str(value)), ("o", f"x{other}")])
    assert list(pairs) == sorted(pairs)


def test_an_absent_argument_drops_its_query_field() -> None:
    assert fill_query({"a": "{args.a}", "b": "{args.b}"}, filling(b=1)) == ("b=1",)


@pytest.mark.parametrize("value", ["a\nb", "\x00", True, None, 1.5, []])
def test_a_query_value_of_another_kind_is_refused(value) -> None:
    with pytest.raises(TemplateError):
        fill_query({"a": "{args.a}"}, filling(a=value))


@given(value=values)
def test_a_whole_place_keeps_the_value_and_its_type(value) -> None:
    body = fill_body({"v": "{args.v}"}, filling(v=value))
    assert difference(body, {"v": value}) is None


def test_an_absent_argument_drops_its_body_field() -> None:
    template = {"a": "{args.a}", "b": {"c": "{args.c}", "d": "note {args.c}"}}
    assert fill_body(template, filling(a=1)) == {"a": 1, "b": {}}
    assert fill_body(template, filling(a=None)) == {"a": None, "b": {}}


def test_an_absent_customer_is_an_error_and_no_dropped_field() -> None:
    with pytest.raises(TemplateError, match="customer"):
        fill_body({"customer": "{customer}"}, filling(customer=""))


def test_an_absent_body_is_an_error() -> None:
    with pytest.raises(TemplateError, match="whole body"):
        fill_body("{args.a}", filling())


def test_an_absent_element_of_a_list_is_an_error() -> None:
    with pytest.raises(TemplateError, match="list"):
        fill_body({"a": ["{args.a}"]}, filling())


@pytest.mark.parametrize("value", [True, None, 1.5, [1], {"a": 1}])
def test_only_strings_and_integers_stand_inside_text(value) -> None:
    with pytest.raises(TemplateError):
        fill_body({"a": "x {args.a}"}, filling(a=value))


def test_a_value_that_looks_like_a_place_is_not_filled_again() -> None:
    arguments = filling(a="{customer}", b="{args.a}")
    assert fill_body({"a": "-{args.a}{args.b}"}, arguments) == {
        "a": "-{customer}{args.a}"
    }


def test_all_places_fill() -> None:
    body = fill_body({"a": "{customer}", "b": ["{action}", 1, None]}, filling())
    assert body == {"a": "c_1", "b": [ACTION, 1, None]}


@pytest.mark.parametrize(
    "template",
    ["{", "}", "{args}", "{args.}", "{args.a.b}", "{{args.a}}", "{ customer }", "{x}"],
)
def test_a_brace_without_a_place_is_refused(template) -> None:
    for wrong in (template, [template], {"a": template}, {template: "a"}):
        with pytest.raises(TemplateError):
            places(wrong)


def test_a_template_nests_to_the_limit_and_not_deeper() -> None:
    template: object = "{action}"
    for _ in range(TEMPLATE_DEPTH_MAX):
        template = [template]
    assert places(template) == ("action",)
    with pytest.raises(TemplateError, match="deep"):
        places([template])
    with pytest.raises(TemplateError, match="JSON"):
        places(object())


@pytest.mark.parametrize("path", ["/", "/a", "/a/{args.b}/c", "/v1/x:y", "/~a/@b"])
def test_a_plain_path_is_accepted(path) -> None:
    check_path(path)


@pytest.mark.parametrize(
    "path",
    ["", "a", "//", "/a/", "/a//b", "/./a", "/../a", "/a?b", "/a#b", "/a%20", "/a b"],
)
def test_a_path_with_two_meanings_is_refused(path) -> None:
    with pytest.raises(TemplateError):
        check_path(path)


@given(value=values)
def test_a_value_differs_not_from_its_copy(value) -> None:
    assert difference(value, copy.deepcopy(value)) is None


@given(one=values, other=values)
def test_what_differs_not_is_equal_and_of_the_same_types(one, other) -> None:
    same = difference(one, other) is None
    assert same == (difference(other, one) is None)
    # repr tells 1, 1.0 and True apart, and -0.0 from 0.0, which are equal.
    if repr(one) == repr(other):
        assert same
    if same:
        assert one == other


@pytest.mark.parametrize(
    ("wanted", "found", "pointer"),
    [
        ({"a": 1}, {"a": True}, "/a"),
        ({"a": 1}, {"a": 1.0}, "/a"),
        ({"a": 1}, {"a": "1"}, "/a"),
        ({"a": 1}, {"a": 2}, "/a"),
        ({"a": 1}, {}, "/a"),
        ({"a": 1}, {"a": 1, "b/~": 1}, "/b~1~0"),
        ({"a": [1, 2]}, {"a": [2, 1]}, "/a/0"),
        ({"a": [1]}, {"a": [1, 1]}, "/a"),
        ({"a": None}, {"a": False}, "/a"),
        ({}, [], ""),
    ],
)
def test_a_difference_is_found_where_it_is(wanted, found, pointer) -> None:
    assert difference(wanted, found) == pointer


@given(note=texts | st.integers(), amount=st.integers())
def test_a_form_says_its_values_in_one_way(note, amount) -> None:
    template = {"note": "for {args.note}", "amount": "{args.amount}", "a[b]": "x"}
    try:
        form = fill_form(template, filling(note=note, amount=amount))
    except TemplateError:
        assert any("\ud800" <= letter <= "\udfff" for letter in str(note))
        return
    assert parse_qsl(form.decode("ascii"), keep_blank_values=True) == [
        ("a[b]", "x"),
        ("amount", str(amount)),
        ("note", f"for {note}"),
    ]
    assert form_difference(form, form) is None


@given(first=texts, second=texts)
def test_two_values_never_give_one_form(first, second) -> None:
    assume(first != second)
    try:
        forms = [
            fill_form({"a": "{args.a}"}, filling(a=one)) for one in (first, second)
        ]
    except TemplateError:
        return
    assert forms[0] != forms[1]


def test_a_form_leaves_out_what_was_not_given_and_does_not_follow_the_files_order():
    there = {"b": "{args.b}", "a": "1", "c": "{action}"}
    back = dict(reversed(there.items()))
    assert fill_form(there, filling()) == f"a=1&c={ACTION}".encode()
    assert fill_form(back, filling(b=2)) == f"a=1&b=2&c={ACTION}".encode()


@pytest.mark.parametrize("value", [True, None, 1.0, [1], {"a": 1}])
def test_a_form_takes_text_and_integers_only(value) -> None:
    with pytest.raises(TemplateError, match="strings and integers"):
        fill_form({"a": "{args.a}"}, filling(a=value))


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ({}, "1 to"),
        ({f"f{at}": "x" for at in range(FORM_FIELDS_MAX + 1)}, "1 to"),
        ({"": "x"}, "named like"),
        ({"a&b": "x"}, "named like"),
        ({"a=b": "x"}, "named like"),
        ({"a%5B": "x"}, "named like"),
        ({"a]": "x"}, "named like"),
        ({"[a]": "x"}, "named like"),
        ({"a": 1}, "a string"),
        ({"a": {"b": "x"}}, "a string"),
    ],
)
def test_a_form_that_could_be_read_in_two_ways_is_refused(template, problem) -> None:
    with pytest.raises(TemplateError, match=problem):
        check_form(template)


def test_a_form_may_have_as_many_fields_as_the_limit_and_names_with_brackets() -> None:
    check_form({f"f{at}": "x" for at in range(FORM_FIELDS_MAX)})
    check_form({"metadata[order]": "x", "expand[]": "y", "a[b][c]": "z"})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (b"a=1&b=2&b=2", "has 'b' twice"),
        (b"a=1&b=3", "differs at 'b'"),
        (b"a=1&b=%32", "differs at 'b'"),
        (b"a=1&b", "differs at 'b'"),
        (b"a=1&b=2&c=3", "differs at 'c'"),
        (b"a=1&b=2&", "differs at ''"),
        (b"a=1", "lacks 'b'"),
        (b"b=2&a=1", "has its fields in another order"),
        (b"", "differs at ''"),
        (b"a=1;b=2", "differs at 'a'"),
        (b"a=1&\xff=2", "differs at '\ufffd'"),
    ],
)
def test_a_form_that_differs_is_told_by_its_field(found, said) -> None:
    assert form_difference(b"a=1&b=2", found) == said
