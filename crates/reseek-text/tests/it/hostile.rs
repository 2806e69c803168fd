//! Texts and files that nobody should write.

use reseek_text::{Special, StreamDecoder, Tokenizer};

use crate::{DOCUMENTS, TOKENIZER};

/// Every text comes back byte for byte, at once and token by token.
fn check(text: &str) {
    let ids = TOKENIZER.encode(text).unwrap();
    assert!(ids.iter().all(|&id| id as usize >= Special::ALL.len()), "a control token in {text:.40?}");
    assert!(TOKENIZER.decode(&ids) == text, "{text:.40?}");
    check_stream(&ids);
}

fn check_stream(ids: &[u32]) {
    let mut decoder = StreamDecoder::new(&TOKENIZER);
    let mut text: String = ids.iter().map(|&id| decoder.push(id)).collect();
    text.push_str(&decoder.finish());
    assert!(text == TOKENIZER.decode(ids));
}

#[test]
fn any_text_survives() {
    for text in ["", " ", "\r\n\t", "\u{0}\u{1f}\u{7f}", "e\u{301}é", "👩‍👩‍👧 🏳️‍🌈", "العربية עברית हिन्दी", "😀世界①²½٣"]
    {
        check(text);
    }
    check("<｜begin▁of▁sentence｜><think>x</think><｜User｜><|EOT|>");
    check(&Special::ALL.map(Special::text).concat());
    check("\u{fdd0}\u{fffd}\u{10ffff}");
    for document in DOCUMENTS {
        check(document);
    }
}

#[test]
fn long_runs_survive() {
    // The regular expressions alone would give up on a million blanks.
    check(&(" ".repeat(1_100_000) + "end"));
    for unit in ["\n", " \n", "a", "7", "世", "!", "e\u{301}"] {
        check(&(unit.repeat(50_000) + "end"));
    }
}

#[test]
fn broken_bytes_come_out_as_replacement_characters() {
    let byte =
        |byte: u8| TOKENIZER.encode("世").unwrap().iter().copied().find(|&id| TOKENIZER.token_bytes(id) == [byte]);
    // 世 is E4 B8 96; a tokenizer of a thousand entries has no token for it.
    let [e4, b8, x96] = [0xe4, 0xb8, 0x96].map(|b| byte(b).expect("single bytes"));
    assert_eq!(TOKENIZER.decode(&[e4, b8, x96]), "世");
    for broken in [&[e4][..], &[e4, b8], &[x96, e4, b8, x96], &[e4, e4, b8, x96, b8], &[b8, b8, b8]] {
        assert!(TOKENIZER.decode(broken).contains('\u{fffd}'));
        check_stream(broken);
    }
    let mut decoder = StreamDecoder::new(&TOKENIZER);
    assert_eq!((decoder.push(e4), decoder.push(b8), decoder.push(x96)), ("".into(), "".into(), "世".into()));
}

#[test]
fn unknown_ids_are_replacement_characters() {
    assert_eq!(TOKENIZER.decode(&[u32::MAX, 1000]), "\u{fffd}\u{fffd}");
    check_stream(&[5, u32::MAX, 20]);
}

#[test]
fn begin_and_end_are_hidden_and_reasoning_is_not() {
    let ids = TOKENIZER.encode_with_special("<｜begin▁of▁sentence｜><think>a</think><｜end▁of▁sentence｜>").unwrap();
    assert_eq!(TOKENIZER.decode_visible(&ids), "<think>a</think>");
}

#[test]
fn damaged_files_are_refused() {
    let check = |json: &[u8], expect: &str| {
        let error = Tokenizer::from_bytes(json, "tokenizer.json").unwrap_err().to_string();
        assert!(error.starts_with("tokenizer.json: ") && error.contains(expect), "{error}");
    };
    check(b"", "EOF");
    check(&[0xff, 0xfe], "expected value");
    let whole = TOKENIZER.to_json();
    check(&whole[..whole.len() / 2], ". ");
    let mut json: serde_json::Value = serde_json::from_slice(whole).unwrap();
    json["decoder"] =
        serde_json::json!({"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true});
    check(json.to_string().as_bytes(), "the decoder has a step CTC");
    let mut json: serde_json::Value = serde_json::from_slice(whole).unwrap();
    json["model"]["vocab"]["Ġthe"] = serde_json::json!(4_000_000_000_u32);
    check(json.to_string().as_bytes(), ". ");
    let mut json: serde_json::Value = serde_json::from_slice(whole).unwrap();
    json["model"]["vocab"]["世"] = serde_json::json!(1000);
    let stands_for_itself = Tokenizer::from_bytes(json.to_string().as_bytes(), "tokenizer.json").unwrap();
    assert_eq!(stands_for_itself.decode(&[1000]), "世");
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    (0..200).for_each(|i| drop(vocab.insert(format!("世{i}"), serde_json::json!(1001 + i))));
    check(json.to_string().as_bytes(), "201 of 1201 tokens are not byte-level, the first is 1000");
}

#[test]
fn folders_round_trip() {
    let folder = std::env::temp_dir().join(format!("reseek-text-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let template = reseek_text::ChatTemplate::deepseek_r1();
    std::fs::write(folder.join("tokenizer.json"), TOKENIZER.to_json()).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), TOKENIZER.to_config_json(Some(template.source()), 256))
        .unwrap();
    let read = Tokenizer::from_folder(&folder).unwrap();
    let found = reseek_text::ChatTemplate::from_folder(&folder).unwrap().expect("in the configuration");
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(read.to_json() == TOKENIZER.to_json());
    assert_eq!(read.special_text(Special::Eos), Some(Special::Eos.text()));
    assert_eq!(found.source(), template.source());
    let error = Tokenizer::from_folder(&folder).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains(". "), "{error}");
}
