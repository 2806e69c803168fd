//! Where the time goes: each op says what it is, how much it computes and how much memory it must touch at the least.
//!
//! Off, a span costs one relaxed load. The clock is per thread: an op's time is its own, without the ops that it calls.

use std::cell::Cell;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// A product with packed weights.
    Matmul,
    /// A product of at most 32 rows: bound by the weights' way from memory.
    MatmulFewRows,
    /// The gradient of a weight.
    MatmulTransposed,
    /// Weights put into the order in which the kernels read them.
    Pack,
    /// Attention of a training pass.
    AttentionForward,
    /// Its gradients.
    AttentionBackward,
    /// Attention over the keys and values of a cache.
    AttentionCached,
    /// RMSNorm and its gradients.
    RmsNorm,
    /// Gated linear units and their gradients.
    Glu,
    /// Queries and keys turned by their positions.
    Rope,
    /// Softmax and the gradient of the logits; the head's products count as products.
    CrossEntropy,
    /// Rows of a table looked up, and their gradients.
    Embedding,
    /// Activations rounded to bf16 for products.
    Round,
    /// Rows to experts and back.
    Permute,
    /// The optimizer's update.
    AdamW,
}

impl Op {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::Matmul,
        Self::MatmulFewRows,
        Self::MatmulTransposed,
        Self::Pack,
        Self::AttentionForward,
        Self::AttentionBackward,
        Self::AttentionCached,
        Self::RmsNorm,
        Self::Glu,
        Self::Rope,
        Self::CrossEntropy,
        Self::Embedding,
        Self::Round,
        Self::Permute,
        Self::AdamW,
    ];
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Matmul => "matmul",
            Self::MatmulFewRows => "matmul, few rows",
            Self::MatmulTransposed => "matmul, weight gradient",
            Self::Pack => "pack weights",
            Self::AttentionForward => "attention",
            Self::AttentionBackward => "attention, backward",
            Self::AttentionCached => "attention, cached",
            Self::RmsNorm => "rmsnorm",
            Self::Glu => "glu",
            Self::Rope => "rope",
            Self::CrossEntropy => "cross-entropy",
            Self::Embedding => "embedding",
            Self::Round => "round to bf16",
            Self::Permute => "permute",
            Self::AdamW => "adamw",
        })
    }
}

/// One op as it ran.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its kind.
    pub op: Op,
    /// Number of the thread that ran it, in the order in which threads were first seen.
    pub thread: u32,
    /// Since the recording began.
    pub start_ns: u64,
    /// From start to end, with the ops that it called.
    pub total_ns: u64,
    /// Without these.
    pub own_ns: u64,
    /// Additions and multiplications.
    pub flops: u64,
    /// The least that it must read and write.
    pub bytes: u64,
}

/// Records every op that any thread runs during `f`. One recording at a time: another waits.
pub fn record<R>(f: impl FnOnce() -> R) -> (R, Vec<Event>) {
    static ONE: Mutex<()> = Mutex::new(());
    /// Ends the recording also when `f` panics.
    struct Off;
    impl Drop for Off {
        fn drop(&mut self) {
            STATE.store(OFF, Ordering::Relaxed);
        }
    }
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    *recording() = Recording { began: Some(Instant::now()), events: Vec::new() };
    STATE.store(ON, Ordering::Relaxed);
    let off = Off;
    let result = f();
    drop(off);
    let events = std::mem::take(&mut recording().events);
    (result, events)
}

/// What an op holds while it runs.
pub(crate) struct Span(Option<Running>);

struct Running {
    op: Op,
    flops: u64,
    bytes: u64,
    start: Instant,
    /// Time in inner ops that the surrounding op had seen before this one.
    outer_inner_ns: u64,
}

/// Begins an op that computes `flops` operations and touches at least `values` values of 4 bytes.
#[inline]
pub(crate) fn span(op: Op, flops: usize, values: usize) -> Span {
    if STATE.load(Ordering::Relaxed) == OFF {
        return Span(None);
    }
    let outer_inner_ns = INNER_NS.replace(0);
    Span(Some(Running { op, flops: flops as u64, bytes: 4 * values as u64, start: Instant::now(), outer_inner_ns }))
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.end();
        }
    }
}

impl Running {
    fn end(self) {
        let total_ns = self.start.elapsed().as_nanos() as u64;
        let own_ns = total_ns.saturating_sub(INNER_NS.replace(self.outer_inner_ns + total_ns));
        let thread = thread_number();
        let mut recording = recording();
        let Some(began) = recording.began else { return };
        recording.events.push(Event {
            op: self.op,
            thread,
            start_ns: self.start.saturating_duration_since(began).as_nanos() as u64,
            total_ns,
            own_ns,
            flops: self.flops,
            bytes: self.bytes,
        });
    }
}

struct Recording {
    began: Option<Instant>,
    events: Vec<Event>,
}

fn recording() -> std::sync::MutexGuard<'static, Recording> {
    static RECORDING: Mutex<Recording> = Mutex::new(Recording { began: None, events: Vec::new() });
    RECORDING.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn thread_number() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    thread_local! {
        static NUMBER: u32 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|&number| number)
}

const OFF: u8 = 0;
const ON: u8 = 1;
static STATE: AtomicU8 = AtomicU8::new(OFF);

thread_local! {
    /// Time in ops that the op now running on this thread has called.
    static INNER_NS: Cell<u64> = const { Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_op_has_its_own_time_and_those_that_it_calls_theirs() {
        let ((), events) = record(|| {
            let _outer = span(Op::CrossEntropy, 1, 2);
            std::thread::sleep(std::time::Duration::from_millis(2));
            for _ in 0..2 {
                let _inner = span(Op::Matmul, 10, 20);
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        });
        // Other tests of this process may run ops meanwhile.
        let mine = thread_number();
        let events: Vec<Event> = events.into_iter().filter(|event| event.thread == mine).collect();
        assert_eq!(events.iter().map(|e| e.op).collect::<Vec<_>>(), [Op::Matmul, Op::Matmul, Op::CrossEntropy]);
        let [first, second, outer] = events[..] else { panic!("{events:?}") };
        assert_eq!((first.own_ns, first.flops, first.bytes), (first.total_ns, 10, 80));
        assert!(first.total_ns >= 3_000_000 && outer.total_ns >= 8_000_000);
        assert_eq!(outer.own_ns, outer.total_ns - first.total_ns - second.total_ns);
        assert!(outer.start_ns <= first.start_ns && first.start_ns + first.total_ns <= second.start_ns);

        span(Op::RmsNorm, 1, 1);
        let ((), events) = record(|| ());
        assert!(events.iter().all(|event| event.thread != mine), "nothing is kept from outside of a recording");
    }
}
