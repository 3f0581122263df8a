"""What a folder may not say: refused before anybody can publish it."""

from __future__ import annotations

import pytest

from broker.core.decisions.explain import answer
from broker.core.words.effect import Tier
from broker.registry.appetite import approvable
from broker.registry.appetite.checks import check_sources
from broker.registry.appetite.folder import (
    SOURCES_BYTES_MAX,
    USE_CASES_MAX,
    read_sources,
)
from broker.registry.appetite.given import TESTS_MAX
from broker.registry.policy.books import limits_of, rule_book
from broker.registry.policy.cedar_text import PolicyError
from tests.support.cases import all_tools, demo_sources

TOOLS = all_tools()
DEMO = demo_sources()
HAND = "rules.cedar"
PERMIT = '@id("a") permit (principal, action, resource)'
LIMITS = DEMO["limits.toml"]
REFUND = """
[[tests]]
name = "a refund"
given = { tool = "orders.cancel", verification = "matched", use_case = "retail-care" }
"""


def check(**changes: str):
    names = {"appetite": "appetite.toml", "limits": "limits.toml", "hand": HAND}
    names |= {"tests": "tests.toml", "use_case": "use_cases/retail-care.toml"}
    return check_sources(
        DEMO | {names[key]: text for key, text in changes.items()}, TOOLS
    )


def forbid(condition: str) -> str:
    return f'@id("mine")\nforbid (principal, action, resource)\nwhen {{ {condition} }};'


@pytest.mark.control("1.3", "M10")
def test_the_demos_policy_is_valid_and_does_what_its_tests_say() -> None:
    checked = check()
    assert [r for r in checked.results if r.problem] == []
    assert len(checked.results) == DEMO["tests.toml"].count("[[tests]]")
    assert checked.tiers == {"company": Tier.CONSEQUENTIAL, "retail-care": 3}


def test_the_same_texts_give_the_same_body_and_the_body_gives_the_texts() -> None:
    body = read_sources(DEMO).body()
    assert body == read_sources(dict(reversed(DEMO.items()))).body()
    assert read_sources(body["sources"]).body() == body
    assert body["owners"] == {"company": "dave", "retail-care": "olivia"}


@pytest.mark.control("8.3")
def test_a_test_that_gives_something_else_is_reported_and_no_error() -> None:
    tests = DEMO["tests.toml"].replace('amount = "5000.01"', 'amount = "5000.00"')
    checked = check(tests=tests)
    assert not checked.passed
    (wrong,) = [r for r in checked.results if r.problem]
    assert wrong.problem == (
        "expected deny, got approve; clauses C3 expected, C2 decided"
    )


@pytest.mark.parametrize(
    ("hand", "problem"),
    [
        (forbid("context.approved"), "line 1: .*context.approved against"),
        (forbid("context.standing && context.tier > 1"), "context.standing against"),
        (forbid("context.approved == true"), "context.approved against"),
        (forbid("!(context.tier < 3 || context.approved == false)"), "approved"),
        (
            PERMIT + " unless { context.approved };",
            "context.approved against",
        ),
        ('@id("mine") forbid (principal, action, resource);', "forbids everything"),
        (
            '\n@id("a") forbid (principal, action == Action::"kill.switch", resource);',
            "line 2: 'kill.switch' is neither a tool nor an effect.*kill switch",
        ),
        (
            '@id("a") forbid (principal, action in Action::"votes", resource);',
            "votes",
        ),
    ],
)
def test_a_policy_that_bans_approvals_or_rules_people_is_refused(hand, problem) -> None:
    with pytest.raises(PolicyError, match=rf"(?s){HAND} .*{problem}"):
        check(hand=hand)


@pytest.mark.parametrize(
    "hand",
    [
        forbid("!context.approved && context.amount > 100"),
        forbid("context.amount > 100 && !(context.approved || context.standing)"),
        forbid('context.topics.contains("legal")'),
        '@id("mine") forbid (principal, action, resource) unless { context.proof };',
    ],
)
def test_a_rule_that_a_signature_ends_or_that_leaves_room_is_fine(hand) -> None:
    assert check(hand=hand).book.rules["mine"]


def test_a_company_whose_agents_only_read_needs_no_approvals() -> None:
    head, _, rest = DEMO["appetite.toml"].partition("[[rows]]")
    row = rest.partition("[[rows]]")[0]
    only_a1 = f"{head}[[rows]]{row}"
    checked = check(appetite=only_a1, use_case='schema = 1\nowner = "o"\n', tests="")
    assert checked.tiers["company"] is Tier.INTERNAL


def test_the_tier_of_a_use_case_is_the_highest_that_its_table_leaves_it() -> None:
    ban = """
schema = 1
owner = "olivia"
[[rows]]
clause = "R1"
text = "only words"
effects = ["state", "money", "identity", "entitlement"]
then = "ban"
"""
    assert check(use_case=ban, tests="").tiers["retail-care"] == Tier.CUSTOMER_FACING
    closed = """
schema = 1
owner = "olivia"
otherwise = "ban"
[[rows]]
clause = "R1"
text = "only reads"
effects = ["read"]
then = "allow"
"""
    assert check(use_case=closed, tests="").tiers["retail-care"] == Tier.INTERNAL


def test_questions_beyond_the_limit_are_not_asked(monkeypatch) -> None:
    assert approvable.PROBES_MAX >= 1_000
    never = '@id("n") forbid (principal, action, resource) when { context.tier >= 1 };'
    asked = []
    decide = answer

    def counting(question, book):
        asked.append(question)
        return decide(question, book)

    monkeypatch.setattr(approvable, "PROBES_MAX", 20)
    monkeypatch.setattr(approvable, "answer", counting)
    with pytest.raises(PolicyError, match=rf"{HAND} line 1: .*whatever people sign"):
        check(hand=never)
    assert len(asked) == 20


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hand": "permit (principal"}, f"{HAND} line 1: this rule does not parse"),
        (
            {"hand": f"{forbid('context.proof')}\n\n{forbid('context.nothing')}"},
            f"{HAND} line 1: ",
        ),
        ({"hand": forbid("context.nothing")}, f"{HAND} line 1: rule mine: .*nothing"),
        ({"hand": forbid("context.amount")}, f"{HAND} line 1: rule mine"),
        (
            {
                "hand": '@id("mine") @approvers("1") @role("boss")'
                " permit (principal, action, resource) when { context.approved };"
            },
            f"{HAND} line 1: nobody can have the role 'boss'",
        ),
        (
            {"hand": '@id("company.C1") permit (principal, action, resource);'},
            "company.C1",
        ),
        (
            {"appetite": DEMO["appetite.toml"].replace("orders.cancel", "orders.burn")},
            "appetite.toml line .*, row D1: there is no tool orders.burn",
        ),
        ({"limits": LIMITS.replace('"supervisor"', '"x"')}, "limits.toml, hold"),
        ({"limits": LIMITS + "\n[[budget]]\n"}, "budget is not known"),
        ({"limits": LIMITS + "\n[[totals]]\nlimit = 1\n"}, "a total has no limit"),
        ({"limits": "rates = 1"}, "rates are written"),
        ({"tests": "[given]\ncolour = 1\n[[tests]]\n"}, "tests.toml, test 1"),
        ({"tests": "[other]\n"}, "nothing else"),
        (
            {"tests": f'{REFUND}expect = "approve"\ncustomer_confirms = "very"\n'},
            "customer_confirms is one of none, claimed, matched, strong",
        ),
        (
            {"tests": f'{REFUND}expect = "deny"\ncustomer_confirms = "matched"\n'},
            "customer_confirms go with expect = 'approve'",
        ),
        (
            {
                "appetite": DEMO["appetite.toml"].replace(
                    'topics = ["complaint", "pricing", "identity"]',
                    'total = "no-such"\ntotal_above = "1.00"',
                )
            },
            "row T1: limits.toml has no budget or total 'no-such'",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_place(changes, problem) -> None:
    with pytest.raises(PolicyError, match=rf"(?s){problem}"):
        check(**changes)


def test_a_test_can_expect_that_the_customer_confirms_or_is_not_asked() -> None:
    row = 'tools = ["orders.cancel"]\n'
    asks = DEMO["appetite.toml"].replace(row, f'{row}customer_confirms = "matched"\n')
    for appetite, asked in ((DEMO["appetite.toml"], "none"), (asks, "matched")):
        for expected in ("none", "claimed", "matched"):
            tests = f'{REFUND}expect = "approve"\ncustomer_confirms = "{expected}"\n'
            [result] = check(appetite=appetite, tests=tests).results
            said = f"customer_confirms {expected} expected, {asked} asked"
            assert result.problem == ("" if asked == expected else said)


def test_a_folder_holds_what_has_a_place_in_it() -> None:
    with pytest.raises(PolicyError, match=r"notes\.toml has no place"):
        read_sources(DEMO | {"notes.toml": ""})
    for missing in ("appetite.toml", "limits.toml"):
        with pytest.raises(PolicyError, match=f"no {missing}"):
            read_sources({n: t for n, t in DEMO.items() if n != missing})


def test_a_folder_is_as_large_as_its_limits_and_not_larger() -> None:
    table = 'schema = 1\nowner = "olivia"\n'
    many = {f"use_cases/u{number}.toml": table for number in range(USE_CASES_MAX)}
    base = {name: text for name, text in DEMO.items() if "/" not in name}
    assert len(read_sources(base | many).tables) == USE_CASES_MAX + 1
    with pytest.raises(PolicyError, match=f"more than {USE_CASES_MAX} use cases"):
        read_sources(base | many | {"use_cases/more.toml": table})
    spare = SOURCES_BYTES_MAX - sum(len(text.encode()) for text in base.values())
    assert read_sources(base | {"z.cedar": " " * spare})
    with pytest.raises(PolicyError, match=f"longer than {SOURCES_BYTES_MAX}"):
        read_sources(base | {"z.cedar": " " * (spare + 1)})


def test_a_folder_has_as_many_tests_as_the_limit_and_not_one_more() -> None:
    test = '[[tests]]\nname = "n"\ngiven = { tool = "orders.get" }\nexpect = "deny"\n'
    assert len(check(tests=test * TESTS_MAX).results) == TESTS_MAX
    with pytest.raises(PolicyError, match=f"more than {TESTS_MAX} tests"):
        check(tests=test * (TESTS_MAX + 1))


def test_a_total_is_counted_like_a_budget_and_never_full() -> None:
    total = 'id = "month"\nper = ["customer"]\nunit = "USD"\nwindow = "month"\n'
    sources = DEMO | {"limits.toml": f"{LIMITS}\n[[totals]]\n{total}"}
    body = {"version": 1, **read_sources(sources).body()}
    _, budgets = limits_of(body)
    (month,) = [rule for rule in budgets if rule.rule_id == "month"]
    assert month.limit == 2**53 - 1
    assert "month" in rule_book(body, TOOLS).totals
    assert "month" not in rule_book(body, TOOLS).reads
