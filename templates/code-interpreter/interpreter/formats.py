"""What a value is shown as besides text: `e2b/data`, `e2b/chart`, JSON.

Nothing heavy is imported here: pandas and matplotlib are recognised by the
name of a value's class, so a cell that uses neither pays for neither.
"""

from IPython.core.formatters import BaseFormatter
from traitlets import ObjectName, Unicode


class TableFormatter(BaseFormatter):
    """Columns of a table, for objects with `_repr_e2b_data_` and data frames."""

    format_type = Unicode("e2b/data")
    print_method = ObjectName("_repr_e2b_data_")
    _return_type = dict


class ChartFormatter(BaseFormatter):
    """What a figure plots, for objects with `_repr_e2b_chart_` and figures."""

    format_type = Unicode("e2b/chart")
    print_method = ObjectName("_repr_e2b_chart_")
    _return_type = dict

    def __call__(self, obj):
        # Figures are not registered like frames: the inline backend takes them out
        # of every formatter whenever it is configured.
        return chart(obj) if is_figure(obj) else super().__call__(obj)


def is_figure(obj):
    """Whether it is a figure, found out without importing matplotlib."""
    names = [(kind.__module__, kind.__name__) for kind in type(obj).__mro__]
    return ("matplotlib.figure", "Figure") in names


def table(frame):
    """Columns by name; dates as ISO text, missing values as null."""
    import pandas

    def cell(value):
        if isinstance(value, (pandas.Timestamp, pandas.Timedelta)):
            return value.isoformat()
        if isinstance(value, pandas.Period):
            return str(value)
        return value

    def column(values):
        missing = values.isna().tolist()
        return [None if gone else cell(value) for value, gone in zip(values.tolist(), missing)]

    columns = {str(name): column(frame.iloc[:, place]) for place, name in enumerate(frame.columns)}
    return as_json(columns)


def chart(figure):
    """The chart's dictionary; `{}` where the figure holds nothing known."""
    import warnings

    try:
        from e2b_charts import chart_figure_to_dict

        with warnings.catch_warnings():
            # Its model wonders about ticks that are whole numbers; a cell did not ask.
            warnings.simplefilter("ignore")
            return chart_figure_to_dict(figure)
    except Exception:
        return {}


def as_json(value):
    """A copy made of plain JSON values, or None where that cannot be done."""
    import orjson

    try:
        flags = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
        return orjson.loads(orjson.dumps(value, option=flags, default=str_of_number))
    except (TypeError, ValueError, RecursionError):
        return None


def str_of_number(value):
    """Decimals and fractions keep their digits; anything else is refused."""
    from numbers import Number

    if isinstance(value, Number):
        return str(value)
    raise TypeError


def install(shell):
    """Adds the formatters to a shell."""
    formatters = shell.display_formatter.formatters
    tables = TableFormatter(parent=shell.display_formatter)
    charts = ChartFormatter(parent=shell.display_formatter)
    # pandas 3 names its public module, older ones the one of the definition.
    for module in ("pandas", "pandas.core.frame"):
        tables.for_type_by_name(module, "DataFrame", table)
    formatters["e2b/data"] = tables
    formatters["e2b/chart"] = charts
    for kind in (list, dict):
        formatters["application/json"].for_type(kind, as_json)
