//! Where a step's time goes: the ops of a recording summed up by kind.

use std::collections::BTreeMap;

use reseek_tensor::pool::threads;
use reseek_tensor::profile::{Event, Op};
use serde_json::{Value, json};

/// What one kind of op did in a recording.
#[derive(Default)]
struct Total {
    calls: u64,
    ns: u64,
    flops: u64,
    bytes: u64,
}

/// A row for each kind of op, the longest first, and what is left of the time of all threads: waiting, allocation, and whatever is no op.
/// `seconds` is the recording's length. Rates are those of all threads together, as if all of them ran this op.
pub fn table(events: &[Event], seconds: f64) -> Value {
    let mut totals: BTreeMap<Op, Total> = BTreeMap::new();
    for event in events {
        let total = totals.entry(event.op).or_default();
        total.calls += 1;
        total.ns += event.own_ns;
        total.flops += event.flops;
        total.bytes += event.bytes;
    }
    let all = seconds * 1e9 * threads() as f64;
    let in_ops: u64 = totals.values().map(|total| total.ns).sum();
    let mut totals: Vec<(Op, Total)> = totals.into_iter().collect();
    totals.sort_by_key(|(_, total)| std::cmp::Reverse(total.ns));
    // One nanosecond of one thread is the unit of time here.
    let mut rows: Vec<Value> = totals
        .iter()
        .map(|(op, total)| {
            let ns = total.ns.max(1) as f64;
            json!({
                "op": op.to_string(), "calls": total.calls, "share": round(total.ns as f64 / all),
                "gflops": round(total.flops as f64 / ns * threads() as f64),
                "gb_per_s": round(total.bytes as f64 / ns * threads() as f64),
            })
        })
        .collect();
    rows.push(json!({"op": "the rest", "share": round(1.0 - in_ops as f64 / all)}));
    Value::Array(rows)
}

fn round(x: f64) -> f64 {
    (x * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_threads_and_add_up() {
        let event =
            |op, own_ns, flops| Event { op, thread: 0, start_ns: 1500, total_ns: 2000, own_ns, flops, bytes: 0 };
        let events = [event(Op::RmsNorm, 1000, 0), event(Op::Matmul, 3000, 6000), event(Op::Matmul, 1000, 2000)];
        let rows = table(&events, 1e-5);
        assert_eq!((&rows[0]["op"], &rows[0]["calls"]), (&json!("matmul"), &json!(2)));
        assert_eq!(rows[0]["gflops"], json!(2.0 * threads() as f64));
        let shares: f64 = rows.as_array().unwrap().iter().map(|row| row["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 2e-3, "{shares}");
    }
}
