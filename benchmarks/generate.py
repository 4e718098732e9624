"""Write a transfer log for benchmarks: steady subscriptions, as at a data centre.

300 clients keep their streams for months; the server writes a block for each of them every day.
Networks are permanent and addresses are IPv4 ones that 0.17's GeoLite data knows, since it stops
at others. The same arguments give the same bytes.
"""

import argparse
import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

CLIENTS = 300
NETWORKS = ("FR", "G", "RA", "RD", "MT", "CL", "GL", "WI", "ND", "IU")
BLOCKS = ("82.64.{}.{}", "129.88.{}.{}", "130.79.{}.{}", "141.14.{}.{}", "193.48.{}.{}")
FIRST_DAY = "2018-01-01"


def subscriptions(rng: random.Random, streams: int) -> list[tuple[str, str, list[str]]]:
    """Address, agent and streams of each client; on average ``streams`` of them."""
    names = [
        f"{network}_S{station:03d}_00_{channel}/MSEED"
        for network in NETWORKS
        for station in range(100)
        for channel in ("HHZ", "HHN", "HHE")
    ]
    found = []
    for number in range(CLIENTS):
        low, high = rng.randrange(1, 250), number % 250 + 1
        address = BLOCKS[number % len(BLOCKS)].format(low, high)
        first = rng.randrange(len(names))
        count = rng.randint(1, 2 * streams - 1) if streams > 5 else streams
        own = [names[(first + step) % len(names)] for step in range(count)]
        found.append((address, rng.choice(("slarchive", "Client", "chain_plugin")), own))
    return found


def entries(
    lines: int, streams: int, first: datetime
) -> Iterator[tuple[datetime, str, str, list[tuple[str, int]]]]:
    """Log time, address, agent and transfers (stream, packets) of each entry."""
    rng = random.Random(20181)
    clients = subscriptions(rng, streams)
    day = first
    while lines > 0:
        day += timedelta(days=1)
        for address, agent, own in clients:
            taken = own[: max(lines, 0)]
            if taken:
                yield day, address, agent, [(name, rng.randint(50, 90_000)) for name in taken]
            lines -= len(taken)


def write(
    path: Path,
    lines: int,
    *,
    streams: int = 108,
    json_lines: bool = False,
    first: str = FIRST_DAY,
) -> None:
    """Write a log of ``lines`` transfers, from the day ``first`` on, to ``path``."""
    begin = datetime.fromisoformat(first)
    connected = begin - timedelta(hours=7)
    with path.open("w") as file:
        for time, address, agent, transfers in entries(lines, streams, begin):
            total = sum(packets * 512 for _, packets in transfers)
            host = f"host-{address.replace('.', '-')}.example.org"
            if json_lines:
                one = {
                    "log_time": f"{time:%Y-%m-%dT%H:%M:%SZ}",
                    "log_start_time": f"{time - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
                    "connect_time": f"{connected:%Y-%m-%dT%H:%M:%SZ}",
                    "client": {
                        "ip": address,
                        "server_port": 18000,
                        "hostname": host,
                        "user_agent": agent,
                    },
                    "transfer_protocol": {"name": "SeedLink", "version": "3.1"},
                    "transfer_direction": "TX",
                    "service": {"name": "ringserver", "version": "4.5.3"},
                    "streams": [
                        {"stream_id": name, "bytes": packets * 512, "packets": packets}
                        for name, packets in transfers
                    ],
                    "transfer_bytes": total,
                }
                file.write(json.dumps(one, separators=(",", ":")) + "\n")
                continue
            file.write(
                f"START CLIENT {host} [{address}] (SeedLink|{agent}) @ {time:%Y-%m-%d %H:%M:%S}"
                f" (connected {connected:%Y-%m-%d %H:%M:%S}) TX\n"
            )
            file.writelines(f"{name} {packets * 512} {packets}\n" for name, packets in transfers)
            file.write(f"END CLIENT {host} [{address}] total TX bytes: {total}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--streams", type=int, default=108, help="streams of a client, on average")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--first", default=FIRST_DAY, help="the day with which it begins")
    given = parser.parse_args()
    write(given.path, given.lines, streams=given.streams, json_lines=given.json, first=given.first)
