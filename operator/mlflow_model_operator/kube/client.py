"""The requests that the operator makes of the Kubernetes API, each in one method.

Writes are server-side applies with one field manager: they state what must be so, need no read
before, and can't undo what others own. See
https://kubernetes.io/docs/reference/using-api/server-side-apply/.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import (
    Event,
    KubeObject,
    name_of,
    namespace_of,
    resource_version_of,
    uid_of,
)

log = logging.getLogger(__name__)

MANAGED_SELECTOR = f"{names.MANAGED_BY}={names.MANAGED_BY_VALUE}"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# A server-side apply with a field that the kind does not have is answered with status 500.
UNKNOWN_FIELD = "failed to create typed patch object"
REQUEST_TIMEOUT = 30.0  # seconds; the API server's own limit is 60
WATCH_SECONDS = 600  # after which a watch is ended and begun again
PAGE_SIZE = 500


class ApiError(Exception):
    """The API server refused a request, or could not be reached (`status` 0)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later with nothing changed by anybody."""
        if UNKNOWN_FIELD in self.message:
            return False
        return self.status in (0, 401, 409, 429) or self.status >= 500


@dataclass(frozen=True)
class WatchEvent:
    """One event of a watch."""

    type: str  # ADDED, MODIFIED, DELETED or BOOKMARK
    object: KubeObject  # of a bookmark only metadata.resourceVersion counts


@dataclass(frozen=True)
class Login:
    """How to reach the API server, and as whom."""

    server: str
    ca_path: str | None
    token: str | None  # without "Bearer"
    certificate_path: str | None
    private_key_path: str | None
    insecure: bool


class Cluster:
    """A connection to the API server. `observe(verb, kind, status)` is called for each request."""

    def __init__(
        self,
        api_client: kubernetes_client.ApiClient,
        observe: Callable[[str, str, int], None] = lambda *_: None,
        identity: str = names.FIELD_MANAGER,
    ) -> None:
        self.api_client = api_client
        self._observe = observe
        self._identity = identity

    async def close(self) -> None:
        """Closes the connections."""
        await self.api_client.close()

    async def login(self) -> Login:
        """The address and credentials as they are now, for others that connect by themselves."""
        configuration = self.api_client.configuration
        token = await configuration.get_api_key_with_prefix("BearerToken")
        return Login(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            token=token.partition(" ")[2] if token else None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            insecure=not configuration.verify_ssl,
        )

    async def serves(self, kind: Kind) -> bool:
        """Whether the API has `kind`, that is, whether its CRD is installed."""
        try:
            answer = await self._request("get", kind, kind.group_path)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return any(entry["name"] == kind.plural for entry in answer.get("resources", ()))

    async def get(self, kind: Kind, namespace: str, name: str) -> KubeObject | None:
        """One object, or None where there is none."""
        try:
            return await self._request("get", kind, kind.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list_uids(self, kind: Kind, namespace: str) -> tuple[set[str], str]:
        """The uids of all objects of a kind, and the resource version for which this holds.

        `namespace` "" means all namespaces.
        """
        answer = await self._request(
            "get",
            kind,
            kind.path(namespace),
            # "0": from the API server's cache, which is never older than what our watches saw.
            query={"resourceVersion": "0"},
            accept=METADATA_ONLY,
        )
        uids = {uid_of(item) for item in answer["items"]}
        return uids, resource_version_of(answer)

    async def list_managed(self, kind: Kind, namespace: str) -> tuple[list[KubeObject], str]:
        """Our objects of a kind, and the resource version from which to watch on.

        `namespace` "" means all namespaces. Raises ApiError with status 410 where the list took so
        long that the API server has forgotten where it began.
        """
        items: list[KubeObject] = []
        query = {"labelSelector": MANAGED_SELECTOR, "limit": PAGE_SIZE}
        while True:
            page = await self._request("get", kind, kind.path(namespace), query=query)
            items += page["items"]
            more = page["metadata"].get("continue")
            if not more:
                return items, resource_version_of(page)
            query["continue"] = more

    async def list_pods(self, namespace: str, labels: Mapping[str, str]) -> list[KubeObject]:
        """The pods that have these labels, from the API server's own cache."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        query = {"labelSelector": selector, "resourceVersion": "0"}
        answer = await self._request("get", kinds.POD, kinds.POD.path(namespace), query=query)
        items: list[KubeObject] = answer["items"]
        return items

    async def watch_managed(
        self, kind: Kind, namespace: str, version: str
    ) -> AsyncIterator[WatchEvent]:
        """What happens to our objects of a kind after `version`; ends when the server ends it.

        Raises ApiError with status 410 where the server has forgotten what happened since.
        """
        query = {
            "labelSelector": MANAGED_SELECTOR,
            "resourceVersion": version,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_SECONDS,
        }
        timeout = WATCH_SECONDS + REQUEST_TIMEOUT
        path = kind.path(namespace)
        async with self._response("watch", kind, path, query=query, timeout=timeout) as response:
            async for line in response.content:
                yield _watch_event(orjson.loads(line))

    async def apply(self, kind: Kind, obj: KubeObject) -> KubeObject:
        """States `obj` by server-side apply; returns the object as it is now."""
        return await self._request(
            "patch",
            kind,
            kind.path(namespace_of(obj), name_of(obj)),
            query={"fieldManager": names.FIELD_MANAGER, "force": "true"},
            body=obj,
            content_type="application/apply-patch+yaml",
        )

    async def merge(self, kind: Kind, obj: KubeObject, patch: KubeObject) -> KubeObject:
        """Changes what `patch` states, lists as a whole; returns the object as it is now."""
        return await self._request(
            "patch",
            kind,
            kind.path(namespace_of(obj), name_of(obj)),
            query={"fieldManager": names.FIELD_MANAGER},
            body=patch,
            content_type="application/merge-patch+json",
        )

    async def scale(self, kind: Kind, obj: KubeObject, replicas: int) -> KubeObject:
        """Changes how many replicas `obj` asks for and nothing else; returns it as it is now."""
        return await self.merge(kind, obj, {"spec": {"replicas": replicas}})

    async def delete(self, kind: Kind, obj: KubeObject) -> None:
        """Deletes exactly this object, not a new one of the same name; absent is fine."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid_of(obj)},
        }
        try:
            path = kind.path(namespace_of(obj), name_of(obj))
            await self._request("delete", kind, path, body=options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def patch_status(self, key: Key, patch: KubeObject) -> KubeObject | None:
        """Changes the status of a resource; None where the resource is gone."""
        try:
            return await self._request(
                "patch",
                kinds.RESOURCE,
                f"{kinds.RESOURCE.path(key.namespace, key.name)}/status",
                query={"fieldManager": names.FIELD_MANAGER},
                body={"status": patch},
                content_type="application/merge-patch+json",
            )
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def record_event(self, resource: KubeObject, event: Event) -> None:
        """Creates a Kubernetes Event about `resource`, as shown by `kubectl describe`.

        It is tried once: where the API server refuses it, as in a namespace that is terminating,
        there is none, and the status says the same.
        """
        namespace, name = namespace_of(resource), name_of(resource)
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        body = {
            "apiVersion": kinds.EVENT.api_version,
            "kind": kinds.EVENT.kind,
            "metadata": {
                "generateName": f"{name}-",
                "namespace": namespace,
            },
            "eventTime": now,
            "type": "Warning" if event.warning else "Normal",
            "reason": event.reason,
            "note": event.message[:1024],
            "action": "Reconcile",
            "reportingController": f"{names.GROUP}/operator",
            "reportingInstance": self._identity[:128],
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": name,
                "namespace": namespace,
                "uid": uid_of(resource),
            },
        }
        path = kinds.EVENT.path(namespace)
        try:
            await self._request("post", kinds.EVENT, path, body=body)
        except ApiError as error:
            log.info("failed to record an event about %s/%s: %s", namespace, name, error)

    async def _request(self, verb: str, kind: Kind, path: str, **options: Any) -> KubeObject:
        async with self._response(verb, kind, path, **options) as response:
            answer: KubeObject = orjson.loads(await response.read())
            return answer

    @asynccontextmanager
    async def _response(
        self, verb: str, kind: Kind, path: str, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a request, to be read in the block; failures are ApiErrors."""
        try:
            async with await self._send(verb, path, **options) as response:
                if not response.ok:
                    self._observe(verb, kind.kind, response.status)
                    raise _api_error(response, await response.read())
                yield response
                self._observe(verb, kind.kind, response.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as exception:
            self._observe(verb, kind.kind, 0)
            message = f"{type(exception).__name__}: {exception}"
            raise ApiError(0, "Unreachable", message) from exception

    async def _send(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: KubeObject | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = REQUEST_TIMEOUT,
    ) -> aiohttp.ClientResponse:
        """Sends a request with the client's own credentials and connections.

        Not by its generated or dynamic methods, whose way to here costs as much as the request.
        """
        configuration = self.api_client.configuration
        headers = {"Accept": accept, "Content-Type": content_type}
        if token := await configuration.get_api_key_with_prefix("BearerToken"):
            headers["Authorization"] = token
        answer = await self.api_client.rest_client.request(
            "GET" if verb == "watch" else verb.upper(),
            configuration.host + path + (f"?{urlencode(query)}" if query else ""),
            headers=headers,
            body=body,
            _request_timeout=timeout,
        )
        response: aiohttp.ClientResponse = answer.response
        return response


def _watch_event(event: KubeObject) -> WatchEvent:
    obj = event["object"]
    if event["type"] == "ERROR":
        raise ApiError(obj.get("code", 0), obj.get("reason", ""), obj.get("message", ""))
    return WatchEvent(event["type"], obj)


def _api_error(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    try:
        status = orjson.loads(body)
        return ApiError(response.status, status.get("reason", ""), status.get("message", ""))
    except (ValueError, AttributeError):
        text = body.decode(errors="replace")
        return ApiError(response.status, str(response.reason), text[:500])


async def connect(kubeconfig: str | None = None) -> kubernetes_client.ApiClient:
    """Connects from inside a pod, or else by a kubeconfig (its path, or the default one).

    Raises kubernetes' ConfigException where there is neither.
    """
    configuration = kubernetes_client.Configuration()
    # Else each request would look for proxies and .netrc, in two threads. The watches don't either.
    configuration.client_session_kwargs = {"trust_env": False}
    if kubeconfig is None:
        try:
            kubernetes_config.load_incluster_config(client_configuration=configuration)
            return kubernetes_client.ApiClient(configuration)
        except kubernetes_config.ConfigException:
            pass  # not in a pod: a person runs us, with a kubeconfig
    await kubernetes_config.load_kube_config(
        config_file=kubeconfig, client_configuration=configuration
    )
    return kubernetes_client.ApiClient(configuration)
