"""The hostile catalogue, line by line: each has a named test, and this says which.

A name that is no test any more fails here, so that no line loses its test unseen. Tests
stand beside this file unless a path is named.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = HERE.parents[1]

CATALOGUE = {
    "A alg none in any case": "jose::no_signature_is_no_signature_however_it_is_spelt",
    "A mac with the public key": "jose::a_mac_keyed_with_the_public_key_is_refused",
    "A alg case, other algorithm": "jose::"
    "another_algorithm_than_the_keys_own_is_refused",
    "A other curve": "jose::a_signature_with_another_curve_is_refused",
    "A RSA below 2048": "proofs::a_short_rsa_key_is_refused",
    "A RSA below 2048, issuers": "core/identity/test_workload.py::"
    "a_key_that_is_weak_private_or_of_another_kind_is_passed_over",
    "A EdDSA and Ed25519": "jose::an_ed25519_signature_is_no_es256_signature",
    "A zero, empty, cut": "jose::an_empty_zero_or_cut_signature_is_refused",
    "A DER": "jose::a_signature_in_der_is_refused",
    "A bit flips": "jose::one_flipped_bit_anywhere_is_refused",
    "A number of parts": "jose::another_number_of_parts_is_refused",
    "A base64": "jose::another_base64_is_refused",
    "A duplicate names": "jose::duplicate_names_in_header_or_payload_are_refused",
    "A numbers": "jose::a_time_that_is_no_integer_is_refused",
    "A nesting": "jose::nesting_of_any_depth_is_an_answer_and_not_a_crash",
    "A lone surrogates": "jose::text_that_is_not_ascii_is_refused",
    "A payload array": "jose::a_payload_that_is_no_object_is_refused",
    "A crit, b64, zip": "jose::a_header_that_could_change_the_meaning_is_refused",
    "A kid": "jose::a_key_id_names_a_known_key_or_nothing",
    "A jku, x5u: no connection": "jose::no_header_makes_us_fetch_anything",
    "A jwk comes along": "jose::a_key_that_comes_along_is_not_used",
    "A type confusion": "jose::no_artefact_is_accepted_in_the_place_of_another",
    "B audience": "assertions::"
    "the_audience_is_the_issuer_as_one_string_and_nothing_else",
    "B claims": "assertions::a_claim_that_is_missing_or_wrong_gets_no_token",
    "B times": "assertions::the_tolerances_are_what_they_say",
    "B client_id": "assertions::a_client_id_beside_the_assertion_must_be_the_same",
    "B replay": "assertions::an_assertion_is_good_for_one_token",
    "B replay at once": "assertions::of_fifty_equal_requests_at_once_one_gets_a_token",
    "B replay after a flush, a restart, elsewhere": "contracts/test_replay.py::"
    "assertions_are_remembered_whatever_happens_to_the_fast_memory",
    "B another's key": "assertions::"
    "a_client_with_anothers_key_gets_the_answer_of_a_stranger",
    "B retired key": "assertions::"
    "a_retired_a_future_and_a_removed_key_get_the_same_answer",
    "B two methods": "assertions::two_ways_of_authenticating_at_once_are_refused",
    "B none, wrong type": "assertions::"
    "without_an_assertion_of_this_type_nobody_is_authenticated",
    "B in the address": "assertions::an_assertion_in_the_address_is_not_read",
    "B at another endpoint": "api/test_oauth_revoke.py::"
    "an_assertion_used_for_a_token_is_used_up_for_the_other_endpoints",
    "B workloads": "workloads::whatever_is_wrong_with_an_assertion_is_one_answer",
    "C replay, changed htm, htu": "proofs::"
    "a_proof_is_good_once_whatever_is_changed_around_it",
    "C replay at once": "proofs::of_fifty_equal_calls_at_once_one_is_admitted",
    "C replay elsewhere": "contracts/test_replay.py::"
    "a_use_is_the_first_one_once_whichever_replica_is_asked",
    "C jti": "proofs::a_proof_without_a_usable_id_is_refused",
    "C jti 64 KB": "proofs::an_id_of_sixty_four_kilobytes_is_refused",
    "C same jti, other key": "proofs::the_same_id_under_another_key_is_accepted",
    "C htm": "proofs::a_proof_for_another_method_is_refused",
    "C htu": "proofs::a_proof_for_another_address_is_refused",
    "C htu, same address": "proofs::another_writing_of_our_own_address_is_accepted",
    "C forwarded host": "api/test_security.py::headers_about_the_host_decide_nothing",
    "C iat": "proofs::a_proof_of_another_time_is_refused",
    "C ath": "proofs::a_proof_for_another_token_is_refused",
    "C other key": "proofs::a_stolen_token_with_the_thiefs_own_proof_is_refused",
    "C downgrade": "proofs::"
    "a_bound_token_as_bearer_and_an_unbound_one_as_dpop_are_refused",
    "C two headers": "proofs::two_proofs_or_two_tokens_are_refused",
    "C keys": "proofs::a_proof_with_another_sort_of_key_is_refused",
    "C extra members": "proofs::what_a_client_adds_to_its_key_does_not_change_its_name",
    "C nonce": "proofs::a_nonce_that_is_not_ours_or_is_old_is_refused_and_replaced",
    "C replay, new proof": "proofs::the_same_id_and_key_in_a_new_proof_is_the_same_use",
    "C body swap": "proofs::"
    "a_proof_that_was_shown_with_one_body_is_not_good_with_another",
    "C dot segments, escapes, absolute form, on the wire": "api/wire/"
    "test_request_lines.py::a_request_line_of_any_form_is_the_address_that_is_served",
    "D duplicates": "token_endpoint::a_field_that_stands_twice_is_refused",
    "D methods": "token_endpoint::another_method_is_refused",
    "D JSON": "token_endpoint::json_in_the_body_is_refused",
    "D charset": "token_endpoint::another_media_type_or_charset_is_refused",
    "D grant": "token_endpoint::another_grant_is_unsupported_whoever_asks",
    "D scope": "token_endpoint::a_scope_of_another_kind_is_refused",
    "D scope, long": "token_endpoint::a_scope_of_half_a_million_words_takes_no_time",
    "D resource": "token_endpoint::a_resource_is_one_of_ours_exactly",
    "D resources": "token_endpoint::two_resources_are_an_invalid_target",
    "D audience": "token_endpoint::"
    "an_audience_that_differs_from_the_resource_is_refused",
    "D content length lies": "api/wire/test_request_lines.py::"
    "a_length_that_lies_gets_no_token",
    "D slow body": "api/test_bodies.py::"
    "a_body_that_does_not_come_is_waited_for_a_bounded_time",
    "D large body": "token_endpoint::"
    "a_megabyte_is_refused_without_being_read_to_the_end",
    "E widening": "exchange::asking_for_more_gives_what_the_parent_has",
    "E nothing left": "exchange::what_parent_and_request_do_not_share_is_not_to_be_had",
    "E other audience": "exchange::a_child_for_another_resource_is_an_invalid_target",
    "E longer": "exchange::a_child_ends_with_its_parent",
    "E self-exchange": "exchange::an_agent_does_not_act_for_itself",
    "E expired": "exchange::an_expired_subject_or_actor_token_lends_nothing",
    "E revoked": "exchange::a_token_that_was_revoked_lends_nothing",
    "E other issuer, tenant": "exchange::"
    "a_subject_token_that_is_not_ours_lends_nothing",
    "E no actor": "exchange::"
    "a_stolen_subject_token_needs_the_thiefs_own_token_and_permission",
    "E actor not in may_act": "behalf::"
    "an_employees_token_lends_to_the_agent_that_it_names_alone",
    "E depth": "exchange::a_chain_reaches_three_actors_and_no_further",
    "E cycles": "exchange::a_chain_does_not_come_back_to_one_of_its_agents",
    "E forged act": "exchange::an_act_of_the_callers_own_making_changes_nothing",
    "E actor disabled": "exchange_ends::"
    "a_child_whose_own_agent_is_revoked_has_nothing_left",
    "E re-exchange after an actor is disabled": "exchange_ends::"
    "a_row_that_changes_above_ends_the_child_at_the_next_call",
    "E refresh, id_token": "exchange::"
    "other_types_of_tokens_are_neither_taken_nor_given",
    "E delegated as own": "exchange::"
    "a_delegated_token_never_stands_in_for_its_subjects_own",
    "E child after parent": "exchange_ends::"
    "whatever_ends_the_parent_ends_child_and_grandchild",
    "F unauthenticated": "api/test_oauth_revoke.py::"
    "who_asks_must_authenticate_and_only_once_per_assertion",
    "F other's token, audience": "api/test_oauth_revoke.py::"
    "the_holder_and_our_services_learn_about_a_token_and_nobody_else",
    "F revoke other's": "api/test_oauth_revoke.py::"
    "another_clients_token_stays_as_it_is_and_the_answer_does_not_tell",
    "F timing": "core/identity/test_assertions.py::"
    "a_refusal_takes_the_same_work_whoever_is_named_and_whatever_keys_they_have",
    "F timing, workloads": "core/identity/test_workload.py::"
    "a_refusal_takes_the_same_work_whether_or_not_a_row_trusts_the_issuer",
    "F hints": "lifecycle::a_token_type_hint_decides_nothing",
    "F cache": "api/test_oauth_revoke.py::answers_about_tokens_are_kept_by_nobody",
    "F JWT response": "lifecycle::introspection_is_json_whatever_else_is_asked_for",
    "G issuer": "lifecycle::metadata_names_one_issuer_under_every_address_and_host",
    "G JWKS": "api/test_oauth_metadata.py::"
    "the_key_set_holds_public_halves_only_and_verifies_a_token",
    "G private members": "core/identity/test_workload.py::"
    "a_key_that_is_weak_private_or_of_another_kind_is_passed_over",
    "G unknown kids": "effects/test_issuer_keys.py::"
    "a_flood_of_unknown_kids_causes_one_fetch_per_cooldown",
    "G CIMD": "lifecycle::a_client_id_that_is_an_address_is_fetched_by_nobody",
    "G SSRF": "effects/test_issuer_keys.py::"
    "a_name_that_leads_where_nothing_was_declared_sees_no_connection",
    "G redirect, size": "effects/test_issuer_keys.py::"
    "a_redirect_an_error_and_too_much_are_no_keys",
    "G slow": "effects/test_issuer_keys.py::"
    "an_issuer_that_hangs_is_waited_for_a_bounded_time",
    "H steps back": "lifecycle::"
    "a_clock_that_steps_back_makes_nothing_new_that_was_used",
    "H steps ahead, at exp": "lifecycle::"
    "a_clock_that_steps_ahead_ends_tokens_and_back_does_not_lengthen_them",
    "H boundary of memory": "core/identity/test_dpop.py::"
    "a_use_is_remembered_until_no_replica_accepts_the_proof_any_more",
    "I deactivated": "lifecycle::"
    "an_agent_that_is_not_active_neither_gets_nor_uses_a_token",
    "I one instance": "lifecycle::"
    "one_revoked_instance_leaves_the_rest_of_the_fleet_alone",
    "I one instance, for good": "lifecycle::"
    "the_key_of_an_ended_instance_gets_no_token_again",
    "I rotation in flight": "api/admin/test_rotation_under_load.py::"
    "no_call_fails_while_keys_rotate_three_times",
    "I old kid": "lifecycle::a_token_of_the_earlier_key_is_active_while_both_keys_are",
    "I key removed": "api/test_security.py::"
    "a_removed_key_ends_the_tokens_that_were_got_with_it",
    "J logs": "leaks::what_was_sent_is_in_no_log_no_answer_and_no_entry",
    "J workloads": "workloads::an_assertion_stands_in_no_entry_and_no_answer",
    "J names": "lifecycle::a_name_that_could_forge_a_line_is_not_registered",
    "K rows by hand": "authority::"
    "an_agent_inserted_into_the_database_by_hand_gets_no_token",
    "K keys by hand": "authority::a_key_added_to_a_genuine_row_by_hand_opens_nothing",
    "K channels": "authority::a_forged_or_foreign_channel_assertion_is_refused",
    "K own interaction": "authority::an_agent_cannot_open_an_interaction_itself",
    "K levels": "authority::"
    "a_channel_cannot_claim_a_level_or_a_use_case_that_it_may_not",
}


@cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("line", CATALOGUE)
def test_each_line_of_the_catalogue_has_a_test_of_its_name(line: str) -> None:
    where, _, name = CATALOGUE[line].partition("::")
    path = TESTS / where if where.endswith(".py") else HERE / f"test_{where}.py"
    assert f"test_{name}" in names_in(path)


def test_every_group_of_the_catalogue_is_there() -> None:
    assert {line[0] for line in CATALOGUE} == {*"ABCDEFGHIJK"}
