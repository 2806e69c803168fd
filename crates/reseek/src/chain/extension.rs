//! What the extension of the context came to: needles found and loss by position, before it and after.

use std::time::Instant;

use reseek_data::{Corpus, Haystack, HeldoutWindow, long_windows};
use reseek_engine::{GenerateOptions, Request, Sampling, StreamName, generate};
use reseek_eval::{Interval, Window, mean_of, nats_by_position, nats_in_short_context, share_of};
use reseek_model::{Model, Weights};
use reseek_spec::ModelSpec;
use reseek_store::summary::{Comparison, Extension, NeedleRow, PositionRow, Share};
use reseek_text::Tokenizer;
use reseek_train::Usage;

use super::Chain;
use crate::error::Outcome;

/// Pieces in which the last tokens are read with a short context: one of 256 tokens is then at most 319 long.
const PIECES: usize = 4;

/// A prompt and the token that answers it.
type Asked = (Vec<u32>, u32);

/// What models before and after the extension are held to: the same needles and the same held-out text.
pub struct Probe {
    /// Needles of every length, with their answers.
    needles: Vec<(usize, Vec<Asked>)>,
    /// Beginnings of held-out documents, each as long as the new context.
    windows: Vec<Window>,
    old_length: usize,
    seed: u64,
}

/// What a model did with them.
pub struct Found {
    /// What asking took.
    pub usage: Usage,
    /// 1 for each needle that was found, by length.
    needles: Vec<Vec<f64>>,
    /// Nats a token of each window, in pieces of the old length.
    text: Vec<Vec<f64>>,
    /// The same of the last piece, with only the old length of context.
    short: Vec<f64>,
}

impl Probe {
    /// Needles at one, two, … `factor` times `old_length`, and held-out text.
    pub fn new(chain: &Chain, tokenizer: &Tokenizer, old_length: usize, factor: usize) -> Outcome<Self> {
        let heldout = Corpus { documents: chain.corpus.heldout.clone(), ..Default::default() };
        let haystack = Haystack::new(&heldout, tokenizer)?;
        let n = chain.recipe.extend.needles;
        let mut needles = Vec::new();
        for length in [1, factor / 2, factor].map(|times| times * old_length) {
            let mut of_length = Vec::new();
            for i in 0..n {
                let depth = i as f64 / n.max(2) as f64;
                let needle = haystack.needle(tokenizer, chain.seed, i as u64, length, depth)?;
                of_length.push((needle.prompt, needle.answer[0]));
            }
            needles.push((length, of_length));
        }
        needles.dedup_by_key(|(length, _)| *length);
        let windows = long_windows(&chain.corpus, tokenizer, factor * old_length)?;
        let windows = windows.into_iter().map(|HeldoutWindow { tokens, targets, .. }| (tokens, targets)).collect();
        Ok(Self { needles, windows, old_length, seed: chain.seed })
    }

    /// Asks a model for the needles, and reads the text with it.
    pub fn ask(&self, weights: &Weights) -> Outcome<Found> {
        let start = Instant::now();
        let model = Model::forward_only(weights);
        let sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, stop: vec![], max_new_tokens: 1 };
        let mut needles = Vec::new();
        for (_, of_length) in &self.needles {
            let request = |(prompt, _): &Asked| Request { prompt: prompt.clone(), samples: 1 };
            let requests: Vec<Request> = of_length.iter().map(request).collect();
            let stream = StreamName { seed: self.seed, purpose: "needle".to_string(), step: 0 };
            let answers = generate(&model, &requests, &sampling, &stream, GenerateOptions::default())?;
            let right = answers.iter().zip(of_length).map(|(a, (_, gold))| a[0].tokens.first() == Some(gold));
            needles.push(right.map(|right| f64::from(u8::from(right))).collect());
        }
        let length = self.old_length;
        let text = nats_by_position(&model, &self.windows, length);
        let short = nats_in_short_context(&model, &self.windows, length, length, length.div_ceil(PIECES).max(1));
        Ok(Found { usage: self.usage(&weights.spec, start), needles, text, short })
    }

    /// Time, tokens and operations of asking a model of `spec` since `start`.
    fn usage(&self, spec: &ModelSpec, start: Instant) -> Usage {
        let needles: usize = self.needles.iter().flat_map(|(_, asked)| asked).map(|(prompt, _)| prompt.len()).sum();
        let short = PIECES * (self.old_length + self.old_length.div_ceil(PIECES)) * self.windows.len();
        let tokens = needles + self.windows.iter().map(|(tokens, _)| tokens.len()).sum::<usize>() + short;
        Usage {
            seconds: start.elapsed().as_secs_f64(),
            tokens: tokens as u64,
            flops: tokens as f64 * spec.forward_flops_per_token(self.old_length as f64),
        }
    }

    /// The two side by side, with intervals.
    pub fn compare(&self, before: &Found, after: &Found) -> Extension {
        let needle = |i: usize| {
            let (before, after) = (&before.needles[i], &after.needles[i]);
            let (was, is) = (share_of(before), share_of(after));
            let mut difference = paired(after, before);
            if difference.low == difference.high {
                // All needles changed alike, so their spread says nothing.
                (difference.low, difference.high) = (is.low - was.high, is.high - was.low);
            }
            NeedleRow {
                length: self.needles[i].0 as u64,
                n: before.len() as u64,
                before: share(was),
                after: share(is),
                difference: comparison(difference, ["more often after", "less often after"]),
            }
        };
        let piece = |i: usize| {
            let of = |found: &Found| found.text.iter().map(|window| window[i]).collect::<Vec<_>>();
            let (before, after) = (of(before), of(after));
            PositionRow {
                from: (i * self.old_length) as u64,
                to: ((i + 1) * self.old_length) as u64,
                before: mean(&before),
                after: mean(&after),
                difference: comparison(paired(&after, &before), ["worse after", "better after"]),
            }
        };
        // One document alone has no spread.
        let pieces = before.text.first().filter(|_| self.windows.len() > 1).map_or(0, Vec::len);
        let last: Vec<f64> = after.text.iter().filter_map(|window| window.last().copied()).collect();
        let asked = self.needles.iter().enumerate().filter(|(_, (_, of_length))| !of_length.is_empty());
        let needles: Vec<NeedleRow> = asked.map(|(i, _)| needle(i)).collect();
        let text: Vec<PositionRow> = (0..pieces).map(piece).collect();
        let long_context = (pieces > 0)
            .then(|| comparison(paired(&after.short, &last), ["the long context helps", "the long context harms"]));
        Extension {
            verdict: verdict(self.old_length as u64, &needles, &text, long_context.as_ref()),
            old_length: self.old_length as u64,
            needles,
            windows: self.windows.len() as u64,
            text,
            long_context,
        }
    }
}

/// The difference of what both were asked, all of which was answered.
fn paired(a: &[f64], b: &[f64]) -> Interval {
    mean_of(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// A difference in one of two words, or as inconclusive.
fn comparison(difference: Interval, [above, below]: [&str; 2]) -> Comparison {
    super::summary::comparison(difference, [above, below, "inconclusive"])
}

fn share(Interval { mean, low, high }: Interval) -> Share {
    Share { mean, ci_low: low, ci_high: high }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// What it comes to in a sentence: retrieval is only claimed where needles are found more often than before and than by guessing.
fn verdict(old_length: u64, needles: &[NeedleRow], text: &[PositionRow], context: Option<&Comparison>) -> String {
    let beyond: Vec<&NeedleRow> = needles.iter().filter(|row| row.length > old_length).collect();
    let is_shown = |row: &&&NeedleRow| row.difference.ci_low > 0.0 && row.after.ci_low > Haystack::CHANCE;
    let shown: Vec<String> = beyond.iter().filter(is_shown).map(|row| row.length.to_string()).collect();
    let retrieval = match shown.len() {
        _ if beyond.is_empty() => "no needles were asked for".to_string(),
        0 => format!(
            "no retrieval is shown: at no length beyond {old_length} tokens are needles found both more often than before and \
             more often than by guessing"
        ),
        n if n == beyond.len() => {
            format!("needles are found more often than before at every length beyond {old_length} tokens")
        }
        _ => format!(
            "needles are found more often than before at {} tokens, and not at every length",
            shown.join(" and ")
        ),
    };
    let far: Vec<&PositionRow> = text.iter().filter(|row| row.from >= old_length).collect();
    let better = far.iter().filter(|row| row.difference.ci_high < 0.0).count();
    let reading = match better {
        _ if far.is_empty() => "too few held-out documents are long enough to measure the loss there".to_string(),
        n if n == far.len() => "text there is predicted better than before at every position".to_string(),
        n => format!("text there is predicted better than before in {n} of {} ranges of positions", far.len()),
    };
    let use_of_it = context.map_or(String::new(), |context| match context.verdict.as_str() {
        "inconclusive" => format!("; whether more than {old_length} tokens of context help there is inconclusive"),
        shown => format!("; {shown}"),
    });
    format!("{retrieval}; {reading}{use_of_it}")
}

/// The lines of the terminal.
pub fn in_words(extension: &Extension) -> Vec<String> {
    let line = |name: String, c: &Comparison, what: String| {
        format!("{name:<20} {:+.3} ({:+.3} to {:+.3})  {what}: {}", c.difference, c.ci_low, c.ci_high, c.verdict)
    };
    let needles = extension.needles.iter().map(|row| {
        let what = format!("{:.2} before, {:.2} after", row.before.mean, row.after.mean);
        line(format!("needles, {} tokens", row.length), &row.difference, what)
    });
    let text = extension.text.iter().map(|row| {
        let what = format!("{:.3} nats before, {:.3} after", row.before, row.after);
        line(format!("loss, {}–{}", row.from, row.to), &row.difference, what)
    });
    let context = extension.long_context.iter().map(|c| {
        let what = format!("nats that all of the context saves over the last {} tokens", extension.old_length);
        line("long context".to_string(), c, what)
    });
    needles.chain(text).chain(context).chain([format!("{:<20} {}", "extension", extension.verdict)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(n: usize) -> Probe {
        let needles = [256, 512, 1024].map(|length| (length, vec![(vec![1], 2); n])).to_vec();
        Probe { needles, windows: vec![(vec![], vec![]); 3], old_length: 256, seed: 1 }
    }

    /// Of 64 needles the first `hits` of each length; three windows of four pieces.
    fn found(hits: [usize; 3], nats: [f64; 4], short: f64) -> Found {
        let text = [0.0, 0.1, 0.3].map(|more| nats.iter().map(|n| n + more).collect()).to_vec();
        let needles = hits.map(|hits| (0..64).map(|i| f64::from(u8::from(i < hits))).collect()).to_vec();
        Found { usage: Usage::default(), needles, text, short: [0.0, 0.1, 0.3].map(|more| short + more).to_vec() }
    }

    #[test]
    fn what_the_intervals_do_not_hold_is_not_said() {
        let before = found([5, 5, 5], [3.0, 3.5, 4.0, 4.5], 3.0);
        let weak = probe(64).compare(&before, &found([7, 8, 6], [3.0, 3.0, 3.0, 3.0], 3.0));
        assert!(weak.verdict.starts_with("no retrieval is shown"), "{}", weak.verdict);
        let reading = "predicted better than before at every position; whether more than 256 tokens of context help there is \
                       inconclusive";
        assert!(weak.verdict.ends_with(reading), "{}", weak.verdict);
        assert_eq!(weak.needles[2].difference.verdict, "inconclusive");
        let half = probe(64).compare(&before, &found([60, 60, 6], [3.0, 3.0, 5.0, 5.0], 3.0));
        assert!(half.verdict.starts_with("needles are found more often than before at 512 tokens, and not"));
        assert!(half.verdict.contains("in 1 of 3 ranges of positions; the long context harms"), "{}", half.verdict);
        let whole = probe(64).compare(&before, &found([60, 60, 60], [3.0, 3.0, 3.0, 3.0], 3.2));
        assert!(whole.verdict.starts_with("needles are found more often than before at every length beyond 256"));
        let gain = whole.long_context.expect("three windows");
        assert!((gain.difference - 0.2).abs() < 1e-12 && gain.verdict == "the long context helps");
    }

    /// More than before, but no more than by guessing one of ten digits.
    #[test]
    fn guessing_is_no_retrieval() {
        let before = found([0, 0, 0], [3.0; 4], 3.0);
        let after = probe(64).compare(&before, &found([0, 8, 8], [3.0; 4], 3.0));
        assert!(after.needles[1].difference.ci_low > 0.0, "{after:?}");
        assert_eq!(after.needles[1].difference.verdict, "more often after");
        let both = "no retrieval is shown: at no length beyond 256 tokens are needles found both more often than before and more \
                    often than by guessing";
        assert!(after.verdict.starts_with(both), "{}", after.verdict);
    }

    #[test]
    fn every_row_has_its_line() {
        let found = found([5, 5, 5], [3.0; 4], 3.0);
        let lines = in_words(&probe(64).compare(&found, &found));
        assert_eq!(lines.len(), 3 + 4 + 1 + 1);
        assert!(lines[1].contains("512 tokens") && lines[1].contains("inconclusive"), "{lines:?}");
        let nothing = Found { usage: Usage::default(), needles: vec![vec![]; 3], text: vec![], short: vec![] };
        let mut few = probe(0);
        few.windows.clear();
        let lines = in_words(&few.compare(&nothing, &nothing));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains("no needles were asked for; too few held-out documents are long enough"),
            "{lines:?}"
        );
    }
}
