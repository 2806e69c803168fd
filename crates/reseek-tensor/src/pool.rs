//! The one thread pool of the program. Work is cut into *lanes*: a number of items fixed by the
//! recipe, not by the machine, so results are the same bits on one thread and on many.

use std::cell::Cell;
use std::sync::{Arc, OnceLock, RwLock};

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::env::EnvError;

/// Environment variable with the number of threads, read when nothing has called
/// [`set_threads`] before the pool's first use.
pub const THREADS_ENV: &str = "RESEEK_THREADS";

/// Most threads that the variable may ask for: more is a typing error.
const THREADS_MAX: usize = 4096;

/// Sets the number of threads of everything that starts after this call. Work already under way
/// finishes on the old threads.
///
/// # Panics
/// If `n` is 0, or if the system refuses to start the threads.
pub fn set_threads(n: usize) {
    assert!(n > 0, "the pool needs at least one thread, got 0");
    let pool = build(n);
    *slot().write().unwrap_or_else(|poisoned| poisoned.into_inner()) = pool;
}

/// Number of threads that [`map_lanes`] runs on.
pub fn threads() -> usize {
    current().current_num_threads()
}

/// Whether the caller already runs inside a parallel region, so that splitting its work further
/// would only add overhead.
pub fn on_worker() -> bool {
    rayon::current_thread_index().is_some()
}

/// Whether threads of the pool wait while the caller works: it runs a single lane, or is outside of the pool and may go in.
pub(crate) fn has_idle_threads() -> bool {
    ALONE.get() && rayon::current_num_threads() > 1
}

/// Threads of the pool that the caller runs in.
pub(crate) fn threads_here() -> usize {
    rayon::current_num_threads()
}

/// Runs `f` on the parts of `0..n` that the pool's threads get, this one's first. Only inside of a single lane.
pub(crate) fn join_parts(n: usize, f: impl Fn(std::ops::Range<usize>) + Sync) {
    let threads = rayon::current_num_threads();
    rayon::in_place_scope(|scope| {
        let f = &f;
        for thread in 1..threads {
            let part = thread * n / threads..(thread + 1) * n / threads;
            scope.spawn(move |_| f(part));
        }
        f(0..n / threads);
    });
}

/// Runs `f` on every item, on whichever of the pool's threads is free, this one among them. Only inside of a single lane.
pub(crate) fn join_each<T: Send>(items: Vec<T>, f: impl Fn(T) + Sync) {
    rayon::in_place_scope(|scope| {
        let f = &f;
        let mut items = items.into_iter();
        let first = items.next();
        items.for_each(|item| scope.spawn(move |_| f(item)));
        first.into_iter().for_each(f);
    });
}

/// Sets [`ALONE`] back, also when a lane panics.
struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        ALONE.set(self.0);
    }
}

thread_local! {
    /// Whether this thread runs the only lane of a call.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` on every item, one task per item, and returns the results in the items' order.
/// Takes `Vec<T>`, `&mut [T]`, `&[T]` or a range; `enumerate` the items first where `f` needs the
/// lane's number.
///
/// # Panics
/// With `f`'s own panic, once every started lane has ended.
///
/// ```
/// let squares = reseek_tensor::pool::map_lanes(0..4_usize, |lane| lane * lane);
/// assert_eq!(squares, [0, 1, 4, 9]);
/// ```
pub fn map_lanes<I, R, F>(items: I, f: F) -> Vec<R>
where
    I: IntoParallelIterator + Send,
    I::Iter: IndexedParallelIterator,
    R: Send,
    F: Fn(I::Item) -> R + Sync + Send,
{
    let items = items.into_par_iter().with_max_len(1);
    let single = items.len() == 1;
    let f = |item| {
        let _restore = Restore(ALONE.replace(single));
        f(item)
    };
    current().install(|| items.map(f).collect())
}

fn current() -> Arc<ThreadPool> {
    slot().read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
}

fn slot() -> &'static RwLock<Arc<ThreadPool>> {
    static POOL: OnceLock<RwLock<Arc<ThreadPool>>> = OnceLock::new();
    POOL.get_or_init(|| {
        let n = threads_from_env().unwrap_or_else(|error| panic!("{error}"));
        RwLock::new(build(n))
    })
}

fn build(n: usize) -> Arc<ThreadPool> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(n)
        .thread_name(|index| format!("lane-{index}"))
        .build()
        .unwrap_or_else(|error| panic!("cannot start a pool of {n} threads: {error}"));
    Arc::new(pool)
}

/// The number of threads that `RESEEK_THREADS` asks for, or one for each core.
///
/// # Errors
/// If the variable is no positive number.
pub(crate) fn threads_from_env() -> Result<usize, EnvError> {
    let Some(text) = crate::env::read(THREADS_ENV)? else {
        return Ok(std::thread::available_parallelism().map_or(1, usize::from));
    };
    parse_threads(&text)
}

fn parse_threads(text: &str) -> Result<usize, EnvError> {
    match text.parse() {
        Ok(n) if (1..=THREADS_MAX).contains(&n) => Ok(n),
        _ => Err(EnvError::new(THREADS_ENV, text, format!("a number from 1 to {THREADS_MAX}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_on_any_number_of_threads() {
        for n in [1, 2, 5] {
            set_threads(n);
            assert_eq!(threads(), n);
            assert_eq!(
                map_lanes((0..97).collect::<Vec<usize>>(), |i| 3 * i),
                (0..97).map(|i| 3 * i).collect::<Vec<_>>()
            );
            let mut items = vec![1, 2, 3];
            let lanes: Vec<usize> = map_lanes(items.iter_mut().enumerate().collect::<Vec<_>>(), |(lane, item)| {
                *item += 10;
                lane
            });
            assert_eq!((items, lanes), (vec![11, 12, 13], vec![0, 1, 2]));
            assert!(map_lanes(0..3_usize, |_| on_worker()).iter().all(|&inside| inside));
        }
        assert!(!on_worker());
    }

    #[test]
    fn threads_from_text() {
        assert_eq!(parse_threads("3"), Ok(3));
        for text in ["0", "-1", "two", "1e9", "99999999999999999999"] {
            let error = parse_threads(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("RESEEK_THREADS={text}: expected a number")), "{error}");
        }
    }

    #[test]
    #[should_panic(expected = "lane 5 fell over")]
    fn a_panic_reaches_the_caller() {
        map_lanes(0..8_usize, |lane| assert!(lane != 5, "lane {lane} fell over"));
    }
}
