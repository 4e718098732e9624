"""Statistics of what a ringserver serves, read from its usage logs.

The parts in the order in which data flows through them: ``logs`` (what a ringserver wrote, as
columns), ``enrich`` (what is known of a client and of a stream), ``store`` (what is kept),
``statistics`` (what can be asked), ``cli``. ``ingest`` joins the first three.
"""

__version__ = "1.0.0.dev0"
