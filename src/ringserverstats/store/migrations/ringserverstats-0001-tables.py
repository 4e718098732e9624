"""The tables of a new store, for yoyo's own command."""

from yoyo import step

from ringserverstats.store.schema import new_schema
from ringserverstats.store.tables import POSTGRESQL

steps = [step(new_schema(POSTGRESQL))]
