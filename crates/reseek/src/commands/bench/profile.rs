//! Where a benchmark's time goes: a table by op, and a trace for Perfetto.

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
/// `seconds` is the recording's length, `peak` the machine's GFLOP/s in the benchmark's format.
pub fn table(events: &[Event], seconds: f64, peak: f64) -> Value {
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
    // Rates are a thread's: one nanosecond of one thread is the unit of time here.
    let round = |x: f64| (x * 1e3).round() / 1e3;
    let mut rows: Vec<Value> = totals
        .iter()
        .map(|(op, total)| {
            let ns = total.ns.max(1) as f64;
            json!({
                "op": op.to_string(), "calls": total.calls, "share": round(total.ns as f64 / all),
                "gflops": round(total.flops as f64 / ns * threads() as f64),
                "share_of_peak": round(total.flops as f64 / ns * threads() as f64 / peak),
                "gb_per_s": round(total.bytes as f64 / ns * threads() as f64),
            })
        })
        .collect();
    rows.push(json!({"op": "the rest", "share": round(1.0 - in_ops as f64 / all)}));
    Value::Array(rows)
}

/// The rows of [`table`] for people.
pub fn print(rows: &Value) {
    crate::say!("  {:<24} {:>7} {:>9} {:>9} {:>13} {:>7}", "op", "share", "calls", "GFLOP/s", "share of peak", "GB/s");
    for row in rows.as_array().into_iter().flatten() {
        let number = |key: &str| row[key].as_f64().unwrap_or(0.0);
        let name = row["op"].as_str().unwrap_or_default();
        match row["calls"].as_u64() {
            Some(calls) => crate::say!(
                "  {name:<24} {:>6.1}% {calls:>9} {:>9.1} {:>12.1}% {:>7.1}",
                100.0 * number("share"),
                number("gflops"),
                100.0 * number("share_of_peak"),
                number("gb_per_s")
            ),
            None => crate::say!("  {name:<24} {:>6.1}%", 100.0 * number("share")),
        }
    }
}

/// The recording in the trace-event format that Perfetto and Chrome open.
pub fn trace(events: &[Event]) -> Value {
    let us = |ns: u64| ns as f64 / 1e3;
    let slices: Vec<Value> = events
        .iter()
        .map(|event| {
            json!({
                "name": event.op.to_string(), "ph": "X", "pid": 1, "tid": event.thread, "ts": us(event.start_ns),
                "dur": us(event.total_ns), "args": {"flops": event.flops, "bytes": event.bytes},
            })
        })
        .collect();
    json!({"traceEvents": slices, "displayTimeUnit": "ms"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_threads_and_add_up() {
        let event =
            |op, own_ns, flops| Event { op, thread: 0, start_ns: 1500, total_ns: 2000, own_ns, flops, bytes: 0 };
        let events = [event(Op::RmsNorm, 1000, 0), event(Op::Matmul, 3000, 6000), event(Op::Matmul, 1000, 2000)];
        let rows = table(&events, 1e-5, 4.0 * threads() as f64);
        assert_eq!((&rows[0]["op"], &rows[0]["calls"]), (&json!("matmul"), &json!(2)));
        assert_eq!(rows[0]["share_of_peak"], json!(0.5));
        let shares: f64 = rows.as_array().unwrap().iter().map(|row| row["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 2e-3, "{shares}");
        let slice = &trace(&events)["traceEvents"][0];
        assert_eq!((&slice["ts"], &slice["dur"], &slice["ph"]), (&json!(1.5), &json!(2.0), &json!("X")));
    }
}
