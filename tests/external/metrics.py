"""Scrapes a run several times, and checks what a scrape must keep: names, types, counters that only grow, histograms that add up."""

import sys
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families


def scrape(address):
    with urllib.request.urlopen(address, timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.headers
        text = answer.read().decode()
    return text, {family.name: family for family in text_string_to_metric_families(text)}


def check(families):
    for family in families.values():
        assert family.name.startswith("bireme_") and family.documentation.endswith("."), family
        assert family.type in ("counter", "gauge", "histogram"), family
        if family.type != "histogram":
            continue
        for direction in {sample.labels.get("direction") for sample in family.samples}:
            own = [sample for sample in family.samples if sample.labels.get("direction") == direction]
            buckets = [(float(s.labels["le"]), s.value) for s in own if s.name.endswith("_bucket")]
            count = next(s.value for s in own if s.name.endswith("_count"))
            total = next(s.value for s in own if s.name.endswith("_sum"))
            assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets), buckets
            assert buckets[-1] == (float("inf"), count), (buckets[-1], count)
            least = sum((value - before) * bound for (bound, before), (_, value) in zip(buckets, buckets[1:]))
            assert least <= total * (1 + 1e-9), (least, total)


def main():
    address, kept = sys.argv[1:]
    before, phases, text = {}, set(), ""
    for _ in range(12):
        text, families = scrape(address)
        check(families)
        now = {(s.name, *sorted(s.labels.items())): s.value for f in families.values() if f.type == "counter" for s in f.samples}
        for key, value in before.items():
            assert now[key] >= value, (key, value, now[key])
        phases |= {s.labels["phase"] for s in families["bireme_phase"].samples if s.value == 1}
        before = now
        time.sleep(0.2)
    done = {key: value for key, value in before.items() if key[0] == "bireme_operations_total"}
    assert len(done) == 4 and all(value > 0 for value in done.values()), done
    assert {"warm-up", "measuring"} <= phases, phases
    for name in ("bireme_service_time_seconds", "bireme_response_time_seconds", "bireme_flush_time_seconds", "bireme_build_info"):
        assert name in families, families.keys()
    open(kept, "w").write(text)
    print(f"{len(families)} families in 12 scrapes, {sum(done.values()):.0f} operations at last, phases {sorted(phases)}")


main()
