//! Work that one thread shares with threads of the pool that have nothing to do.
//!
//! Waking a thread may take as long as a product. So the caller begins at once, and whoever has come takes the next piece, large ones
//! first: a late helper gets less, one that comes after the last piece is not waited for. A helper stays awake for [`STAY`] behind a piece
//! of work, looking for the next, and yields its core to whatever else is to run meanwhile.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use sync::{Arc, AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, Thread, current, look, park};

/// How long a helper looks for more work before it goes back to the pool, in microseconds.
const STAY: u64 = 50;
/// How long the caller looks for its helpers' last pieces before it sleeps, in microseconds.
const WAIT: u64 = 100;

/// What is shared: the numbers `0..total`, taken in ranges.
struct Job {
    total: usize,
    threads: usize,
    next: AtomicUsize,
    finished: AtomicUsize,
    work: *const (dyn Fn(Range<usize>) + Sync),
    caller: Thread,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `work` is `Sync`, and `share` keeps it alive while a range is taken and not finished.
unsafe impl Send for Job {}
// SAFETY: as above.
unsafe impl Sync for Job {}

impl Job {
    /// Takes a share of what is left.
    fn take(&self) -> Option<Range<usize>> {
        let end = |start: usize| start + ((self.total - start) / (2 * self.threads)).max(1);
        let taken = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |start| (start < self.total).then(|| end(start)));
        taken.ok().map(|start| start..end(start))
    }

    /// Works until everything is taken.
    fn work(&self) {
        while let Some(range) = self.take() {
            let len = range.len();
            // SAFETY: `range` is taken and not finished.
            let work = unsafe { &*self.work };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(range))) {
                lock(&self.panic).get_or_insert(panic);
            }
            if self.finished.fetch_add(len, Ordering::AcqRel) + len == self.total {
                self.caller.unpark();
            }
        }
    }

    /// Until helpers have finished what they have taken.
    fn wait(&self) {
        let is_done = || self.finished.load(Ordering::Acquire) == self.total;
        if !look(WAIT, is_done) {
            while !is_done() {
                park();
            }
        }
    }
}

/// The one job that is shared at a time, and its helpers.
struct Team {
    is_busy: AtomicBool,
    job: Mutex<Option<Arc<Job>>>,
    /// Counts jobs.
    number: AtomicUsize,
    /// Helpers that have been called and have not left.
    helpers: AtomicUsize,
}

impl Team {
    /// Runs `f` on ranges that make up `0..total`, on this thread and up to `threads - 1` helpers; `call` has another thread [`Team::help`].
    /// Alone, where another thread is sharing.
    ///
    /// # Panics
    /// With `f`'s own panic, once every range has ended.
    fn share(&self, total: usize, threads: usize, f: &(dyn Fn(Range<usize>) + Sync), call: impl Fn()) {
        if threads == 1 || self.is_busy.swap(true, Ordering::Acquire) {
            return f(0..total);
        }
        // SAFETY: only the lifetime changes. `work` is called for ranges that are taken, and this function does not return before these
        // are finished; afterwards none can be taken.
        let work = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(Range<usize>) + Sync + '_),
                *const (dyn Fn(Range<usize>) + Sync + 'static),
            >(f)
        };
        let job = Arc::new(Job {
            total,
            threads,
            next: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            work,
            caller: current(),
            panic: Mutex::new(None),
        });
        *lock(&self.job) = Some(Arc::clone(&job));
        // A helper that leaves says so before it looks at the number for the last time: it sees this one, or we see it gone.
        self.number.fetch_add(1, Ordering::SeqCst);
        for _ in self.helpers.load(Ordering::SeqCst) + 1..threads {
            self.helpers.fetch_add(1, Ordering::SeqCst);
            call();
        }
        job.work();
        job.wait();
        *lock(&self.job) = None;
        self.is_busy.store(false, Ordering::Release);
        if let Some(panic) = lock(&job.panic).take() {
            resume_unwind(panic);
        }
    }

    /// What a helper does.
    fn help(&self) {
        loop {
            let number = self.number.load(Ordering::SeqCst);
            let job = lock(&self.job).clone();
            if let Some(job) = job {
                job.work();
            }
            let is_next = || self.number.load(Ordering::SeqCst) != number;
            if look(STAY, is_next) {
                continue;
            }
            self.helpers.fetch_sub(1, Ordering::SeqCst);
            if !is_next() {
                return;
            }
            self.helpers.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The program's team. A model check makes teams of its own.
#[cfg(not(loom))]
mod program {
    use super::*;

    static TEAM: Team = Team {
        is_busy: AtomicBool::new(false),
        job: Mutex::new(None),
        number: AtomicUsize::new(0),
        helpers: AtomicUsize::new(0),
    };

    /// Whether a helper is awake, or about to be.
    pub(crate) fn has_helpers() -> bool {
        TEAM.helpers.load(Ordering::Relaxed) > 0
    }

    /// [`Team::share`], where `call` has the pool run a function.
    pub(crate) fn share(total: usize, threads: usize, f: &(dyn Fn(Range<usize>) + Sync), call: impl Fn(fn())) {
        TEAM.share(total, threads, f, || call(|| TEAM.help()));
    }
}

#[cfg(not(loom))]
pub(crate) use program::{has_helpers, share};

#[cfg(not(loom))]
mod sync {
    use std::hint::spin_loop;
    pub use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    pub use std::sync::{Arc, Mutex, MutexGuard};
    use std::thread::yield_now;
    pub use std::thread::{Thread, current, park};
    use std::time::{Duration, Instant};

    /// Looks between two yields.
    const LOOKS: usize = 32;

    /// Whether `is_there` within so many microseconds.
    pub fn look(micros: u64, is_there: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if is_there() {
                    return true;
                }
                spin_loop();
            }
            if start.elapsed() >= Duration::from_micros(micros) {
                return false;
            }
            yield_now();
        }
    }
}

/// The same as loom has it, which tries every order in which threads can run and every value that they can read. It has no clock: whoever
/// looks looks twice.
#[cfg(loom)]
mod sync {
    pub use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    pub use loom::sync::{Arc, Mutex, MutexGuard};
    pub use loom::thread::{Thread, current, park};

    pub fn look(_micros: u64, is_there: impl Fn() -> bool) -> bool {
        if is_there() {
            return true;
        }
        loom::thread::yield_now();
        is_there()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;

    use super::*;

    fn call(f: fn()) {
        thread::spawn(f);
    }

    #[test]
    fn every_number_once() {
        for total in [0, 1, 2, 7, 1000] {
            for threads in [1, 2, 5] {
                let counts: Vec<AtomicUsize> = (0..total).map(|_| AtomicUsize::new(0)).collect();
                let count = |range: Range<usize>| {
                    for i in range {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    }
                };
                share(total, threads, &count, call);
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{total} on {threads}");
            }
        }
    }

    #[test]
    fn sharing_while_another_thread_shares() {
        let sum = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let add = |range: Range<usize>| {
                            sum.fetch_add(range.sum::<usize>(), Ordering::Relaxed);
                        };
                        share(100, 3, &add, call);
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 200 * 4950);
    }

    #[test]
    fn a_panic_comes_once_all_ranges_have_ended() {
        let done = AtomicUsize::new(0);
        let fall = |range: Range<usize>| {
            done.fetch_add(range.len(), Ordering::Relaxed);
            assert!(!range.contains(&40), "40 fell over");
        };
        let panic = catch_unwind(AssertUnwindSafe(|| share(100, 3, &fall, call))).unwrap_err();
        assert_eq!(*panic.downcast::<&str>().unwrap(), "40 fell over");
        assert_eq!(done.into_inner(), 100);
        share(1, 3, &|_| (), call);
    }
}

#[cfg(all(test, loom))]
mod orders {
    use loom::cell::UnsafeCell;
    use loom::model::Builder;
    use loom::thread;

    use super::*;

    fn team() -> Arc<Team> {
        Arc::new(Team {
            is_busy: AtomicBool::new(false),
            job: Mutex::new(None),
            number: AtomicUsize::new(0),
            helpers: AtomicUsize::new(0),
        })
    }

    /// What a range is computed into: loom ends the check where two threads are in one at once, or where one writes and the other did not
    /// wait for it.
    struct Places(Vec<UnsafeCell<usize>>);

    // SAFETY: that every place is one thread's at a time is what is checked.
    unsafe impl Sync for Places {}

    /// Shares `total` numbers and looks at what came of them as the caller does: at once, and without a lock.
    fn shared(team: &Arc<Team>, total: usize) {
        let places = Places((0..total).map(|_| UnsafeCell::new(0)).collect());
        let count = |range: Range<usize>| {
            let places = &places;
            // SAFETY: as above.
            range.for_each(|i| places.0[i].with_mut(|place| unsafe { *place += 1 }));
        };
        team.share(total, 2, &count, || {
            let team = Arc::clone(team);
            thread::spawn(move || team.help());
        });
        // SAFETY: as above.
        assert!(places.0.iter().all(|place| place.with(|place| unsafe { *place }) == 1));
    }

    fn in_every_order(f: impl Fn() + Sync + Send + 'static) {
        let mut model = Builder::new();
        // More switches between threads than this find nothing new, in loom's experience, and take hours.
        model.preemption_bound = Some(3);
        model.check(f);
    }

    #[test]
    fn every_number_is_done_once_and_before_the_caller_goes_on() {
        in_every_order(|| shared(&team(), 3));
    }

    #[test]
    fn a_helper_of_one_job_takes_the_next_or_leaves_and_none_waits_for_ever() {
        in_every_order(|| {
            let team = team();
            shared(&team, 2);
            shared(&team, 2);
        });
    }
}
