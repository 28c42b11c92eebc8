"""The Elastic package: everything of Doorwatch that an Elastic Stack takes, as one integration package."""

from kibana_dashboards.package.archive import write_package
from kibana_dashboards.package.contents import PACKAGE, Package, contents

__all__ = ["PACKAGE", "Package", "contents", "write_package"]
