"""The configuration file: what it may say, and that each fault is one line with its place."""

from pathlib import Path

import pytest

from beat_bridge.errors import DoorwatchError
from doorwatch import configuration
from doorwatch.configuration import Configuration, HostOptions
from doorwatch.reference import configuration_reference

FULL = """\
state: /var/lib/doorwatch
namespace: production
host:
  interval: 5
spool:
  budget_mib: 64
elasticsearch:
  hosts: ["https://es1.example:9200", "https://es2.example:9200"]
  ca_file: /etc/doorwatch/ca.pem
  api_key_file: /etc/doorwatch/api-key
alerts:
  token_file: /etc/doorwatch/token
  ca_file: /etc/doorwatch/ca.pem
responder:
  port: 8443
  tls_certificate: /etc/doorwatch/certificate.pem
  tls_key: /etc/doorwatch/key.pem
  token_file: /etc/doorwatch/token
"""


def _write(directory: Path, text: str) -> Path:
    path = directory / "doorwatch.yml"
    path.write_text(text)
    return path


def test_a_full_file_is_read_as_it_says(tmp_path: Path) -> None:
    """Every section of a complete file arrives as typed values."""
    loaded = configuration.load(_write(tmp_path, FULL))
    assert loaded.namespace == "production"
    assert loaded.host == HostOptions(interval=5)
    assert loaded.elasticsearch is not None
    assert loaded.elasticsearch.hosts[1] == "https://es2.example:9200"
    assert loaded.responder is not None
    assert loaded.responder.port == 8443


def test_one_line_is_enough(tmp_path: Path) -> None:
    """With a state directory alone, the host is watched and the documents go to the local store."""
    loaded = configuration.load(_write(tmp_path, "state: /var/lib/doorwatch\n"))
    assert loaded == Configuration(state="/var/lib/doorwatch")
    assert loaded.host is not None
    assert loaded.elasticsearch is None


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("stat: /x\n", 1, "stat"),
        ("state: /x\nhost:\n  interval: fast\n", 3, "a number"),
        ("state: /x\nhost:\n  interval: 0\n", 3, "0.1"),
        ("state: /x\nelasticsearch:\n  hosts: https://one.example:9200\n", 3, "a list"),
        ("state: /x\nelasticsearch:\n  hosts: []\n", 3, "length"),
        ("state: /x\nresponder:\n  port: 70000\n  token_file: /t\n", 3, "65535"),
        ("state: relative\n", 1, "absolute"),
        ("state: /x\nalerts:\n  token_file: /t\n", 2, "url"),
    ],
)
def test_a_fault_names_its_line(tmp_path: Path, text: str, line: int, word: str) -> None:
    """An unknown key, a wrong type, a value out of range and a missing partner each name file and line."""
    path = _write(tmp_path, text)
    with pytest.raises(DoorwatchError) as caught:
        configuration.load(path)
    assert str(caught.value).startswith(f"{path}:{line}:"), caught.value
    assert word in str(caught.value)


def test_a_file_that_asks_for_nothing_is_refused(tmp_path: Path) -> None:
    """Neither sensors nor responder: there would be nothing to run."""
    with pytest.raises(DoorwatchError, match="nothing to run"):
        configuration.load(_write(tmp_path, "state: /x\nhost: null\n"))


def test_the_reference_is_what_the_code_says() -> None:
    """docs/configuration.md is made from the types that read the file; `make docs` writes it anew."""
    page = Path(__file__).parent.parent.parent / "docs" / "configuration.md"
    assert page.read_text() == configuration_reference(Configuration)


def test_every_key_is_explained() -> None:
    """No row of the reference lacks its meaning."""
    for row in configuration_reference(Configuration).splitlines():
        if row.startswith("| `"):
            assert row.rsplit("|", 2)[1].strip(), row
