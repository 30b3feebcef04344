"""Lists of objects, as `kubectl get -o yaml` prints them: in a manifest, a List stands for its items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hammerwork_cli.running.decoding import ManifestError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def objects(documents: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield each object of a file with its place, ``document 2`` or ``document 2: items[0]``.

    To kubectl a List is whatever has `items`. An item with neither kind nor apiVersion has those of the list; the kind
    without its end, so a JobBatchList has JobBatches.

    Raises:
        ManifestError: The items of a List are no list, or one of them is a List itself; starts with the place.
    """
    for number, document in enumerate(documents, start=1):
        place = f"document {number}"
        if not isinstance(document, dict) or "items" not in document or not document.get("kind"):
            yield place, document
        else:
            yield from _items(document, place)


def _items(given: dict[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    items = [] if given["items"] is None else given["items"]
    if not isinstance(items, list):
        raise ManifestError(f"{place}: items: {shown(items)}, must be a list of objects")
    for position, item in enumerate(items):
        where = f"{place}: items[{position}]"
        if isinstance(item, dict) and isinstance(item.get("items"), list):
            kind = item.get("kind", "(no kind)")
            raise ManifestError(f"{where}: {kind}, must not have items: kubectl takes no List in a List")
        yield where, _typed(item, given)


def _typed(item: Any, given: dict[str, Any]) -> Any:
    if not isinstance(item, dict) or item.get("kind") or item.get("apiVersion"):
        return item
    return {**item, "kind": str(given["kind"]).removesuffix("List"), "apiVersion": given.get("apiVersion", "")}
