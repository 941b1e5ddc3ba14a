"""
One self-contained page per run: what happened, in which months and markets, at what cost, and how sure that is.

``subject`` what a page is about, ``readings`` its tables, ``cautions`` its warnings, ``figures`` its charts, ``page``
the HTML; ``backtests`` and ``studies`` make subjects. No address outside the file is asked for: plotly.js is in it.
"""
