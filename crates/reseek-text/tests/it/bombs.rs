//! Files that would cost time or memory without bounds, or that the crates below would fall over: tokenizers, configurations, templates.

use std::path::{Path, PathBuf};

use reseek_text::{ChatTemplate, GenerationPrompt, Message, StreamDecoder, Tokenizer};
use serde_json::{Value, json};

use crate::TOKENIZER;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers")
}

/// An empty folder that goes away with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reseek-text-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn bombs_are_refused() {
    let base = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(fixtures().join(name).join("tokenizer.json")).unwrap()).unwrap()
    };
    let refuse = |name: &str, change: &dyn Fn(&mut Value), expect: &str| {
        let mut json = base(name);
        change(&mut json);
        let error = Tokenizer::from_bytes(json.to_string().as_bytes(), "t.json").unwrap_err().to_string();
        assert!(error.starts_with("t.json: ") && error.contains(expect) && error.contains(". "), "{error}");
    };
    let replace = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"});
    refuse(
        "llama-2",
        &|t| t["normalizer"] = json!({"type": "Sequence", "normalizers": vec![&replace; 6]}),
        "more than 1024 times",
    );
    for pattern in [json!({"String": ""}), json!({"Regex": ""}), json!({"Regex": "x*"})] {
        let nothing = json!({"type": "Replace", "pattern": pattern, "content": "a"});
        refuse("llama-2", &|t| t["normalizer"] = nothing.clone(), "replaces nothing by something");
    }
    let many = json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFC"}); 65]});
    refuse("llama-2", &|t| t["normalizer"] = many.clone(), "has 65 steps");
    let nested = (0..3).fold(many.clone(), |inner, _| json!({"type": "Sequence", "normalizers": [inner]}));
    refuse("llama-2", &|t| t["normalizer"] = nested.clone(), "has 65 steps");
    let split =
        |regex: String| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    refuse("gpt2", &|t| t["pre_tokenizer"] = split("a".repeat(9000)), "has 9000 bytes");
    refuse("gpt2", &|t| t["pre_tokenizer"] = split("((a{1000}){1000}){1000}".into()), "pre_tokenizer: ");
    refuse("gpt2", &|t| t["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0}), "no length");
    refuse(
        "t5",
        &|t| t["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "//////8="}),
        "precompiled_charsmap",
    );
    refuse("t5", &|t| t["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "a b"}), "not base64");
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    refuse("llama-2", &|t| t["post_processor"]["single"] = json!([text, text]), "the text 2 times");
    refuse(
        "llama-2",
        &|t| t["post_processor"]["special_tokens"]["<s>"]["ids"] = json!(vec![1; 100]),
        "200 tokens around",
    );
    refuse(
        "llama-2",
        &|t| t["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([99_999]),
        "puts token 99999 around",
    );
    refuse(
        "roberta",
        &|t| t["post_processor"]["cls"] = json!(["<s>", 4_000_000_000_u32]),
        "puts token 4000000000 around",
    );
    refuse("bert", &|t| t["model"]["max_input_chars_per_word"] = json!(1_000_000), "max_input_chars_per_word");
    refuse("gpt2", &|t| t["model"]["dropout"] = json!(0.1), "dropout");
    refuse("gpt2", &|t| t["model"]["continuing_subword_prefix"] = json!("世世世世"), "continuing prefix");
    refuse("t5", &|t| t["model"]["unk_id"] = json!(1000), "unk_id");
    refuse("gpt2", &|t| t["model"]["type"] = json!("Nobodys"), "Nobodys");
    refuse("gpt2", &|t| t["version"] = json!("2.0"), "2.0");
    refuse("llama-2", &|t| t["decoder"]["decoders"][3]["stop"] = json!(9), "a step Strip");
    let token = |i: usize| json!({"id": 0, "content": format!("<{i:050}>"), "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": i.is_multiple_of(2)});
    let tokens: Value = (0..100_001).map(token).collect();
    refuse("gpt2", &|t| t["added_tokens"] = tokens.clone(), "100001 added tokens");
}

#[test]
fn many_added_tokens_take_no_time() {
    let mut json: Value = serde_json::from_slice(TOKENIZER.to_json()).unwrap();
    let token = |i: usize| json!({"id": 0, "content": format!("<{i}>"), "single_word": false, "lstrip": false, "rstrip": false, "normalized": i.is_multiple_of(3), "special": i.is_multiple_of(2)});
    json["added_tokens"] = (0..50_000).map(token).collect();
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes(), "t.json").unwrap();
    let text = "<1><<<<<<<<<<<<<<<<<<49999>".repeat(2000);
    assert_eq!(tokenizer.decode(&tokenizer.encode(&text).unwrap()), text);
    assert_eq!(tokenizer.encode_with_special(&text).unwrap().iter().filter(|&&id| id >= 1000).count(), 4000);
}

/// A pattern that fits in exponentially many ways gives up, and leaves the text in one piece.
#[test]
fn regular_expressions_that_explode_give_up() {
    let mut json: Value = serde_json::from_slice(TOKENIZER.to_json()).unwrap();
    json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("(?i)(a|b|ab)*(?>c)");
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes(), "t.json").unwrap();
    let text = "ab".repeat(5000);
    assert_eq!(tokenizer.decode(&tokenizer.encode(&text).unwrap()), text);
}

#[test]
fn pipes_and_endless_files_are_not_read() {
    let folder = Folder::new("pipe");
    let path = folder.0.join("tokenizer.json");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    if made.is_ok_and(|status| status.success()) {
        let error = Tokenizer::from_folder(&folder.0).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
        std::fs::rename(&path, folder.0.join("chat_template.jinja")).unwrap();
        let error = ChatTemplate::from_folder(&folder.0).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
    }
    std::fs::File::create(&path).unwrap().set_len(201 << 20).unwrap();
    let error = Tokenizer::from_folder(&folder.0).unwrap_err().to_string();
    assert!(error.contains("210763776 bytes, at most 209715200"), "{error}");
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// Reads a tokenizer if it can be read, and uses it.
fn use_it(json: &[u8]) -> bool {
    let Ok(tokenizer) = Tokenizer::from_bytes(json, "mutant") else { return false };
    for text in ["", "The cat sat <s></s> 42", " ▁▁the ½ﬁ e\u{301}世界😀\r\n", "<think>a<0xE4>[CLS]</s>"] {
        let marked = tokenizer.mark_plain(text);
        let all = [tokenizer.encode(text), tokenizer.encode_framed(text), tokenizer.encode_with_special(&marked)];
        for ids in all.into_iter().flatten() {
            let mut stream = StreamDecoder::new(&tokenizer);
            let pieces: String = ids.iter().map(|&id| stream.push(id)).collect();
            assert_eq!(pieces + &stream.finish(), tokenizer.decode(&ids));
        }
    }
    drop(tokenizer.to_parts().map(|parts| Tokenizer::from_parts(&parts, "back")));
    drop(ChatTemplate::deepseek_r1().check(&tokenizer, &[0, u32::MAX]));
    true
}

/// Changes a leaf of the value, or takes an entry out or doubles it.
fn mutate(value: &mut Value, random: &mut Random) {
    let leaf = |random: &mut Random| match random.below(14) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(0),
        3 => json!(4_294_967_295_u32),
        4 => json!(1e300),
        5 => json!(""),
        6 => json!("世"),
        7 => json!([]),
        8 => json!({}),
        9 => json!(random.below(2) == 0),
        10 => json!("a".repeat(300)),
        11 => json!(" "),
        12 => json!("\u{fdd0}"),
        _ => json!(random.below(300)),
    };
    match value {
        Value::Array(list) if !list.is_empty() && random.below(8) > 0 => {
            let at = random.below(list.len());
            match random.below(10) {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                _ => mutate(&mut list[at], random),
            }
        }
        Value::Object(map) if !map.is_empty() && random.below(8) > 0 => {
            let at = random.below(map.len());
            let key = map.keys().nth(at).unwrap().clone();
            if random.below(12) == 0 {
                map.shift_remove(&key);
            } else {
                mutate(&mut map[&key], random);
            }
        }
        other => *other = leaf(random),
    }
}

#[test]
fn mutants_do_not_fall_over() {
    let mut random = Random(1);
    let (mut n_read, mut n_all) = (0, 0);
    let mut folders: Vec<PathBuf> = std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let bytes = std::fs::read(folder.join("tokenizer.json")).unwrap();
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        for round in 0..150 {
            let mutant = if round % 5 == 0 {
                let mut mutant = bytes.clone();
                for _ in 0..=random.below(3) {
                    let at = random.below(mutant.len());
                    match random.below(3) {
                        0 => mutant[at] = random.below(256) as u8,
                        1 => mutant.truncate(at),
                        _ => drop(mutant.drain(at..(at + random.below(20)).min(bytes.len()).min(mutant.len()))),
                    }
                    if mutant.is_empty() {
                        break;
                    }
                }
                mutant
            } else {
                let mut mutant = json.clone();
                // The parts are small beside the vocabulary: most changes go to them.
                let part = ["normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens", "model"];
                for _ in 0..=random.below(2) {
                    mutate(&mut mutant[part[random.below(part.len())]], &mut random);
                }
                mutant.to_string().into_bytes()
            };
            n_read += usize::from(use_it(&mutant));
            n_all += 1;
        }
    }
    assert!(n_read > n_all / 20, "{n_read} of {n_all} mutants were read: the others say little");
}

fn rendered(source: &str) -> Result<String, String> {
    ChatTemplate::new(source)
        .and_then(|template| template.render(&TOKENIZER, &[Message::user("hi")], GenerationPrompt::None))
        .map_err(|error| error.to_string())
}

#[test]
fn templates_end() {
    let refuse = |source: &str, expect: &str| {
        let error = rendered(source).unwrap_err();
        assert!(error.contains(expect) && error.contains(". "), "{error}");
    };
    let loops = |body: &str| {
        format!("{{% for a in range(9999) %}}{{% for b in range(9999) %}}{body}{{% endfor %}}{{% endfor %}}")
    };
    refuse(&loops(""), "fuel");
    refuse(&loops("{{ 'x' * 60000 }}"), "more than 67108864 bytes");
    refuse("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}", "recurs");
    refuse(&"{% if true %}".repeat(20_000), "chat template: ");
    refuse(&format!("{{{{ {}1 }}}}", "(".repeat(20_000)), "chat template: ");
    refuse(&"x".repeat(5 << 20), "at most 131072 are read");
    refuse("{{ [1, [2, namespace]] | tojson }}", "JSON");
    assert_eq!(rendered("{{ 'aa'.count('') }} {{ 'aXbX'.rsplit('X', 1) }}").unwrap(), "3 ['aXb', '']");
    assert_eq!(
        rendered("{{ '<x>'.removeprefix('<').removesuffix('>') }} {{ 'a=b=c'.partition('=') }}").unwrap(),
        "x ['a', '=', 'b=c']"
    );
}

#[test]
fn templates_nested_as_deep_as_they_are_long_are_read_or_refused() {
    for (open, close) in [("not ", ""), ("-", ""), ("(", ")"), ("[", "]")] {
        for count in [100, 20_000, 100_000] {
            let source = format!("{{{{ {}1{} }}}}", open.repeat(count), close.repeat(count));
            drop(rendered(&source));
        }
    }
    for more in [".a", "|upper", "[0]"] {
        drop(rendered(&format!("{{{{ messages{} }}}}", more.repeat(20_000))));
    }
    assert!(rendered(&" ".repeat(200_000)).unwrap_err().contains("200000 bytes"));
}

#[test]
fn templates_are_found_where_transformers_finds_them() {
    let folder = Folder::new("templates");
    let default = || ChatTemplate::from_folder(&folder.0).unwrap().map(|template| template.source().to_owned());
    assert_eq!(default(), None);
    folder.write("chat_template.json", r#"{"chat_template": "old"}"#);
    assert_eq!(default().as_deref(), Some("old"));
    folder.write("tokenizer_config.json", r#"{"chat_template": "key"}"#);
    assert_eq!(default().as_deref(), Some("key"));
    folder.write("tokenizer_config.json", r#"{"chat_template": [{"name": "rag", "template": "r"}]}"#);
    let error = ChatTemplate::from_folder(&folder.0).unwrap_err().to_string();
    assert!(error.contains("templates named rag, and no default"), "{error}");
    folder.write(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#,
    );
    assert_eq!(default().as_deref(), Some("d"));
    assert_eq!(ChatTemplate::sources(&folder.0).unwrap()["rag"], "r");
    folder.write("additional_chat_templates/tool_use.jinja", "t");
    folder.write("additional_chat_templates/notes.txt", "n");
    folder.write("chat_template.jinja", "file");
    assert_eq!(default().as_deref(), Some("file"));
    let names: Vec<String> = ChatTemplate::sources(&folder.0).unwrap().into_keys().collect();
    assert_eq!(names, ["default", "tool_use"], "files come before keys, all of them");
    folder.write("chat_template.jinja", "{% if %}");
    assert!(ChatTemplate::from_folder(&folder.0).is_err());
    std::fs::remove_file(folder.0.join("chat_template.jinja")).unwrap();
    #[cfg(unix)]
    {
        let link = folder.0.join("chat_template.jinja");
        std::os::unix::fs::symlink(folder.0.join("nowhere"), &link).unwrap();
        let error = ChatTemplate::from_folder(&folder.0).unwrap_err().to_string();
        assert!(error.contains("chat_template.jinja") && error.contains("put it there"), "{error}");
        std::fs::remove_file(link).unwrap();
    }
    folder.write("tokenizer_config.json", r#"{"chat_template": [{"name": "rag"}]}"#);
    std::fs::remove_dir_all(folder.0.join("additional_chat_templates")).unwrap();
    assert!(ChatTemplate::sources(&folder.0).unwrap_err().to_string().contains("lacks name or template"));
}

#[test]
fn what_is_odd_about_a_template_is_said() {
    let folder = fixtures().join("qwen2");
    let tokenizer = Tokenizer::from_folder(&folder).unwrap();
    assert_eq!(tokenizer.kind(), "byte-level BPE");
    let added = tokenizer.added_tokens();
    let end = added.iter().find(|token| token.token == "<|im_end|>").unwrap();
    assert!(end.special && end.names == ["eos_token"]);
    let pad = added.iter().find(|token| token.token == "<|endoftext|>").unwrap();
    assert_eq!(pad.names, ["pad_token"]);
    assert_eq!(tokenizer.around().unwrap(), (vec![], vec![]));
    let template = ChatTemplate::from_folder(&folder).unwrap().unwrap();
    let check = template.check(&tokenizer, &[end.id, pad.id]).unwrap();
    assert!(check.example.ends_with("And 2 + 2?<|im_end|>\n<|im_start|>assistant\n"), "{}", check.example);
    assert_eq!((check.opens_think, check.unwritten), (false, vec!["<|endoftext|>".to_owned()]));
    let opens = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}";
    let check = ChatTemplate::new(opens).unwrap().check(&tokenizer, &[end.id]).unwrap();
    assert!(check.opens_think && check.unwritten == ["<|im_end|>"] && check.example.starts_with("What is 1"));
}

#[test]
fn variables_and_clocks_are_seen() {
    let source = "{{ enable_thinking }} {{ strftime_now('%Y-%m-%d') }} {{ tools }} {{ unk_token }}";
    let template =
        ChatTemplate::new(source).unwrap().with("enable_thinking", json!(false)).dated(1_764_500_000).unwrap();
    let text = template.render(&TOKENIZER, &[Message::user("hi")], GenerationPrompt::None).unwrap();
    assert_eq!(text, "False 2025-11-30 None ");
}
