"""The files that a StatefulSet would mount: the configuration and the rules that prometheus-operator wrote.

A kubelet would project a Secret and some ConfigMaps into the pod of Prometheus. Here two watches write them to files;
the real config-reloader does the rest, as in a cluster.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from pathlib import Path

from rig.access import Access
from rig.watching import Object, Watch

# The reloader watches folders, not trees, so they are there from the beginning. One holds about 500 kB of rules.
_RULE_FOLDERS = 32
_MOUNTED_RULES = "/etc/prometheus/rules/"


class Mirror:
    """Keeps ``prometheus.yaml`` and the rule files of one Prometheus object in step with the cluster."""

    def __init__(self, access: Access, folder: Path, *, namespace: str, prometheus: str) -> None:
        self.configuration = folder / "prometheus.in.yaml"
        self._rules = folder / "rules"
        self._key = f"prometheus-{prometheus}"
        base = f"/api/v1/namespaces/{namespace}"
        self._watches = [
            Watch(
                access,
                f"{base}/secrets",
                self._write_configuration,
                fieldSelector=f"metadata.name={self._key}",
            ),
            Watch(
                access,
                f"{base}/configmaps",
                self._write_rules,
                labelSelector=f"prometheus-name={prometheus}",
            ),
        ]
        for number in range(_RULE_FOLDERS):
            (self._rules / f"{self._key}-rulefiles-{number}").mkdir(parents=True)

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

    def _write_configuration(self, secrets: Mapping[str, Object]) -> None:
        # The watch is for one name: there is one Secret, or none yet.
        packed = [secret.get("data", {}).get("prometheus.yaml.gz") for secret in secrets.values()]
        if not packed or not packed[0]:
            return
        text = gzip.decompress(base64.b64decode(packed[0])).decode()
        # The configuration names the mount of the pod. An ordinary user has no /etc/prometheus to mount something
        # over, and a bind mount for one process needs another program, so the prefix is replaced instead.
        _replace(self.configuration, text.replace(_MOUNTED_RULES, f"{self._rules}/"))

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


def _replace(path: Path, text: str) -> None:
    """Write a file so that no reader sees half of it; the scratch file is not in a watched folder."""
    scratch = path.parent.parent / f".{path.name}"
    scratch.write_text(text)
    scratch.replace(path)
