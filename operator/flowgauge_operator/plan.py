"""Compare what is wanted with what is there. Pure: steps out, nothing done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flowgauge_operator import kinds, names
from flowgauge_operator.cache import Child
from flowgauge_operator.kinds import Ref
from flowgauge_operator.render.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Apply:
    """Bring one object to what is wanted.

    `is_new` means that we have never seen it: whoever acts takes care of a name that belongs to somebody else.
    `is_drifted` means that somebody changed it: what was added must go too, which an apply alone does not do.
    """

    manifest: Manifest
    is_new: bool
    is_drifted: bool

    @property
    def ref(self) -> Ref:
        """The object."""
        return kinds.ref_of(self.manifest)


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove one object that is no longer wanted, if it still is the one that we know."""

    ref: Ref


Step = Apply | Delete


def plan(
    desired: Sequence[Manifest], seen: Iterable[Child], owner: str, *, prune: bool = True
) -> list[Step]:
    """The steps from `seen` to `desired` for the owner's uid ('' for what has no owner).

    Applies come before deletes: a rule under a new name must be there before the one under the old name goes. Without
    `prune` nothing is deleted.
    """
    known = {child.identity: child for child in seen}
    steps: list[Step] = []
    for manifest in desired:
        child = known.pop(_identity(manifest), None)
        if child is None:
            steps.append(Apply(manifest, is_new=True, is_drifted=False))
        elif child.is_drifted or child.owner != owner:
            steps.append(Apply(manifest, is_new=False, is_drifted=True))
        elif child.hash != manifest["metadata"]["annotations"][names.HASH]:
            steps.append(Apply(manifest, is_new=False, is_drifted=False))
    gone = (child for child in known.values() if prune and child.owner == owner)
    steps += [Delete(child.ref) for child in gone]
    return steps


def _identity(manifest: Manifest) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return (manifest["kind"], metadata["namespace"], metadata["name"])
