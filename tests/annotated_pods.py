"""Pods with annotations of ours, and what tests ask of the workflows that are made for them."""

from __future__ import annotations

ANNOTATION = "flowgauge.dev/workflow"


class Annotated:
    """A namespace with pods that nobody runs, and what becomes of their annotations."""

    def __init__(self, operator, namespace):
        self.operator, self.cluster, self.namespace = operator, operator.cluster, namespace

    def pod(self, name, *, labels=None, namespace=None, owner=None, **annotations):
        """A pod with annotations of ours; underscores stand for dashes."""
        told = {
            f"flowgauge.dev/{key.replace('_', '-')}": value for key, value in annotations.items()
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": namespace or self.namespace,
                "annotations": told,
                "labels": labels or {},
                "ownerReferences": [owner] if owner else [],
            },
            "spec": {
                "automountServiceAccountToken": False,
                "containers": [{"name": "main", "image": "test/main"}],
            },
        }
        self.cluster.deploy([pod])

    def say(self, pod, *changes):
        """Change annotations of a pod: `slo-success=99`, or `slo-success-` to remove one."""
        keys = [f"flowgauge.dev/{change}" for change in changes]
        self.cluster.kubectl(
            "annotate", "pod", pod, f"--namespace={self.namespace}", "--overwrite", *keys
        )

    def remove(self, pod):
        """Delete a pod."""
        self.cluster.kubectl("delete", "pod", pod, f"--namespace={self.namespace}", "--now")

    def found(self, name="orders"):
        """The workflow, or None."""
        return self.operator.get("mwf", name, self.namespace)

    def wait(self, ask, what, timeout=15):
        """Wait until the workflow `orders` is as asked, and return it."""

        def look():
            found = self.found()
            return found if found and ask(found) else None

        return self.operator.wait(look, lambda: f"{what}; it is {self.found()}", timeout)

    def wait_gone(self, name="orders", timeout=15):
        """Wait until there is no such workflow."""
        self.operator.wait(lambda: self.found(name) is None, f"{name} to be gone", timeout)

    def events(self, kind):
        """Reason and note of the Events about objects of a kind."""
        found = self.cluster.get("events.events.k8s.io", f"--namespace={self.namespace}")["items"]
        return [
            (event["reason"], event["note"])
            for event in found
            if event["regarding"]["kind"] == kind
        ]

    def accepted(self, name="orders"):
        """The condition Accepted."""
        return self.operator.condition("Accepted", self.namespace, name)

    def by_hand(self, *, server_side=True, **spec):
        """Apply a workflow as its user would."""
        self.cluster.apply(
            [self.operator.workflow(self.namespace, **spec)], server_side=server_side
        )


def is_marked(workflow):
    return workflow["metadata"].get("labels", {}).get("flowgauge.dev/discovered") == "true"
