//! Chat templates against what transformers makes of them: templates of our own that use what published ones use, and published ones where
//! `RESEEK_CHAT_TEMPLATES` names a file that fixtures/make_templates.py has made of a folder of them.

use reseek_text::{ChatTemplate, GenerationPrompt};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::TOKENIZER;

#[derive(Deserialize)]
struct Vectors {
    now: i64,
    cases: Vec<Case>,
    templates: Vec<Template>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    messages: Vec<Value>,
    variables: Map<String, Value>,
    prompt: bool,
}

#[derive(Deserialize)]
struct Template {
    name: String,
    template: String,
    /// One for each case, none where transformers refuses.
    texts: Vec<Option<String>>,
}

/// Renders every case of every template, and says where the text is another one than transformers'.
fn differences(vectors: &Vectors) -> Vec<String> {
    let mut found = Vec::new();
    for Template { name, template, texts } in &vectors.templates {
        for (case, expect) in vectors.cases.iter().zip(texts) {
            let place = format!("{name}, {}, prompt {}", case.name, case.prompt);
            let rendered = ChatTemplate::new(template).and_then(|template| {
                let mut template = template.dated(vectors.now)?;
                let tokens =
                    [("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<pad>"), ("unk_token", "<unk>")];
                let tokens = tokens.map(|(name, token)| (name.to_owned(), Value::from(token)));
                for (name, value) in tokens.into_iter().chain(case.variables.clone()) {
                    template = template.with(&name, value);
                }
                let prompt = if case.prompt { GenerationPrompt::Assistant } else { GenerationPrompt::None };
                template.render_json(&TOKENIZER, &case.messages, prompt)
            });
            match (rendered, expect) {
                (Ok(text), Some(expect)) if text != *expect => {
                    found.push(format!("{place}:\n--- transformers\n{expect}\n--- here\n{text}\n"));
                }
                (Err(error), Some(_)) => found.push(format!("{place}: {error}")),
                (Ok(_), None) => found.push(format!("{place}: transformers refuses")),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn templates_render_as_in_transformers() {
    let vectors: Vectors = serde_json::from_str(include_str!("../vectors/templates.json")).unwrap();
    assert_eq!((vectors.templates.len(), vectors.cases.len()), (5, 24));
    let found = differences(&vectors);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn published_templates_render_as_in_transformers() {
    let Some(path) = std::env::var_os("RESEEK_CHAT_TEMPLATES") else {
        eprintln!("SKIPPED (1 test): RESEEK_CHAT_TEMPLATES does not name the renderings of published templates");
        return;
    };
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    // Where transformers refuses, Jinja here is more lenient with what is undefined.
    let found: Vec<String> =
        differences(&vectors).into_iter().filter(|place| !place.ends_with("transformers refuses")).collect();
    let names: Vec<&str> = vectors.templates.iter().map(|template| template.name.as_str()).collect();
    // Its `safe` makes Jinja escape what is added behind it, and the text is full of &quot;.
    let is_known = |name: &&str| *name == "meetkai-functionary-medium-v3.1";
    let failing = |name: &&str| !is_known(name) && found.iter().any(|place| place.starts_with(&format!("{name}, ")));
    let failing: Vec<&str> = names.iter().copied().filter(failing).collect();
    println!("{} of {} templates agree; not {failing:?}", names.len() - failing.len(), names.len());
    assert!(failing.is_empty(), "{}", found.join("\n"));
}
