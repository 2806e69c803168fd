//! Verification under attack: whatever a policy may write to be paid without solving the problem.

use reseek_tasks::{AnswerKind, COMPLETION_BYTES_MAX, Outcome, accuracy, format, reasoning};

use crate::verify::{answered, integer, problem};

#[test]
fn stuffing_answers_pays_nothing() {
    for answer in [
        "11 12 13",
        "11, 12, 13",
        "12 or 13",
        "12|13",
        "12\n13",
        "x=12",
        "the answer is 12",
        "1 2",
        "012 13",
        "12 </think> 12",
        "[12]",
        "12 <answer> 12",
        "≈12",
        "12.0",
        "12%",
        "$12",
        "0x0c",
        "1.2e1",
        "十二",
        "twelve",
        "XII",
        "+-12",
        "12-",
        "12/1",
    ] {
        assert_ne!(accuracy(&answered(answer), &integer("12")), Outcome::Correct, "{answer:?}");
    }
}

#[test]
fn a_prefix_of_a_list_is_wrong() {
    let list = problem(AnswerKind::List, "2,5,7");
    assert_eq!(accuracy(&answered("2, 5, 7"), &list), Outcome::Correct);
    for answer in
        ["2", "2,5", "2,5,", ",2,5,7", "2,5,7,7", "2,5,7,9", "5,2,7", "2;5;7", "2 5", "2,5,7 2,5,7", "{2,5,7}"]
    {
        assert_eq!(accuracy(&answered(answer), &list), Outcome::Wrong, "{answer:?}");
    }
}

#[test]
fn odd_numbers_and_characters_are_wrong() {
    for answer in [
        "NaN",
        "inf",
        "-inf",
        "∞",
        "1/0",
        "12\u{0}",
        "\u{7f}12",
        "1\u{200b}2",
        "12\u{202e}",
        "\u{feff}12",
        "１\u{0660}",
        "𝟏𝟐",
        "¹²",
        "l2",
        "\u{41e}",
        "1\u{301}2",
        "12e0",
        "--12",
        "−−12",
    ] {
        assert_eq!(accuracy(&answered(answer), &integer("12")), Outcome::Wrong, "{answer:?}");
    }
    for answer in ["T\u{43e}m", "Tom\u{200d}", "Tom Tom", "Tom, Ann", "not Tom", "Tommy", "To"] {
        assert_eq!(accuracy(&answered(answer), &problem(AnswerKind::Text, "Tom")), Outcome::Wrong, "{answer:?}");
    }
}

#[test]
fn huge_numbers_are_exact() {
    let gold = "9".repeat(400);
    assert_eq!(accuracy(&answered(&gold), &integer(&gold)), Outcome::Correct);
    assert_eq!(accuracy(&answered(&format!("{}8", "9".repeat(399))), &integer(&gold)), Outcome::Wrong);
    let power = "170141183460469231731687303715884105728"; // 2^127, one beyond i128
    assert_eq!(accuracy(&answered(power), &integer(power)), Outcome::Correct);
    assert_eq!(accuracy(&answered(&format!("-{power}")), &integer(power)), Outcome::Wrong);
    assert_eq!(accuracy(&answered("0.3333333333333333"), &problem(AnswerKind::Number, "1/3")), Outcome::Wrong);
    assert_eq!(accuracy(&answered("2/6"), &problem(AnswerKind::Number, "1/3")), Outcome::Correct);
}

#[test]
fn hostile_megabytes_are_read_in_few_passes() {
    let unit = 1 << 20;
    let hostile = [
        "<think>".repeat(unit / 7),
        "</think>".repeat(unit / 8),
        "<answer>".repeat(unit / 8),
        "</answer>".repeat(unit / 9),
        format!("<think>a</think>{}", "<answer>1</answer>".repeat(unit / 18)),
        format!("<think>{}</think><answer>12</answer>", "<".repeat(unit)),
        format!("<think>a</think><answer>{}</answer>", "1,".repeat(unit / 2)),
        format!("<think>a</think><answer>{}</answer>", " ".repeat(unit)),
        format!("<think>a</think><answer>12</answer>{}", "\u{a0}".repeat(unit / 2)),
        "\u{1f600}".repeat(unit / 4),
    ];
    for completion in &hostile {
        let is_fine = completion.ends_with("<answer>12</answer>") || completion.ends_with('\u{a0}');
        let expected = if is_fine { Outcome::Correct } else { Outcome::Wrong };
        assert_eq!(
            accuracy(completion, &integer("12")),
            expected,
            "{}",
            completion.chars().take(40).collect::<String>()
        );
        format(completion);
        reasoning(completion);
    }
    let beyond = format!("{}{}", " ".repeat(COMPLETION_BYTES_MAX), answered("12"));
    assert_eq!(accuracy(&beyond, &integer("12")), Outcome::TimeOut);
    assert!(!format(&beyond));
}

#[test]
fn random_bytes_never_panic() {
    // A small linear congruential generator over the characters that matter.
    let alphabet: Vec<&str> = vec![
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<",
        ">",
        "/",
        "1",
        ",",
        ".",
        "-",
        ":",
        " ",
        "二",
        "十",
        "é",
        "\u{0}",
        "\u{ff11}",
    ];
    let kinds = [
        AnswerKind::Integer,
        AnswerKind::Count,
        AnswerKind::Number,
        AnswerKind::List,
        AnswerKind::Clock,
        AnswerKind::Letters,
        AnswerKind::YesNo,
        AnswerKind::TrueFalse,
        AnswerKind::KnightKnave,
        AnswerKind::Text,
    ];
    let mut state = 1u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for _ in 0..20_000 {
        let text: String = (0..next(12)).map(|_| alphabet[next(alphabet.len())]).collect();
        let gold: String = (0..next(5)).map(|_| alphabet[next(alphabet.len())]).collect();
        let problem = problem(kinds[next(kinds.len())], &gold);
        accuracy(&answered(&text), &problem);
        accuracy(&text, &problem);
        AnswerKind::infer(&text);
        assert!(!format(&text) || accuracy(&text, &integer("1")) != Outcome::TimeOut);
    }
}
