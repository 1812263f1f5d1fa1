"""Names for annotations: pandas and Altair take seconds to import, so only what holds a table or draws imports them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from altair import LayerChart as LayerChart
    from pandas import DataFrame as DataFrame
    from pandas import Series as Series
else:
    DataFrame = Series = LayerChart = Any
