"""The files that StatefulSets would mount: the configurations and the rules that prometheus-operator wrote.

A kubelet would project Secrets and some ConfigMaps into the pods of Prometheus and Alertmanager. Here watches write them
to files; the real config-reloader does the rest, as in a cluster.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path

from rig.access import Access
from rig.watching import Object, Watch

# The reloader watches folders, not trees, so they are there from the beginning. One holds about 500 kB of rules.
_RULE_FOLDERS = 32
_MOUNTED_RULES = "/etc/prometheus/rules/"


class Mirror:
    """Keeps the files of one Prometheus and one Alertmanager object in step with the cluster; both have one name."""

    def __init__(self, access: Access, folder: Path, *, namespace: str, name: str) -> None:
        self.prometheus = folder / "prometheus.in.yaml"
        self.alertmanager = folder / "alertmanager.in.yaml"
        self._rules = folder / "rules"
        base = f"/api/v1/namespaces/{namespace}"
        self._watches = [
            Watch(
                access,
                f"{base}/secrets",
                self._write_prometheus,
                fieldSelector=f"metadata.name=prometheus-{name}",
            ),
            Watch(
                access,
                f"{base}/secrets",
                self._write_alertmanager,
                fieldSelector=f"metadata.name=alertmanager-{name}-generated",
            ),
            Watch(
                access,
                f"{base}/configmaps",
                self._write_rules,
                labelSelector=f"prometheus-name={name}",
            ),
        ]
        for number in range(_RULE_FOLDERS):
            (self._rules / f"prometheus-{name}-rulefiles-{number}").mkdir(parents=True)

    @property
    def rule_folders(self) -> list[Path]:
        """The folders that the reloader has to watch."""
        return sorted(self._rules.iterdir())

    def start(self) -> None:
        """Start to follow the cluster."""
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """Stop to follow the cluster."""
        for watch in self._watches:
            watch.stop()

    def _write_prometheus(self, secrets: Mapping[str, Object]) -> None:
        # The configuration names the mount of the pod. An ordinary user has no /etc/prometheus to mount something
        # over, and a bind mount for one process needs another program, so the prefix is replaced instead.
        for text in _unpacked(secrets, "prometheus.yaml.gz"):
            _replace(self.prometheus, text.replace(_MOUNTED_RULES, f"{self._rules}/"))

    def _write_alertmanager(self, secrets: Mapping[str, Object]) -> None:
        for text in _unpacked(secrets, "alertmanager.yaml.gz"):
            _replace(self.alertmanager, text)

    def _write_rules(self, config_maps: Mapping[str, Object]) -> None:
        by_name = {item["metadata"]["name"]: item for item in config_maps.values()}
        for folder in self._rules.iterdir():
            data = by_name.get(folder.name, {}).get("data", {})
            for file in folder.iterdir():
                if file.name not in data:
                    file.unlink()
            for name, text in data.items():
                file = folder / name
                if not file.exists() or file.read_text() != text:
                    _replace(file, text)
        for name in by_name.keys() - {folder.name for folder in self._rules.iterdir()}:
            raise ValueError(f"{name} is one more ConfigMap of rules than the rig watches")


def _unpacked(secrets: Mapping[str, Object], key: str) -> Iterator[str]:
    """What the Secret holds; a watch is for one name, so there is one Secret, or none yet."""
    for secret in secrets.values():
        if packed := secret.get("data", {}).get(key):
            yield gzip.decompress(base64.b64decode(packed)).decode()


def _replace(path: Path, text: str) -> None:
    """Write a file so that no reader sees half of it; the scratch file is not in a watched folder."""
    scratch = path.parent.parent / f".{path.name}"
    scratch.write_text(text)
    scratch.replace(path)
