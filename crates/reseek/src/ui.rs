//! What the user sees while something runs: a line a stage, progress with rates and time left, and Ctrl-C. All of it on stderr.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Numbers worth a place in the progress line, with their labels.
const SHOWN: [(&str, &str); 6] = [
    ("loss", "loss"),
    ("reward", "reward"),
    ("accuracy", "correct"),
    ("response_length", "length"),
    ("kl", "KL"),
    ("grad_norm", "grad"),
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

    fn clear(&mut self) {
        if self.live {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }

    fn status(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        let pause = if self.live { Duration::from_millis(200) } else { Duration::from_secs(10) };
        if self.last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        self.last = Some(Instant::now());
        if self.live {
            let _ = write!(std::io::stderr(), "\r\x1b[2K{text}");
            let _ = std::io::stderr().flush();
        } else {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
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
            .filter_map(|(key, label)| Some(format!("{label} {:.3}", p.metrics.get(*key).and_then(Value::as_f64)?)))
            .collect();
        self.status(&format!(
            "  {:<16} {:>4}/{:<4} {:>3.0}%  {}  {rate:>7.0} tokens/s  {} left",
            p.stage,
            p.step,
            p.steps,
            100.0 * share,
            numbers.join("  "),
            duration(left),
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
        0..60 => format!("{s} s"),
        60..3600 => format!("{}:{:02} min", s / 60, s % 60),
        _ => format!("{}:{:02} h", s / 3600, s % 3600 / 60),
    }
}
