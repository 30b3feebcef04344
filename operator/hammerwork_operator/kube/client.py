"""The few calls that the operator makes to the API server. Objects are plain dictionaries, as in a manifest."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Self

import aiohttp
import msgspec
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from hammerwork_operator.api.common import API_VERSION, GROUP, VERSION
from hammerwork_operator.api.names import FIELD_MANAGER
from hammerwork_operator.kube import credentials
from hammerwork_operator.kube.decoding import decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from hammerwork_operator.api.common import Manifest

_TIMEOUT_SECONDS = 30
_LONGEST_RETRY_AFTER = 60.0
_PAGE = 50
"""Objects in one answer: each of them may have more than a MiB."""
_MERGE_PATCH = "application/merge-patch+json"
_APPLY_PATCH = "application/apply-patch+yaml"
_UNTYPED = ("failed to create typed patch object", "failed to convert new object")
"""How an API server begins what it says, with HTTP status 500, of an apply whose object does not fit its schema."""

_TOO_LARGE = "etcdserver: request is too large"


class ApiError(Exception):
    """The API server refused a request or could not be reached; `status` is the HTTP status, 0 if there was none."""

    def __init__(self, status: int, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after
        """Seconds for which the server asks not to be asked again."""

    @property
    def not_found(self) -> bool:
        """Whether the object, or its namespace, does not exist."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """409: another uid or resourceVersion than expected, or the object exists."""
        return self.status == 409

    @property
    def too_large(self) -> bool:
        """Whether the object would be larger than what the API server, or etcd behind it, takes."""
        return self.status == 413 or (self.status == 500 and _TOO_LARGE in self.message)

    @property
    def forbidden(self) -> bool:
        """403: by rights, a quota or a webhook, which may change without the object."""
        return self.status == 403

    @property
    def refused(self) -> bool:
        """Whether trying again without a change elsewhere is pointless: forbidden, invalid or too large."""
        untyped = self.status == 500 and self.message.startswith(_UNTYPED)
        return self.status in {400, 403, 422} or untyped or self.too_large


class ApiServer:
    """A connection to the API server that `credentials` leads to."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls) -> Self:
        """Read the credentials. No request is made."""
        api = client.ApiClient(await credentials.read())
        api.user_agent = FIELD_MANAGER
        return cls(api)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Make one request and return the decoded answer.

        Raises:
            ApiError: The server refused, or did not answer.
        """
        headers = {"Accept": "application/json", "Content-Type": content_type}
        call = await self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = await self._api.call_api(*call, _request_timeout=_TIMEOUT_SECONDS)
            content: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, f"{method} {path}: {type(error).__name__}: {error}") from error
        except ApiException as error:
            raise ApiError(error.status or 0, f"{method} {path}: {error.reason}") from error
        if response.status >= 400:
            message = _message(content) or f"{method} {path}: HTTP status {response.status}"
            retry_after = _seconds(response.getheader("Retry-After"))  # type: ignore[no-untyped-call]
            raise ApiError(response.status, message, retry_after=retry_after)
        try:
            answer: Manifest = decode(content)
        except msgspec.DecodeError as error:
            raise ApiError(0, f"{method} {path}: the answer is not JSON: {error}") from error
        return answer

    async def served_resources(self) -> set[str]:
        """Return the plural names of our resources that the API server knows; empty without the CRDs."""
        try:
            answer = await self.request("GET", f"/apis/{GROUP}/{VERSION}")
        except ApiError as error:
            if error.not_found:
                return set()
            raise
        return {entry["name"] for entry in answer["resources"]}

    async def get(self, plural: str, namespace: str, name: str) -> Manifest | None:
        """Return one of our objects, or None."""
        return await self._find(_custom(plural, namespace, name))

    async def peek(self, plural: str, namespace: str | None) -> None:
        """List one of our objects in a namespace, or in all: find out whether that can be done."""
        within = f"namespaces/{namespace}/" if namespace else ""
        await self.request("GET", f"/apis/{API_VERSION}/{within}{plural}", query={"limit": "1"})

    async def chosen(self, plural: str, namespace: str, selector: str) -> AsyncIterator[Manifest]:
        """Yield those of our objects in a namespace that a label selector chooses, read page by page."""
        query = {"labelSelector": selector, "limit": str(_PAGE)}
        while True:
            answer = await self.request("GET", f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}", query=query)
            for item in answer["items"]:
                yield item
            if not (token := answer["metadata"].get("continue")):
                return
            query["continue"] = token

    async def create(self, plural: str, manifest: Manifest) -> None:
        """Create one of our objects (`conflict` if there is one of the name)."""
        path = f"/apis/{API_VERSION}/namespaces/{manifest['metadata']['namespace']}/{plural}"
        await self.request("POST", path, manifest)

    async def patch_status(self, plural: str, namespace: str, name: str, uid: str, status: Manifest) -> Manifest:
        """Merge into the status of the object with this uid; return the object.

        A merge patch, because the operator is the only writer of the status and knows what to remove; the uid makes the
        server refuse it (`conflict`) when another object has taken the name.
        """
        patch = {"metadata": {"uid": uid}, "status": status}
        path = _custom(plural, namespace, name) + "/status"
        return await self.request("PATCH", path, patch, content_type=_MERGE_PATCH)

    async def set_finalizers(
        self, plural: str, namespace: str, name: str, finalizers: Sequence[str], *, resource_version: str
    ) -> Manifest:
        """Replace the finalizers and return the object, unless it is another version than was seen (`conflict`)."""
        patch = {"metadata": {"finalizers": list(finalizers), "resourceVersion": resource_version}}
        return await self.request("PATCH", _custom(plural, namespace, name), patch, content_type=_MERGE_PATCH)

    async def delete(self, plural: str, namespace: str, name: str, uid: str) -> None:
        """Delete the object with this uid."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        await self.request("DELETE", _custom(plural, namespace, name), options)

    async def get_namespace(self, name: str) -> Manifest | None:
        """Return a namespace, or None."""
        return await self._find(f"/api/v1/namespaces/{name}")

    async def get_secret(self, namespace: str, name: str) -> Manifest | None:
        """Return a Secret, or None."""
        return await self._find(f"/api/v1/namespaces/{namespace}/secrets/{name}")

    async def get_configmap(self, namespace: str, name: str) -> Manifest | None:
        """Return a ConfigMap, or None."""
        return await self._find(f"/api/v1/namespaces/{namespace}/configmaps/{name}")

    async def get_deployment(self, namespace: str, name: str) -> Manifest | None:
        """Return a Deployment, or None."""
        return await self._find(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")

    async def apply_deployment(self, manifest: Manifest) -> Manifest:
        """Apply a Deployment server-side, with force: fields that others have changed are ours again; return it."""
        metadata = manifest["metadata"]
        path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/deployments/{metadata['name']}"
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self.request("PATCH", path, manifest, content_type=_APPLY_PATCH, query=query)

    async def annotate_pod(self, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations of a Pod; None removes one."""
        patch = {"metadata": {"annotations": dict(annotations)}}
        await self.request("PATCH", f"/api/v1/namespaces/{namespace}/pods/{name}", patch, content_type=_MERGE_PATCH)

    async def apply_disruption_budget(self, manifest: Manifest) -> None:
        """Apply a PodDisruptionBudget server-side, with force."""
        metadata = manifest["metadata"]
        path = _disruption_budget(metadata["namespace"], metadata["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        await self.request("PATCH", path, manifest, content_type=_APPLY_PATCH, query=query)

    async def get_disruption_budget(self, namespace: str, name: str) -> Manifest | None:
        """Return a PodDisruptionBudget, or None."""
        return await self._find(_disruption_budget(namespace, name))

    async def delete_disruption_budget(self, namespace: str, name: str, uid: str) -> None:
        """Delete the PodDisruptionBudget with this uid."""
        await self.request("DELETE", _disruption_budget(namespace, name), {"preconditions": {"uid": uid}})

    async def warnings_about(self, namespace: str, uid: str) -> list[Manifest]:
        """Return some Events of type Warning about the object with this uid."""
        query = {"fieldSelector": f"involvedObject.uid={uid},type=Warning", "limit": "50"}
        answer = await self.request("GET", f"/api/v1/namespaces/{namespace}/events", query=query)
        found: list[Manifest] = answer["items"]
        return found

    async def create_event(self, namespace: str, event: Manifest) -> None:
        """Record an Event."""
        await self.request("POST", f"/api/v1/namespaces/{namespace}/events", event)

    async def _find(self, path: str) -> Manifest | None:
        try:
            return await self.request("GET", path)
        except ApiError as error:
            if error.not_found:
                return None
            raise


def _custom(plural: str, namespace: str, name: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}/{name}"


def _disruption_budget(namespace: str, name: str) -> str:
    return f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/{name}"


def _seconds(text: str | None) -> float | None:
    """Return what Retry-After says in seconds; a date is not understood."""
    return min(float(text), _LONGEST_RETRY_AFTER) if text is not None and text.isdecimal() else None


def _message(content: bytes) -> str:
    try:
        answer = decode(content)
    except msgspec.DecodeError:
        return content[:500].decode(errors="replace")
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""


def secret_value(secret: Manifest, key: str) -> str | None:
    """Return the text under `key` of a Secret, or None."""
    encoded = (secret.get("data") or {}).get(key)
    return None if encoded is None else base64.b64decode(encoded).decode(errors="replace").strip()
