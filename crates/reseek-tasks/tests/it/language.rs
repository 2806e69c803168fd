//! The measures of language.

use reseek_tasks::{Language, language_share, language_share_quoting};

fn english(text: &str) -> f64 {
    language_share(text, Language::English)
}

fn chinese(text: &str) -> f64 {
    language_share(text, Language::Chinese)
}

#[test]
fn shares_count_words_and_characters() {
    assert_eq!(english("So the answer is 12."), 1.0);
    assert_eq!(chinese("所以答案为12。"), 1.0);
    assert_eq!(english("So 所以"), 1.0 / 3.0);
    assert_eq!(chinese("So 所以"), 2.0 / 3.0);
    assert_eq!(english("naïve café"), 1.0);
}

#[test]
fn digits_signs_tags_and_single_letters_are_neutral() {
    assert_eq!(chinese("<think> 7+5=12，写2进1 </think> <answer> 12 </answer>"), 1.0);
    assert_eq!(chinese("c a t 倒过来"), 1.0);
    assert_eq!(english("12 < 15 and 3 > 2"), 1.0);
    assert_eq!(chinese("a < b 则"), 1.0);
}

#[test]
fn a_less_than_sign_hides_nothing() {
    assert_eq!(chinese("<the whole answer in English"), 0.0);
    assert_eq!(chinese("<the whole answer>"), 0.0);
    assert_eq!(chinese("<averylongwordofmorethansixteenletters> 是"), 0.5);
}

#[test]
fn nothing_is_defined() {
    for language in Language::ALL {
        assert_eq!(language_share("", language), 0.0);
        assert_eq!(language_share(" \n\t", language), 0.0);
        assert_eq!(language_share("7+5=12", language), 1.0);
    }
}

#[test]
fn third_scripts_count_against_both() {
    assert_eq!(english("привет hello"), 0.5);
    assert_eq!(chinese("ひらがな 是"), 0.5);
    assert_eq!(english("c\u{430}t"), 0.0);
}

#[test]
fn quoted_words_are_neutral() {
    let question = "把garden倒过来拼写。";
    assert_eq!(chinese("garden的字母是g a r d e n"), 4.0 / 5.0);
    assert_eq!(language_share_quoting("garden的字母是g a r d e n", Language::Chinese, question), 1.0);
    assert_eq!(language_share_quoting("Garden的letters", Language::Chinese, question), 0.5);
    // What is in the target language counts even where it is quoted.
    assert_eq!(language_share_quoting("garden 倒", Language::English, "Is garden 倒?"), 1.0);
}

#[test]
fn language_of_a_text() {
    assert_eq!(Language::of("What is 2+3?"), Language::English);
    assert_eq!(Language::of("把garden倒过来拼写。"), Language::Chinese);
    assert_eq!(Language::of("12"), Language::English);
}

#[test]
fn a_megabyte_is_measured_in_one_pass() {
    for text in
        ["<".repeat(1 << 20), "<a".repeat(1 << 19), "a<".repeat(1 << 19), "字".repeat(1 << 18), "ab ".repeat(1 << 18)]
    {
        let share = english(&text);
        assert!((0.0..=1.0).contains(&share));
    }
}
