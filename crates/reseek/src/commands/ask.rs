//! `reseek score`, `generate` and `chat`: questions to a model folder.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Mutex;

use reseek_engine::{Finish, GenerateOptions, Request, Sampling, StreamName, generate};
use reseek_text::{GenerationPrompt, Message, Special, StreamDecoder};
use serde_json::json;

use crate::cli::{ChatArgs, GenerateArgs, SamplingArgs, ScoreArgs};
use crate::error::{Outcome, fail};
use crate::folder::{Loaded, load};

/// Log-probabilities of given tokens.
pub fn score(args: &ScoreArgs) -> Outcome<()> {
    let loaded = load(&args.model, args.dtype)?;
    let tokens = match &args.text {
        Some(text) => {
            let mut ids = loaded.begin.clone();
            ids.extend(loaded.tokenizer.encode(text)?);
            ids
        }
        None => args.tokens.clone(),
    };
    let logprobs = reseek_engine::score(&loaded.model, &tokens)?;
    let values: Vec<Option<f32>> = std::iter::once(None).chain(logprobs.into_iter().map(Some)).collect();
    if args.json {
        crate::say!("{}", json!({"tokens": tokens, "logprobs": values}));
        return Ok(());
    }
    for (token, logprob) in tokens.iter().zip(&values) {
        let text = loaded.tokenizer.decode(&[*token]);
        match logprob {
            Some(logprob) => crate::say!("{token:>7} {logprob:>10.4}  {text:?}"),
            None => crate::say!("{token:>7} {:>10}  {text:?}", ""),
        }
    }
    Ok(())
}

/// Completions of a prompt.
pub fn generate_text(args: &GenerateArgs) -> Outcome<()> {
    let loaded = load(&args.model, args.sampling.dtype)?;
    let mut prompt = loaded.begin.clone();
    prompt.extend(loaded.tokenizer.encode(&args.prompt)?);
    let sampling = sampling(&args.sampling, &loaded)?;
    let stream = StreamName { seed: args.sampling.seed, purpose: "generate".to_string(), step: 0 };
    let requests = [Request { prompt, samples: args.n }];
    let completions = generate(&loaded.model, &requests, &sampling, &stream, GenerateOptions::default())?.remove(0);
    for completion in completions {
        let text = loaded.tokenizer.decode_visible(&completion.tokens);
        if args.json {
            let finish = if completion.finish == Finish::Stop { "stop" } else { "length" };
            crate::say!(
                "{}",
                json!({"text": text, "tokens": completion.tokens, "logprobs": completion.logprobs, "finish": finish})
            );
        } else {
            crate::say!("{}{text}", args.prompt);
        }
    }
    Ok(())
}

/// A conversation: a line in, an answer out, until the input ends.
pub fn chat(args: &ChatArgs) -> Outcome<()> {
    let loaded = load(&args.model, args.sampling.dtype)?;
    let Some(template) = &loaded.template else {
        return fail(format!("{} has no chat template. Use `reseek generate`.", args.model.display()));
    };
    let interactive = std::io::stdin().is_terminal();
    let mut messages: Vec<Message> = Vec::new();
    for turn in 0.. {
        if interactive {
            eprint!("> ");
            let _ = std::io::stderr().flush();
        }
        let Some(line) = next_line(turn + 1)? else { break };
        let question = line.trim();
        if question.is_empty() {
            continue;
        }
        messages.push(Message::user(question));
        let mut prompt = template.encode(&loaded.tokenizer, &messages, GenerationPrompt::Assistant)?;
        // A long conversation forgets its beginning rather than ending.
        while prompt.len() >= loaded.model.spec().max_position_embeddings && messages.len() > 2 {
            messages.drain(..2);
            prompt = template.encode(&loaded.tokenizer, &messages, GenerationPrompt::Assistant)?;
            eprintln!("(the conversation is longer than the model's context: its oldest turn is forgotten)");
        }
        let text = reply(args, &loaded, prompt, turn)?;
        if args.json {
            crate::say!("{}", json!({"question": question, "answer": text}));
        }
        messages.push(Message::assistant(text));
    }
    Ok(())
}

/// The next line of the input, of which `number` counts; nothing at the end.
fn next_line(number: u64) -> Outcome<Option<String>> {
    let mut line = Vec::new();
    if std::io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    match String::from_utf8(line) {
        Ok(line) => Ok(Some(line)),
        Err(error) => fail(format!(
            "line {number} of the input is not UTF-8 from its byte {} on. Convert it, for example with iconv.",
            error.utf8_error().valid_up_to()
        )),
    }
}

fn reply(args: &ChatArgs, loaded: &Loaded, prompt: Vec<u32>, turn: u64) -> Outcome<String> {
    let stream = StreamName { seed: args.sampling.seed, purpose: "chat".to_string(), step: turn };
    let decoder = Mutex::new(StreamDecoder::new(&loaded.tokenizer));
    let eos = loaded.tokenizer.special(Special::Eos)?;
    let print = |_: usize, _: usize, token: u32| {
        if !args.json && token != eos {
            crate::out::write(format_args!("{}", decoder.lock().expect("one lane prints").push(token)));
        }
    };
    let options = GenerateOptions { on_token: Some(&print), ..GenerateOptions::default() };
    let sampling = sampling(&args.sampling, loaded)?;
    let requests = [Request { prompt, samples: 1 }];
    let completion = generate(&loaded.model, &requests, &sampling, &stream, options)?.remove(0).remove(0);
    if !args.json {
        crate::say!();
    }
    Ok(loaded.tokenizer.decode_visible(&completion.tokens).trim().to_string())
}

fn sampling(args: &SamplingArgs, loaded: &Loaded) -> Outcome<Sampling> {
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        stop: vec![loaded.tokenizer.special(Special::Eos)?],
        max_new_tokens: args.max_new_tokens,
    };
    sampling.validate()?;
    Ok(sampling)
}
