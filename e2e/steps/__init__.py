"""The sentences that the tests are written in: given this, when that, then so."""

from e2e.steps.given import (
    DeployedModel,
    RegisteredModel,
    given_a_deployment,
    given_a_registered_model,
    given_a_tracking_server_of_its_own,
    given_objects,
)
from e2e.steps.then import (
    answer_of,
    children_of,
    then_condition,
    then_everything_is_gone,
    then_is_served,
    then_it_answers,
    then_kubectl_shows,
    then_no_other_version_answered,
    then_nothing_failed,
    wait_for,
)
from e2e.steps.when import (
    when_it_is_deleted,
    when_the_alias_moves,
    when_the_operator_is_back,
    when_the_operator_is_killed,
    when_the_operator_is_stopped,
    when_the_spec_changes,
    when_the_tracking_server_is_back,
    when_the_tracking_server_is_gone,
)

__all__ = [
    "DeployedModel",
    "RegisteredModel",
    "answer_of",
    "children_of",
    "given_a_deployment",
    "given_a_registered_model",
    "given_a_tracking_server_of_its_own",
    "given_objects",
    "then_condition",
    "then_everything_is_gone",
    "then_is_served",
    "then_it_answers",
    "then_kubectl_shows",
    "then_no_other_version_answered",
    "then_nothing_failed",
    "wait_for",
    "when_it_is_deleted",
    "when_the_alias_moves",
    "when_the_operator_is_back",
    "when_the_operator_is_killed",
    "when_the_operator_is_stopped",
    "when_the_spec_changes",
    "when_the_tracking_server_is_back",
    "when_the_tracking_server_is_gone",
]
