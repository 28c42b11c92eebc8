"""docs/README.md of the package, made from what is in it."""

from collections.abc import Iterable

from beat_bridge.ecs.ecs_usage import ECS_USAGE
from beat_bridge.ecs.fields import ecs_fields
from beat_bridge.ecs.own_fields import OWN_FIELDS
from beat_bridge.ecs.templates import DATASETS
from detection_rules.rule_file import RuleTable
from kibana_dashboards.dashboards.rendering import render
from kibana_dashboards.package.manifests import TITLES
from kibana_dashboards.pictures import Picture
from osquery_packs import Pack


def render_readme(rules: Iterable[RuleTable], packs: Iterable[Pack], shots: Iterable[Picture]) -> str:
    """What an operator reads in Kibana before and after installing the package.

    Args:
        rules: The detection rules it carries.
        packs: The osquery packs it carries.
        shots: Pictures of its dashboards.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    return render(
        "kibana_dashboards.package",
        "README.md.j2",
        data_streams=[(dataset, *TITLES[dataset]) for dataset in DATASETS],
        rules=sorted(rules, key=lambda rule: rule.name),
        packs=sorted(packs, key=lambda pack: pack.name),
        shots=list(shots),
        fields=[
            *((name, ecs_fields()[name].type, _in_a_cell(use)) for name, use in ECS_USAGE.items()),
            *((own.name, own.type.value, _in_a_cell(own.description)) for own in OWN_FIELDS),
        ],
    )


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|")
