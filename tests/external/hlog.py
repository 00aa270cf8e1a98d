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


def close(got, want, exact=False):
    return got == want if exact else abs(got - want) <= want * TOLERANCE


def main():
    log, report, *tables = map(pathlib.Path, sys.argv[1:])
    directions = json.loads(report.read_text())["bireme"]["directions"]
    sums, intervals = read_log(log)
    failed = 0

    def compare(what, got, want, exact=False):
        nonlocal failed
        if not close(got, want, exact):
            failed += 1
            print(f"  {what}: the log says {got}, the JSON {want}")

    if set(sums) != set(directions):
        sys.exit(f"the log has {sorted(map(str, sums))}, the JSON {sorted(directions)}")
    for name, figures in directions.items():
        want, got = figures["response_ns"] or figures["service_ns"], sums[name]
        compare(f"{name} count", got.get_total_count(), want["count"], exact=True)
        for field, percentile in PERCENTILES.items():
            compare(f"{name} {field}", got.get_value_at_percentile(percentile), want[field])
        compare(f"{name} max", got.get_max_value(), want["max"])
        compare(f"{name} mean", got.get_mean_value(), want["mean"])
        table = next(path for path in tables if len(directions) == 1 or path.name.endswith(f".{name}"))
        rows, count = read_table(table)
        compare(f"{name} count of the table", count, want["count"], exact=True)
        for field, percentile in PERCENTILES.items():
            value = next(value for value, quantile in rows if quantile * 100 >= percentile)
            compare(f"{name} {field} of the table", got.get_value_at_percentile(percentile), value * 1000 * 1.0)
        print(f"  {name}: {want['count']} latencies of {intervals[name]} intervals, p99 {got.get_value_at_percentile(99.0)} ns for {want['p99']}")
    sys.exit(1 if failed else 0)


main()
