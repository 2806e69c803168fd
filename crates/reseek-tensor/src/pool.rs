//! The one thread pool of the program. Work is cut into *lanes*: a number of items fixed by the
//! recipe, not by the machine, so results are the same bits on one thread and on many.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::env::EnvError;
use crate::team;

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

/// Whether threads of the pool have nothing to do while the caller works: fewer lanes than threads are left of its call, or it is outside of
/// the pool.
pub(crate) fn has_idle_threads() -> bool {
    if on_worker() { lanes_left() < rayon::current_num_threads() } else { threads() > 1 }
}

/// Whether some of these are likely to be awake: short work is shared only then.
pub(crate) fn has_awake_threads() -> bool {
    (on_worker() || team::has_helpers()) && has_idle_threads()
}

/// Runs `f` on ranges that make up `0..n`, on this thread and those that have nothing to do. Only where [`has_idle_threads`].
///
/// # Panics
/// With `f`'s own panic, once every range has ended.
pub(crate) fn share(n: usize, f: impl Fn(Range<usize>) + Sync) {
    if on_worker() {
        return team::share(n, rayon::current_num_threads(), &f, rayon::spawn);
    }
    let pool = current();
    team::share(n, pool.current_num_threads(), &f, |help| pool.spawn(help));
}

thread_local! {
    /// Lanes that have not ended, of the call whose lane this thread runs.
    static LEFT: RefCell<Option<Arc<AtomicUsize>>> = const { RefCell::new(None) };
}

/// Lanes that have not ended of the innermost call that this thread works for; no end of them where that is unknown.
fn lanes_left() -> usize {
    LEFT.with_borrow(|left| left.as_ref().map_or(usize::MAX, |left| left.load(Ordering::Relaxed)))
}

/// A lane at work: one less is left once it is dropped, also when the lane panics.
struct Lane {
    left: Arc<AtomicUsize>,
    outer: Option<Arc<AtomicUsize>>,
}

impl Lane {
    fn enter(left: &Arc<AtomicUsize>) -> Self {
        Self { left: Arc::clone(left), outer: LEFT.replace(Some(Arc::clone(left))) }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.left.fetch_sub(1, Ordering::Relaxed);
        LEFT.set(self.outer.take());
    }
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
    let left = Arc::new(AtomicUsize::new(items.len()));
    let f = |item| {
        let _lane = Lane::enter(&left);
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
            assert!(error.starts_with(&format!("RESEEK_THREADS={text} will not do: it takes a number")), "{error}");
        }
    }

    #[test]
    #[should_panic(expected = "lane 5 fell over")]
    fn a_panic_reaches_the_caller() {
        map_lanes(0..8_usize, |lane| assert!(lane != 5, "lane {lane} fell over"));
    }
}
