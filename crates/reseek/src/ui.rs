//! What the user sees while something runs: a line a stage, progress with rates and time left, and Ctrl-C. All of it on stderr.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reseek_train::{Control, Observer, Progress};
use serde_json::Value;

/// The terminal.
pub struct Ui {
    stop: Arc<AtomicBool>,
    live: bool,
    quiet: bool,
    last: Option<Instant>,
}

/// Numbers worth a place in the progress line, with their labels and digits. The loss of RL is no measure of anything, so `loss_main` it is.
const SHOWN: [(&str, &str, usize); 6] = [
    ("loss_main", "loss", 3),
    ("reward", "reward", 3),
    ("accuracy", "correct", 3),
    ("response_length", "length", 1),
    ("kl", "KL", 4),
    ("grad_norm", "grad", 2),
];

impl Ui {
    /// A terminal that hears Ctrl-C. The second Ctrl-C ends the program at once; saved states survive that too.
    pub fn new(quiet: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        // Without a handler Ctrl-C kills, which loses at most the steps since the last save.
        let _ = ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            let _ = writeln!(std::io::stderr(), "\nstopping after this step; Ctrl-C again stops at once");
        });
        Self { stop, live: std::io::stderr().is_terminal(), quiet, last: None }
    }

    /// Whether the user asked to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// A line of its own.
    pub fn line(&mut self, text: &str) {
        if !self.quiet {
            self.clear();
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Asks for a yes or no; None where there is nobody to ask.
    pub fn confirm(&mut self, question: &str) -> Option<bool> {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return None;
        }
        self.clear();
        let _ = write!(std::io::stderr(), "{question} [y/N] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    fn clear(&mut self) {
        if self.live {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }

    /// Says which stage is at work before its first step is done; where there is no terminal, its first progress line will.
    pub fn begins(&mut self, stage: &str) {
        if self.live && !self.quiet {
            show(true, &format!("  {stage:<14} begins"));
        }
    }

    /// What a call that samples answers to `questions` tells about its tokens: how far it is, how fast, and for how long yet.
    pub fn sampling<'a>(&self, what: &'a str, questions: usize) -> impl Fn(usize, usize, u32) + Sync + 'a {
        let (live, quiet, pause_ms, start) = (self.live, self.quiet, self.pause().as_millis() as u64, Instant::now());
        let (tokens, furthest, last_ms) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
        move |question, _, _| {
            let tokens = tokens.fetch_add(1, Ordering::Relaxed) + 1;
            // Questions are taken in order, so the furthest says how much is done, give or take the ones in hand.
            let reached = furthest.fetch_max(question, Ordering::Relaxed).max(question) + 1;
            let (now, last) = (start.elapsed().as_millis() as u64, last_ms.load(Ordering::Relaxed));
            let due = now >= last + pause_ms
                && last_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if quiet || !due {
                return;
            }
            let (seconds, share) = (now as f64 / 1e3, reached as f64 / questions.max(1) as f64);
            let left = duration(seconds * (1.0 / share - 1.0));
            let rate = tokens as f64 / seconds;
            show(
                live,
                &format!(
                    "  {what:<14} {reached:>4}/{questions:<4} {:>3.0}%  {left:>9} left  {rate:>6.0} tokens/s",
                    100.0 * share
                ),
            );
        }
    }

    fn pause(&self) -> Duration {
        if self.live { Duration::from_millis(200) } else { Duration::from_secs(10) }
    }

    fn status(&mut self, text: &str) {
        if self.quiet || self.last.is_some_and(|last| last.elapsed() < self.pause()) {
            return;
        }
        self.last = Some(Instant::now());
        show(self.live, text);
    }
}

/// A line of progress: over the last one on a terminal, a new one elsewhere.
fn show(live: bool, text: &str) {
    let mut stderr = std::io::stderr();
    if live {
        // Without wrapping, so that a narrow terminal cuts the line instead of filling up with its pieces.
        let _ = write!(stderr, "\r\x1b[2K\x1b[?7l{text}\x1b[?7h");
        let _ = stderr.flush();
    } else {
        let _ = writeln!(stderr, "{text}");
    }
}

impl Observer for Ui {
    fn step(&mut self, p: &Progress) -> Control {
        let rate = p.tokens_here as f64 / p.seconds_here.max(1e-9);
        let share = p.step as f64 / p.steps.max(1) as f64;
        let here = p.tokens_here as f64 / p.tokens.max(1) as f64;
        let left = p.seconds_here / here.max(1e-9) * (1.0 / share.max(1e-9) - 1.0);
        let numbers: Vec<String> = SHOWN
            .iter()
            .filter_map(|(key, label, digits)| {
                Some(format!("{label} {:.digits$}", p.metrics.get(*key).and_then(Value::as_f64)?))
            })
            .collect();
        self.status(&format!(
            "  {:<14} {:>4}/{:<4} {:>3.0}%  {:>9} left  {rate:>6.0} tokens/s  {}",
            p.stage,
            p.step,
            p.steps,
            100.0 * share,
            duration(left),
            numbers.join("  "),
        ));
        if self.stopped() { Control::Stop } else { Control::Continue }
    }

    fn warn(&mut self, message: &str) {
        self.clear();
        let _ = writeln!(std::io::stderr(), "warning: {message}");
    }
}

/// Seconds as a person says them.
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..10 => format!("{:.1} s", seconds.max(0.0)),
        10..60 => format!("{s} s"),
        60..3600 => format!("{}:{:02} min", s / 60, s % 60),
        3600..172_800 => format!("{}:{:02} h", s / 3600, s % 3600 / 60),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_said_as_people_say_them() {
        for (seconds, said) in [
            (-1.0, "0.0 s"),
            (9.44, "9.4 s"),
            (9.94, "10 s"),
            (59.4, "59 s"),
            (61.0, "1:01 min"),
            (3661.0, "1:01 h"),
            (100_000.0, "27:46 h"),
            (43.0 * 86_400.0, "43.0 days"),
        ] {
            assert_eq!(duration(seconds), said);
        }
    }
}
