"""Statistics of what a ringserver serves, read from its usage logs.

Packages, in the order of the data flow: ``logs`` (parsed columns), ``enrich`` (locations, classes
and networks of clients and streams), ``store`` (the database), ``statistics`` (queries),
``exports``, ``cli`` and ``web``. ``ingest`` joins the first three.
"""

__version__ = "1.0.0.dev0"
