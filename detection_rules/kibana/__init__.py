"""Rules as Kibana's detection engine knows them, and back."""

from detection_rules.kibana.body import file_of_body, rule_to_kibana
from detection_rules.kibana.ndjson import Imported, ImportedRule, export_ndjson, import_ndjson

__all__ = ["Imported", "ImportedRule", "export_ndjson", "file_of_body", "import_ndjson", "rule_to_kibana"]
