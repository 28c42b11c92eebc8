"""The package's manifests and its changelog."""

from collections.abc import Iterable
from typing import Any

from beat_bridge.ecs.templates import DATASETS
from kibana_dashboards.pictures import Picture

FORMAT_VERSION = "3.6.6"
"""Of elastic/package-spec: the newest that is released."""
KIBANA = "^8.19.0 || ^9.0.0"
TITLES = {
    "finding": ("Doorwatch Findings", "What the detectors found, when it opened, changed and was gone."),
    "inventory": ("Doorwatch Inventory", "What each sensor could and could not look at, and every noteworthy socket."),
    "heartbeat": ("Doorwatch Heartbeats", "That a bridge or an agent is alive, and how it is doing."),
    "response": ("Doorwatch Responses", "What the responder did, refused or undid, step by step."),
}
_BACKGROUND = "https://attack.mitre.org/techniques/T1205/002/"
"""Socket filters as a signal to a backdoor: a changelog entry has to lead somewhere, and this is what it is about."""


def manifest(name: str, version: str, screenshots: Iterable[Picture]) -> dict[str, Any]:
    """`manifest.yml`.

    Args:
        name: Of the package.
        version: Of Doorwatch, without a pre-release tag.
        screenshots: Pictures of the dashboards, in the package's folder `img`.
    """
    return {
        "format_version": FORMAT_VERSION,
        "name": name,
        "title": "Doorwatch",
        "version": version,
        "description": "Find BPFDoor-class Linux backdoors from inside and below the host, and contain the hosts that "
        "carry them: data streams, detection rules, dashboards and osquery packs.",
        "type": "integration",
        "source": {"license": "Apache-2.0"},
        "categories": ["security", "edr_xdr"],
        "conditions": {
            "kibana": {"version": KIBANA},
            "elastic": {"subscription": "basic", "capabilities": ["security"]},
        },
        "icons": [
            {"src": "/img/doorwatch.svg", "title": "Doorwatch", "size": "32x32", "type": "image/svg+xml"},
        ],
        "screenshots": [
            {
                "src": f"/img/{shot.file_name}",
                "title": shot.title,
                "size": f"{shot.width}x{shot.height}",
                "type": "image/svg+xml",
            }
            for shot in screenshots
        ],
        "owner": {"github": "doorwatch", "type": "community"},
    }


def data_stream_manifest(dataset: str) -> dict[str, Any]:
    """`data_stream/DATASET/manifest.yml`.

    Args:
        dataset: One of `DATASETS`.
    """
    return {
        "title": TITLES[dataset][0],
        "type": "logs",
        "dataset": f"doorwatch.{dataset}",
        "elasticsearch": {
            "index_template": {
                "settings": {"index": {"codec": "best_compression"}},
                "mappings": {"dynamic": False, "date_detection": False},
            }
        },
    }


def changelog(version: str) -> list[dict[str, Any]]:
    """`changelog.yml`."""
    return [
        {
            "version": version,
            "changes": [
                {
                    "description": f"Data streams for {', '.join(DATASETS[:-1])} and {DATASETS[-1]} documents, "
                    "detection rules, dashboards, osquery packs.",
                    "type": "enhancement",
                    "link": _BACKGROUND,
                }
            ],
        }
    ]
