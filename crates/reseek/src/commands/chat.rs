//! `reseek chat`: a conversation with a model folder or a GGUF file.

use std::path::Path;
use std::sync::Mutex;

use reseek_engine::{Finish, GenerateOptions, Request, Sampling, StreamName, generate};
use reseek_spec::stages::{self, StageModel, Style};
use reseek_spec::thousands;
use reseek_store::manifest::{MANIFEST, Manifest};
use reseek_text::{ChatTemplate, GenerationPrompt, Message, StreamDecoder};
use serde_json::{Value, json};

use super::ask::sampling;
use super::chat_lines::Lines;
use crate::cli::ChatArgs;
use crate::error::{Failure, Outcome, fail};
use crate::opened::{Loaded, Opened, render};

const HELP: &str = "\
Write a question in one line and press Enter.
  /new   forget the conversation so far
  /help  show this
  /exit  end, as Ctrl-D does
Arrow keys edit the line and bring back earlier ones. Ctrl-C gives the line up; while an answer comes it ends the program.";

/// A line in, an answer out, until the input ends.
pub fn chat(args: &ChatArgs) -> Outcome<()> {
    let opened = Opened::new(&args.model)?;
    let meta = meta_of(&args.model);
    // Before the weights: without a template there is nothing to load them for.
    let Some(template) = &opened.template()? else { return fail(no_template(&args.model, &meta)) };
    let loaded = opened.load(args.sampling.dtype)?;
    // Wrong settings are said before anyone has written a question.
    let sampling = sampling(&args.sampling, &loaded)?;
    let mut lines = Lines::open()?;
    if lines.is_person() {
        eprintln!("{}", banner(&args.model, &loaded, &meta));
    }
    let mut talk = Talk { args, loaded: &loaded, template, sampling, messages: Vec::new() };
    for turn in 0.. {
        let outcome = match lines.next(turn + 1) {
            Ok(None) => break,
            Ok(Some(line)) => match (line.trim(), lines.is_person()) {
                ("", _) => Ok(()),
                ("/exit" | "/quit", true) => break,
                (command, true) if command.starts_with('/') => {
                    talk.obey(command);
                    Ok(())
                }
                (question, _) => talk.ask(question, turn),
            },
            Err(failure) => Err(failure),
        };
        match outcome {
            // A person asks again; a program must see that its question was not answered.
            Err(Failure::Error(message)) if lines.is_person() => eprintln!("{message}"),
            outcome => outcome?,
        }
    }
    Ok(())
}

/// What the writer of a folder of ours said about it; nothing for models from elsewhere.
fn meta_of(model: &Path) -> Value {
    Manifest::read(&model.join(MANIFEST)).map_or(Value::Null, |manifest| manifest.meta)
}

/// The model of ours that a folder's writer says it is.
fn made(meta: &Value) -> Option<&'static StageModel> {
    stages::get(meta["stage"].as_str()?)?.model.as_ref()
}

fn no_template(model: &Path, meta: &Value) -> String {
    let path = model.display();
    let what = match made(meta).filter(|model| model.style == Style::Text) {
        Some(StageModel { what, .. }) => format!("is {what}: it completes text and has learnt no conversation"),
        None => "has no chat template, as base models have none: they complete text".to_string(),
    };
    format!("{path} {what}. Use `reseek generate {path} 'Once upon a time'`.")
}

/// What someone should know before the first question.
fn banner(model: &Path, loaded: &Loaded, meta: &Value) -> String {
    let spec = loaded.model.spec();
    let counts = spec.params();
    let active = match counts.active < counts.total {
        true => format!(" ({} active a token)", thousands(counts.active)),
        false => String::new(),
    };
    let size = format!(
        "{} parameters{active}, context {} tokens",
        thousands(counts.total),
        thousands(spec.max_position_embeddings as u64)
    );
    let mut lines = Vec::new();
    match made(meta) {
        Some(StageModel { style, what, .. }) => {
            lines.push(format!("{}: {what}", model.display()));
            lines.push(format!("  {} scale, seed {}; {size}", text(&meta["scale"]), meta["seed"]));
            lines.extend(trained_on(meta));
            if *style == Style::Zero {
                lines.push(
                    "  It has learnt single questions: /new before each keeps earlier ones out of its sight."
                        .to_string(),
                );
            }
        }
        None => {
            lines.push(format!("{}: a model of the family {:?}, trained elsewhere", model.display(), spec.family));
            lines.push(format!("  {size}"));
        }
    }
    lines.push("Write a question in one line. /help says what else there is, /exit or Ctrl-D ends.".to_string());
    lines.join("\n")
}

/// What a model of ours has read. Folders of earlier versions do not say.
fn trained_on(meta: &Value) -> Option<String> {
    let number = |key: &str| meta[key].as_u64();
    let families: Vec<String> =
        meta["families"].as_array()?.iter().map(|family| text(family).replace('_', " ")).collect();
    let own = match number("own_problems")? {
        0 => String::new(),
        n => format!(", {} problems of your own", thousands(n)),
    };
    Some(format!(
        "  It has read {} documents ({} KB){own} and generated problems, and knows little else:\n  {}.",
        thousands(number("documents")?),
        thousands(number("text_bytes")? / 1000),
        families.join(", "),
    ))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

/// A conversation so far.
struct Talk<'a> {
    args: &'a ChatArgs,
    loaded: &'a Loaded,
    template: &'a ChatTemplate,
    sampling: Sampling,
    messages: Vec<Message>,
}

impl Talk<'_> {
    fn obey(&mut self, command: &str) {
        match command {
            "/help" => eprintln!("{HELP}"),
            "/new" => {
                self.messages.clear();
                eprintln!("(A new conversation.)");
            }
            other => eprintln!("There is no command {other}. /help lists what there is."),
        }
    }

    /// Asks, and keeps question and answer for the next turn; a question that failed is forgotten.
    fn ask(&mut self, question: &str, turn: u64) -> Outcome<()> {
        self.messages.push(Message::user(question));
        match self.prompt().and_then(|prompt| self.reply(prompt, turn)) {
            Ok(answer) => {
                if self.args.json {
                    crate::say!("{}", json!({"question": question, "answer": answer}));
                }
                self.messages.push(Message::assistant(answer));
                Ok(())
            }
            Err(failure) => {
                self.messages.pop();
                Err(failure)
            }
        }
    }

    /// The conversation as tokens, with room for an answer: a long one forgets its beginning rather than ending.
    fn prompt(&mut self) -> Outcome<Vec<u32>> {
        let context = self.loaded.model.spec().max_position_embeddings;
        let last = self.encode(self.messages.len() - 1)?;
        if last.len() >= context {
            return fail(format!(
                "The question takes {} tokens with what its template puts around it, and this model's context holds {context}. Ask \
                 something shorter.",
                last.len()
            ));
        }
        let room = self.sampling.max_new_tokens.min(context / 4);
        let mut forgotten = 0;
        let prompt = loop {
            let prompt = self.encode(0)?;
            if prompt.len() + room <= context || self.messages.len() == 1 {
                break prompt;
            }
            self.messages.drain(..2);
            forgotten += 1;
        };
        if forgotten > 0 {
            let turns = if forgotten == 1 {
                "its oldest turn is".to_string()
            } else {
                format!("its {forgotten} oldest turns are")
            };
            eprintln!(
                "(The conversation no longer fits into the model's context of {context} tokens: {turns} forgotten.)"
            );
        }
        Ok(prompt)
    }

    /// The messages from number `first` on as tokens.
    fn encode(&self, first: usize) -> Outcome<Vec<u32>> {
        let messages = &self.messages[first..];
        Ok(render(|| self.template.encode(&self.loaded.tokenizer, messages, GenerationPrompt::Assistant))?)
    }

    fn reply(&self, prompt: Vec<u32>, turn: u64) -> Outcome<String> {
        let (args, loaded) = (self.args, self.loaded);
        let stream = StreamName { seed: args.sampling.seed, purpose: "chat".to_string(), step: turn };
        let decoder = Mutex::new(StreamDecoder::new(&loaded.tokenizer));
        let print = |_: usize, _: usize, token: u32| {
            if !args.json && !self.sampling.stop.contains(&token) {
                crate::out::write(format_args!("{}", decoder.lock().expect("one lane prints").push(token)));
            }
        };
        let options = GenerateOptions { on_token: Some(&print), ..GenerateOptions::default() };
        let requests = [Request { prompt, samples: 1 }];
        let completion = generate(&loaded.model, &requests, &self.sampling, &stream, options)?.remove(0).remove(0);
        if !args.json {
            crate::say!();
        }
        if completion.finish == Finish::Length {
            eprintln!("{}", cut(completion.tokens.len(), self.sampling.max_new_tokens));
        }
        Ok(loaded.tokenizer.decode_visible(&completion.tokens).trim().to_string())
    }
}

/// Why an answer of `tokens` tokens has no end.
fn cut(tokens: usize, max_new_tokens: usize) -> String {
    if tokens >= max_new_tokens {
        format!("(The answer was cut at {tokens} tokens. --max-new-tokens allows more.)")
    } else {
        format!("(The answer was cut at {tokens} tokens: the model's context is full. Ask something shorter.)")
    }
}
