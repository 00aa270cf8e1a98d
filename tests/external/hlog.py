"""Compares an interval log, as HdrHistogram's Python port reads it, with the JSON and the percentile tables of the same run."""

import json
import pathlib
import re
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

# Our buckets, and the three digits of the log's.
TOLERANCE = 1 / 128 + 1 / 1000
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9}


def read_log(path):
    """All intervals of each tag together, and how many there were."""
    sums, counts = {}, {}
    reader = HistogramLogReader(str(path), HdrHistogram(1, 1 << 40, 3))
    while True:
        histogram = reader.get_next_interval_histogram()
        if histogram is None:
            return sums, counts
        tag = histogram.get_tag() if hasattr(histogram, "get_tag") else None
        sums.setdefault(tag, HdrHistogram(1, 1 << 40, 3)).add(histogram)
        counts[tag] = counts.get(tag, 0) + 1


def read_table(path):
    """The rows of an .hgrm: value in microseconds and quantile; and the count."""
    rows = [tuple(map(float, line.split()[:2])) for line in path.read_text().splitlines() if re.match(r"\s+\d", line)]
    count = re.search(r"Total count\s+=\s+(\d+)", path.read_text())
    return rows, int(count.group(1))


def around(histogram, percentile):
    """The values at the ranks beside the percentile's: implementations round the rank up or to the nearest."""
    count = histogram.get_total_count()
    rank = percentile / 100 * count
    return [histogram.get_value_at_percentile(min(max(near, 1) / count * 100, 100.0)) for near in (rank - 1, rank + 1)]


def main():
    log, report, *tables = map(pathlib.Path, sys.argv[1:])
    directions = json.loads(report.read_text())["bireme"]["directions"]
    sums, intervals = read_log(log)
    wrong = []

    def within(what, value, low, high):
        if not low * (1 - TOLERANCE) <= value <= high * (1 + TOLERANCE):
            wrong.append(f"{what}: {value} is not within {low} and {high}")

    if set(sums) != set(directions):
        sys.exit(f"the log has {sorted(map(str, sums))}, the JSON {sorted(directions)}")
    for name, figures in directions.items():
        want, got = figures["response_ns"] or figures["service_ns"], sums[name]
        for field, percentile in PERCENTILES.items():
            within(f"{name} {field}", want[field], *around(got, percentile))
        within(f"{name} max", want["max"], got.get_max_value(), got.get_max_value())
        within(f"{name} mean", want["mean"], got.get_mean_value(), got.get_mean_value())
        table = next(path for path in tables if len(directions) == 1 or path.name.endswith(f".{name}"))
        rows, count = read_table(table)
        for value, quantile in rows:
            within(f"{name} at {quantile} of the table", value * 1000, *around(got, quantile * 100))
        if not got.get_total_count() == want["count"] == count or len(rows) < 10:
            wrong.append(f"{name}: {got.get_total_count()} in the log, {want['count']} in the JSON, {count} in the table")
        p99 = got.get_value_at_percentile(99.0)
        print(f"  {name}: {want['count']} latencies of {intervals[name]} intervals, {len(rows)} rows of the table, p99 {p99} ns for {want['p99']}")
    sys.exit("\n".join(wrong) or 0)


main()
