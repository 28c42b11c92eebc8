"""The form of the saved objects we write, strictly: what Kibana 8.19 exports for such dashboards, and nothing else.

What it says about panels, grids and options is what Kibana's dashboards API says (48 columns, widths and heights from
1, names of the options); what it says about Lens is the form in which Kibana keeps it. Unknown keys are errors.
"""

# ruff: noqa: N815 - the names are Kibana's

from typing import Annotated, Any, Literal

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1)]
Kql = Literal["kuery"]
DataType = Literal["string", "number", "date", "boolean", "ip"]


class Strict(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An object whose keys are all known."""


class Reference(Strict, frozen=True):
    """A link to another saved object."""

    type: Literal["index-pattern"]
    id: Text
    name: Text


class Query(Strict, frozen=True):
    """A query in the search bar's language."""

    language: Kql
    query: str


class Named(Strict, frozen=True):
    """Something called by an id."""

    id: Text


class _Column(Strict, frozen=True, kw_only=True, tag_field="operationType"):
    label: Text
    customLabel: Literal[True]
    dataType: DataType
    isBucketed: bool


class EmptyAsNull(Strict, frozen=True):
    """Parameters of a count."""

    emptyAsNull: bool
    format: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class _Metric(_Column, frozen=True, kw_only=True):
    isBucketed: Literal[False]
    params: EmptyAsNull
    filter: Query | msgspec.UnsetType = msgspec.UNSET


class Count(_Metric, frozen=True, kw_only=True, tag="count"):
    """All records."""

    sourceField: Literal["___records___"]
    dataType: Literal["number"]


class UniqueCount(_Metric, frozen=True, kw_only=True, tag="unique_count"):
    """Different values."""

    sourceField: Text
    dataType: Literal["number"]


class Maximum(_Metric, frozen=True, kw_only=True, tag="max"):
    """Largest value."""

    sourceField: Text
    dataType: Literal["number", "date"]


class Median(_Metric, frozen=True, kw_only=True, tag="median"):
    """Median."""

    sourceField: Text
    dataType: Literal["number"]


class LastValueParams(Strict, frozen=True):
    """By what the last is found."""

    sortField: Literal["@timestamp"]
    showArrayValues: bool


class LastValue(_Column, frozen=True, kw_only=True, tag="last_value"):
    """The newest value."""

    isBucketed: Literal[False]
    sourceField: Text
    params: LastValueParams
    filter: Query


class OrderByColumn(Strict, frozen=True, tag_field="type", tag="column"):
    """By a metric."""

    columnId: Text


class OrderByName(Strict, frozen=True, tag_field="type", tag="alphabetical"):
    """By name."""

    fallback: bool


class TermsParams(Strict, frozen=True, kw_only=True):
    """Which values are told, in which order: the largest first and no others, as the reader of panels takes it."""

    size: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    orderBy: OrderByColumn | OrderByName
    orderDirection: Literal["desc"]
    otherBucket: Literal[False]
    missingBucket: Literal[False]
    parentFormat: Named
    include: Annotated[list[str], msgspec.Meta(max_length=0)]
    exclude: Annotated[list[str], msgspec.Meta(max_length=0)]
    includeIsRegex: Literal[False]
    excludeIsRegex: Literal[False]


class Terms(_Column, frozen=True, kw_only=True, tag="terms"):
    """One bucket for each value."""

    isBucketed: Literal[True]
    sourceField: Text
    params: TermsParams


class DateHistogramParams(Strict, frozen=True):
    """How wide a bar is."""

    interval: Literal["auto"]
    includeEmptyRows: Literal[True]
    dropPartials: Literal[False]


class DateHistogram(_Column, frozen=True, kw_only=True, tag="date_histogram"):
    """One bucket for each span of time."""

    isBucketed: Literal[True]
    sourceField: Literal["@timestamp"]
    params: DateHistogramParams


class Place(Strict, frozen=True):
    """Where something stands in a formula."""

    min: int
    max: int


class Subtraction(Strict, frozen=True, kw_only=True):
    """The tree of the only formula we write."""

    type: Literal["function"]
    name: Literal["subtract"]
    args: tuple[str, str]
    location: Place
    text: Text


class MathParams(Strict, frozen=True):
    """The formula without its own columns."""

    tinymathAst: Subtraction


class Math(_Column, frozen=True, kw_only=True, tag="math"):
    """A part of a formula."""

    references: tuple[str, str]
    params: MathParams


class FormulaParams(Strict, frozen=True):
    """The formula as people write it."""

    formula: Text
    isFormulaBroken: Literal[False]


class Formula(_Column, frozen=True, kw_only=True, tag="formula"):
    """A formula."""

    references: tuple[str]
    params: FormulaParams


Column = Count | UniqueCount | Maximum | Median | LastValue | Terms | DateHistogram | Math | Formula


class Layer(Strict, frozen=True, kw_only=True):
    """What is asked."""

    columnOrder: list[str]
    columns: dict[str, Column]
    ignoreGlobalFilters: Literal[False]
    incompleteColumns: Annotated[dict[str, Any], msgspec.Meta(max_length=0)]
    sampling: Literal[1]


class FormBased(Strict, frozen=True):
    """The layers of a panel."""

    layers: dict[Literal["data"], Layer]


class DatasourceStates(Strict, frozen=True):
    """Where a panel's data come from."""

    formBased: FormBased


class State(Strict, frozen=True, kw_only=True):
    """What Lens keeps of a panel."""

    adHocDataViews: Annotated[dict[str, Any], msgspec.Meta(max_length=0)]
    internalReferences: Annotated[list[Any], msgspec.Meta(max_length=0)]
    datasourceStates: DatasourceStates
    filters: Annotated[list[Any], msgspec.Meta(max_length=0)]
    query: Query
    visualization: dict[str, Any]


class Attributes(Strict, frozen=True, kw_only=True):
    """A Lens panel by value."""

    title: Text
    description: str
    type: Literal["lens"]
    visualizationType: Literal["lnsMetric", "lnsPie", "lnsXY", "lnsDatatable"]
    references: list[Reference]
    state: State


class Span(Strict, frozen=True, rename={"begin": "from", "end": "to"}):
    """A span of time of a panel's own."""

    begin: Text
    end: Text


class EmbeddableConfig(Strict, frozen=True, kw_only=True):
    """The panel within the dashboard."""

    title: Text
    enhancements: Annotated[dict[str, Any], msgspec.Meta(max_length=0)]
    hidePanelTitles: bool
    attributes: Attributes
    timeRange: Span | msgspec.UnsetType = msgspec.UNSET


class Grid(Strict, frozen=True):
    """Where a panel stands."""

    x: Annotated[int, msgspec.Meta(ge=0, le=47)]
    y: Annotated[int, msgspec.Meta(ge=0)]
    w: Annotated[int, msgspec.Meta(ge=1, le=48)]
    h: Annotated[int, msgspec.Meta(ge=1)]
    i: Text


class Panel(Strict, frozen=True, kw_only=True):
    """One of `panelsJSON`."""

    type: Literal["lens"]
    panelIndex: Text
    gridData: Grid
    embeddableConfig: EmbeddableConfig


class Options(Strict, frozen=True):
    """`optionsJSON`."""

    useMargins: bool
    syncColors: bool
    syncCursor: bool
    syncTooltips: bool
    hidePanelTitles: bool


class FilterState(Strict, frozen=True):
    """Whether a filter follows its reader to other dashboards: it does not."""

    store: Literal["appState"]


class FilterMeta(Strict, frozen=True, kw_only=True):
    """What Kibana shows of a filter."""

    alias: Text
    disabled: Literal[False]
    negate: Literal[False]
    type: Literal["phrases"]
    key: Literal["data_stream.dataset"]
    field: Literal["data_stream.dataset"]
    params: list[str]
    indexRefName: Text


class Filter(Strict, frozen=True, kw_only=True, rename={"state": "$state"}):
    """A filter of the dashboard's own."""

    state: FilterState
    meta: FilterMeta
    query: dict[str, Any]


class SearchSource(Strict, frozen=True):
    """`searchSourceJSON`."""

    query: Query
    filter: tuple[Filter]


class Meta(Strict, frozen=True):
    """What the dashboard itself asks."""

    searchSourceJSON: str


class RefreshInterval(Strict, frozen=True):
    """How often it looks again."""

    pause: bool
    value: Annotated[int, msgspec.Meta(ge=0)]


class DashboardAttributes(Strict, frozen=True, kw_only=True):
    """`attributes` of a dashboard."""

    title: Text
    description: Text
    panelsJSON: str
    optionsJSON: str
    kibanaSavedObjectMeta: Meta
    timeRestore: bool
    timeFrom: Text
    timeTo: Text
    refreshInterval: RefreshInterval
    version: Literal[1]


class DataViewAttributes(Strict, frozen=True):
    """`attributes` of a data view."""

    title: Text
    name: Text
    timeFieldName: Literal["@timestamp"]


class _SavedObject(Strict, frozen=True, kw_only=True, tag_field="type"):
    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]+$")]
    references: list[Reference]
    managed: Literal[False]
    coreMigrationVersion: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+\.\d+$")]
    typeMigrationVersion: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+\.\d+$")]


class Dashboard(_SavedObject, frozen=True, kw_only=True, tag="dashboard"):
    """A dashboard."""

    attributes: DashboardAttributes


class DataView(_SavedObject, frozen=True, kw_only=True, tag="index-pattern"):
    """A data view."""

    attributes: DataViewAttributes


SavedObject = Dashboard | DataView
