//! `reseek score` and `generate`: texts to a model.

use std::path::Path;

use reseek_engine::{Finish, GenerateOptions, Request, Sampling, StreamName, generate};
use reseek_text::Tokenizer;
use serde_json::json;

use crate::cli::{GenerateArgs, SamplingArgs, ScoreArgs};
use crate::error::{Outcome, fail};
use crate::opened::{Loaded, Opened, load};

/// Log-probabilities of given tokens.
pub fn score(args: &ScoreArgs) -> Outcome<()> {
    let opened = Opened::new(&args.model)?;
    // Tokens need none.
    let tokenizer = match &args.text {
        Some(_) => Some(opened.needed_tokenizer()?),
        None => opened.tokenizer()?,
    };
    let tokens = match (&args.text, &tokenizer) {
        (Some(text), Some(tokenizer)) => framed(tokenizer, text, &args.model)?,
        _ => args.tokens.clone(),
    };
    let logprobs = reseek_engine::score(&opened.model(args.dtype)?, &tokens)?;
    let values: Vec<Option<f32>> = std::iter::once(None).chain(logprobs.into_iter().map(Some)).collect();
    if args.json {
        crate::say!("{}", json!({"tokens": tokens, "logprobs": values}));
        return Ok(());
    }
    for (token, logprob) in tokens.iter().zip(&values) {
        let logprob = logprob.map_or(String::new(), |logprob| format!("{logprob:.4}"));
        let text = tokenizer.as_ref().map_or(String::new(), |known| format!("  {:?}", known.decode(&[*token])));
        crate::say!("{token:>7} {logprob:>10}{text}");
    }
    Ok(())
}

/// The tokens of a text as the model's tokenizer frames it; some frame it with nothing, and then there must be a text.
fn framed(tokenizer: &Tokenizer, text: &str, model: &Path) -> Outcome<Vec<u32>> {
    let ids = tokenizer.encode_framed(text)?;
    if ids.is_empty() {
        return fail(format!(
            "The text is empty, and the tokenizer of {} puts no begin token before it, so the model has nothing to go on from. Give a text \
             of at least one character.",
            model.display()
        ));
    }
    Ok(ids)
}

/// Completions of a prompt.
pub fn generate_text(args: &GenerateArgs) -> Outcome<()> {
    let loaded = load(&args.model, args.sampling.dtype)?;
    let text = args.text.as_deref().or(args.prompt.as_deref()).unwrap_or_default();
    let prompt = framed(&loaded.tokenizer, text, &args.model)?;
    let sampling = sampling(&args.sampling, &loaded)?;
    let stream = StreamName { seed: args.sampling.seed, purpose: "generate".to_string(), step: 0 };
    let requests = [Request { prompt, samples: args.n }];
    let completions = generate(&loaded.model, &requests, &sampling, &stream, GenerateOptions::default())?.remove(0);
    for completion in completions {
        let completed = loaded.tokenizer.decode_visible(&completion.tokens);
        if args.json {
            let finish = if completion.finish == Finish::Stop { "stop" } else { "length" };
            crate::say!(
                "{}",
                json!({"text": completed, "tokens": completion.tokens, "logprobs": completion.logprobs, "finish": finish})
            );
        } else {
            crate::say!("{text}{completed}");
        }
    }
    Ok(())
}

/// How answers are drawn: as the command says, else as the model's own files advise. Each of the model's end tokens ends one.
pub fn sampling(args: &SamplingArgs, loaded: &Loaded) -> Outcome<Sampling> {
    let advice = &loaded.advice;
    let sampling = Sampling {
        temperature: args.temperature.or(advice.temperature).unwrap_or(0.6),
        top_k: args.top_k.or(advice.top_k).unwrap_or(0),
        top_p: args.top_p.or(advice.top_p).unwrap_or(0.95),
        stop: loaded.stops.clone(),
        max_new_tokens: args.max_new_tokens,
    };
    sampling.validate()?;
    Ok(sampling)
}
