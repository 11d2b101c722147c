"""What the operator's own variables may say."""

from __future__ import annotations

import pytest

from mlflow_model_operator.settings import SettingsError, from_environment


def test_a_tracking_uri_is_used_as_it_is() -> None:
    uri = "https://mlflow.example.com:5000/prefix"
    assert from_environment({"MLFLOW_TRACKING_URI": uri}).tracking_uri == uri


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (
            {"MLFLOW_TRACKING_URI": "https://anna:secret@mlflow.example.com"},
            "MLFLOW_TRACKING_PASSWORD",
        ),
        ({"MMO_WORKERS": "0"}, "at least 1"),
        ({"MMO_MAX_TEMPLATE_UPDATES": "0"}, "at least 1"),
        ({"MMO_POLL_INTERVAL": "often"}, "write a number, like 15"),
        ({"MMO_SCORING_IMAGES": "{"}, "is not JSON"),
        ({"MMO_SCORING_IMAGES": "[]"}, "must map Python versions"),
        ({"MMO_POLICY": "{"}, "MMO_POLICY cannot be used: write JSON like"),
        ({"MMO_POLICY": "[]"}, "MMO_POLICY cannot be used"),
        ({"MMO_POLICY": '{"trackingUris": "*"}'}, "MMO_POLICY cannot be used"),
        ({"MMO_POLICY": '{"sources": [1]}'}, "MMO_POLICY cannot be used"),
        ({"MMO_POLICY": '{"maxTrackingServers": "many"}'}, "MMO_POLICY cannot be used"),
        ({"MMO_POLICY": '{"hostnames": {"byNamespace": []}}'}, "MMO_POLICY cannot be used"),
    ],
)
def test_wrong_values_are_refused_with_what_to_write(variables: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as refusal:
        from_environment(variables)
    assert "secret" not in str(refusal.value)
