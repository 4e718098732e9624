"""What places cost an ingest: the same logs with databases and without, in turn.

A log of a million lines of 1,500 clients, and one of 200,000 clients with an entry of two lines
each; whole commands into an empty DuckDB store, medians of five.
"""

import argparse
import random
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from run import WORK, Run, in_turn, job

FIRST_DAY = datetime(2026, 1, 1)


def addresses(count: int) -> list[IPv4Address]:
    """Different ones that are public."""
    rng = random.Random(count)
    found = dict[IPv4Address, None]()
    while len(found) < count:
        address = IPv4Address(rng.randrange(1 << 24, 223 << 24))
        if address.is_global:
            found[address] = None
    return list(found)


def write(path: Path, clients: int, entries: int, lines: int) -> None:
    """A log in which each of ``clients`` has so many ``entries`` of so many ``lines``."""
    rng = random.Random(clients)
    own = addresses(clients)
    with path.open("w") as file:
        for number in range(entries):
            log = FIRST_DAY + timedelta(days=number + 1)
            for place, address in enumerate(own):
                who = f"host-{place}.example.org [{address}]"
                packets = [rng.randint(50, 90_000) for _ in range(lines)]
                file.write(
                    f"START CLIENT {who} (SeedLink|slarchive) @ {log:%Y-%m-%d %H:%M:%S}"
                    f" (connected {FIRST_DAY:%Y-%m-%d %H:%M:%S}) TX\n"
                )
                file.writelines(
                    f"FR_S{(place + step) % 900:03d}_00_HHZ/MSEED {count * 512} {count}\n"
                    for step, count in enumerate(packets)
                )
                file.write(f"END CLIENT {who} total TX bytes: {sum(packets) * 512}\n")


def main() -> None:
    """Measure and print, one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("city", type=Path, help="database with places")
    parser.add_argument("asn", type=Path, help="database with autonomous systems")
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    databases = {"city": str(given.city), "asn": str(given.asn)}
    for clients, entries, lines in ((1_500, 10, 67), (200_000, 1, 2)):
        path = WORK / f"{clients}-clients.log"
        if not path.exists():
            write(path, clients, entries, lines)
        without, with_places = in_turn(
            given.times, lambda p=path: places(p), lambda p=path: places(p, **databases)
        )
        print(
            f"{clients:7,} clients, {clients * entries * lines:9,} lines:"
            f" {without.seconds:5.2f} s without, {with_places.seconds:5.2f} s with places:"
            f" {with_places.seconds / without.seconds:.2f} times,"
            f" {with_places.seconds - without.seconds:.2f} s more;"
            f" {without.cpu:.2f} and {with_places.cpu:.2f} s of CPU:"
            f" {with_places.cpu - without.cpu:.2f} s more; {with_places.megabytes:.0f} MB"
        )


def places(path: Path, *, city: str = "/dev/null", asn: str = "/dev/null") -> Run:
    """Read ``path`` with these databases; those of an empty file tell nothing."""
    return job(path, RINGSERVERSTATS_GEOIP_CITY=city, RINGSERVERSTATS_GEOIP_ASN=asn)


if __name__ == "__main__":
    main()
