"""What the model URIs of a resource resolve to, within the administrator's policy."""

from __future__ import annotations

from collections.abc import Callable, Collection

from mlflow_model_operator.api import python_versions
from mlflow_model_operator.api.model_version import (
    ModelVersion,
    ResolutionError,
    ResolutionPending,
    ResolutionResult,
)
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import Key, MLflowModelDeployment
from mlflow_model_operator.plan import Resolution
from mlflow_model_operator.plan.gates import OFF, signature_rule
from mlflow_model_operator.policy import Policy
from mlflow_model_operator.registry import Registry


class Resolver:
    """Asks the registry for what the policy allows, and subscribes the resource to that.

    `scoring_pythons` are the Python versions that there are scoring images for.
    """

    def __init__(
        self,
        policy: Policy,
        registry: Registry,
        uses_excess_server: Callable[[Key], bool],
        scoring_pythons: Collection[str],
    ) -> None:
        self._policy = policy
        self._registry = registry
        self._uses_excess_server = uses_excess_server
        self._scoring_pythons = scoring_pythons

    async def resolve(self, resource: MLflowModelDeployment) -> Resolution:
        """What the URIs resolve to now, or why they don't. Raises ResolutionPending."""
        denials = self._denials(resource)
        allowed = {uri for uri, denial in denials.items() if denial is None}
        stable = _stable_uri(resource)
        self._keep_subscriptions(resource, allowed | ({stable} if stable else set()))
        canary, shadow = resource.spec.canary, resource.spec.shadow
        model = await self._resolve(resource, resource.spec.model.uri, denials)
        if stable and not _may_differ(resource, model):
            self._keep_subscriptions(resource, allowed)
            stable = None
        return Resolution(
            model=model,
            canary=await self._resolve(resource, canary.uri, denials) if canary else None,
            variants={
                variant.name: await self._resolve(resource, variant.uri, denials)
                for variant in resource.spec.variants
            },
            stable=await self._stable(resource, stable, model) if stable else None,
            shadow=await self._resolve(resource, shadow.uri, denials) if shadow else None,
        )

    def _keep_subscriptions(self, resource: MLflowModelDeployment, uris: Collection[str]) -> None:
        """Ends those to other model URIs."""
        tracking_uri = resource.spec.model.tracking_uri
        self._registry.unsubscribe(resource.key, except_for={(tracking_uri, uri) for uri in uris})

    async def _stable(
        self, resource: MLflowModelDeployment, uri: str, model: ResolutionResult
    ) -> ResolutionResult:
        """The version that serves: it does so already, so no policy is asked."""
        try:
            tracking_uri = resource.spec.model.tracking_uri
            return await self._registry.resolve(resource.key, uri, tracking_uri)
        except ResolutionError as error:
            return error
        except ResolutionPending:
            if isinstance(model, ModelVersion):
                raise
            # The server is in trouble: what goes on without it is not to wait once more.
            return ResolutionError(Reason.REGISTRY_UNREACHABLE, "it has not answered yet")

    async def _resolve(
        self, resource: MLflowModelDeployment, uri: str, denials: dict[str, str | None]
    ) -> ResolutionResult:
        denial = denials[uri]
        if denial is not None:
            return ResolutionError(Reason.POLICY_DENIED, denial)
        try:
            tracking_uri = resource.spec.model.tracking_uri
            version = await self._registry.resolve(resource.key, uri, tracking_uri)
        except ResolutionError as error:
            return error
        return self._loadable(resource, version)

    def _loadable(self, resource: MLflowModelDeployment, version: ModelVersion) -> ResolutionResult:
        """The model version, or that no scoring image has a Python that can load it."""
        pythons = self._scoring_pythons
        if resource.spec.server.image or python_versions.can_run(version, pythons):
            return version
        message = python_versions.denial(version, pythons)
        return ResolutionError(Reason.PYTHON_VERSION_UNSUPPORTED, message)

    def _denials(self, resource: MLflowModelDeployment) -> dict[str, str | None]:
        """Why each model URI must not be resolved; None where it may be."""
        fields = {resource.spec.model.uri: "spec.model.uri"}
        if resource.spec.canary:
            fields.setdefault(resource.spec.canary.uri, "spec.canary.uri")
        for index, variant in enumerate(resource.spec.variants):
            fields.setdefault(variant.uri, f"spec.variants[{index}].uri")
        if resource.spec.shadow:
            fields.setdefault(resource.spec.shadow.uri, "spec.shadow.uri")
        of_all = self._denial_of_all(resource)
        return {
            uri: of_all or self._policy.source_denial(resource, uri, field)
            for uri, field in fields.items()
        }

    def _denial_of_all(self, resource: MLflowModelDeployment) -> str | None:
        denial = self._policy.tracking_uri_denial(resource)
        if denial is None and self._uses_excess_server(resource.key):
            return self._policy.excess_denial(resource)
        return denial or self._policy.files_denial(resource)


def _stable_uri(resource: MLflowModelDeployment) -> str | None:
    """The URI of the version that serves, where its signature may have to be compared."""
    stable = resource.status.stable
    if stable is None or signature_rule(resource) == OFF:
        return None
    # What the operator's user may read of a version it may not read of the logged model behind.
    return f"models:/{stable.name}/{stable.model_version}" if stable.name else stable.model_uri


def _may_differ(resource: MLflowModelDeployment, model: ResolutionResult) -> bool:
    """Whether another version than the one that serves is, or may be, the target.

    One of another tracking server is not asked for: what it was asked by may not be allowed now.
    """
    stable, version = resource.status.stable, model
    if isinstance(version, ResolutionError):
        version = version.last_resolved or version
    if stable is None or isinstance(version, ResolutionError):
        return resource.status.target is not None
    is_same = (version.uri, version.created) == (stable.model_uri, stable.model_created)
    return not is_same and version.tracking_uri == stable.tracking_uri
