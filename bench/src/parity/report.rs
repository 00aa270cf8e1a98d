//! The figures for people and for programs; `bench/docs/json.md` explains the latter.

use serde_json::{Value, json};

use super::{Figure, Outcome, Plan, Source};
use crate::environment::Environment;
use crate::report::Columns;
use crate::size;
use crate::versus::interval::Interval;

/// The figures as text.
pub fn to_table(plan: &Plan, outcome: &Outcome, environment: &Environment) -> String {
    let mut text = format!(
        "GB of data per second on one core, shards of {}; cold: through {} on {}\nMedians of {} rounds of {} us, with \
         their interval of 95 %\n{}; core {}; in effect: {}\n",
        size::print(plan.shard_bytes as u64),
        size::print(plan.cold_bytes as u64),
        outcome.paging,
        plan.rounds,
        plan.slice_us,
        environment.cpu,
        environment.cores.first().map_or("not pinned".to_owned(), |core| core.core.to_string()),
        outcome.instructions,
    );
    if !outcome.isal {
        text.push_str("ISA-L is not installed (Debian: apt install libisal2), so there is nothing to compare with.\n");
    }
    for shape in &plan.shapes {
        let title = format!("{}+{}", shape.data, shape.parity);
        let mut columns = Columns::new(&[&title, "hot", "interval", "/ ISA-L", "cold", "interval", "/ ISA-L"]);
        let of = |source| outcome.figures.iter().filter(move |one| one.shape == *shape && one.source == source);
        for (hot, cold) in of(Source::Hot).zip(of(Source::Cold)) {
            let cells = [hot, cold].into_iter().flat_map(cells);
            columns.row(std::iter::once(hot.kernel.clone()).chain(cells).collect());
        }
        text.push('\n');
        text.push_str(&columns.print());
    }
    text
}

fn cells(figure: &Figure) -> [String; 3] {
    let range = |interval: Option<Interval>, digits: usize| {
        interval.map_or("-".to_owned(), |i| format!("{:.digits$}-{:.digits$}", i.low, i.high))
    };
    let ratio = |ratio: f64| match figure.isal_ratio_interval {
        None => format!("{ratio:.3}"),
        interval => format!("{ratio:.3} ({})", range(interval, 3)),
    };
    [
        format!("{:.1}", figure.gb_per_s),
        range(figure.gb_per_s_interval, 1),
        figure.isal_ratio.map_or(String::new(), ratio),
    ]
}

/// The figures as JSON.
pub fn to_json(plan: &Plan, outcome: &Outcome, environment: &Environment) -> Value {
    json!({
        "kind": "parity",
        "arguments": plan,
        "instructions": outcome.instructions,
        "isal": outcome.isal,
        "paging": outcome.paging,
        "figures": outcome.figures,
        "environment": environment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::{Shape, measure};

    #[test]
    fn a_short_run_reports_each_kernel_hot_and_cold() {
        let plan = Plan {
            shapes: vec![Shape { data: 3, parity: 2 }, Shape { data: 1, parity: 1 }],
            shard_bytes: 4096,
            cold_bytes: 1 << 20,
            rounds: 2,
            slice_us: 1,
        };
        let outcome = measure(&plan).expect("1 MiB of memory");
        let environment = Environment::gather(&[0], &[] as &[Value], None);
        let table = to_table(&plan, &outcome, &environment);
        for part in ["\n3+2 ", "\n1+1 ", "read sweep", "parity, scalar", "fused", "two lost shards"] {
            assert!(table.contains(part), "{part} is missing in\n{table}");
        }
        assert_eq!(table.contains("apt install libisal2"), !outcome.isal);
        assert!(outcome.figures.iter().all(|figure| figure.gb_per_s > 0.0));
        let json = to_json(&plan, &outcome, &environment);
        let first = &json["figures"][0];
        assert_eq!(
            (&first["data"], &first["source"], &first["kernel"]),
            (&json!(3), &json!("hot"), &json!("read sweep"))
        );
        assert_eq!(json["arguments"]["shapes"][1]["parity"], 1);
    }
}
