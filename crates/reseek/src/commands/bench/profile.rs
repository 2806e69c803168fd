//! A benchmark's recording: its table with shares of the machine's peak, and a trace for Perfetto.

use reseek_tensor::profile::Event;
use serde_json::{Value, json};

/// The recording's [`table`](reseek_train::profile::table) with each op's share of `peak`, the machine's GFLOP/s in the benchmark's format.
pub fn table(events: &[Event], seconds: f64, peak: f64) -> Value {
    let mut rows = reseek_train::profile::table(events, seconds);
    for row in rows.as_array_mut().into_iter().flatten() {
        if let Some(gflops) = row["gflops"].as_f64() {
            row["share_of_peak"] = json!((gflops / peak * 1e3).round() / 1e3);
        }
    }
    rows
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
    use reseek_tensor::pool::threads;
    use reseek_tensor::profile::Op;

    use super::*;

    #[test]
    fn shares_of_the_peak_and_a_slice_an_op() {
        let event =
            |op, own_ns, flops| Event { op, thread: 0, start_ns: 1500, total_ns: 2000, own_ns, flops, bytes: 0 };
        let events = [event(Op::RmsNorm, 1000, 0), event(Op::Matmul, 4000, 8000)];
        let rows = table(&events, 1e-5, 4.0 * threads() as f64);
        assert_eq!((&rows[0]["op"], &rows[0]["share_of_peak"]), (&json!("matmul"), &json!(0.5)));
        assert!(rows[2]["share_of_peak"].is_null(), "the rest has no rate: {rows}");
        let slice = &trace(&events)["traceEvents"][0];
        assert_eq!((&slice["ts"], &slice["dur"], &slice["ph"]), (&json!(1.5), &json!(2.0), &json!("X")));
    }
}
