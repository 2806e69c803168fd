//! Verification: the forms, the outcomes, and what is read as an answer.

use reseek_tasks::{
    AnswerKind, Family, FormatError, JudgeFailure, Language, Outcome, Problem, Split, accuracy, extract_answer, format,
    generate, judge_completion, reasoning,
};

pub fn problem(kind: AnswerKind, answer: &str) -> Problem {
    let generated = generate(Family::Addition, 1, Language::English, Split::Train, 1, 0);
    Problem { answer_kind: kind, answer: answer.to_string(), ..generated }
}

pub fn integer(answer: &str) -> Problem {
    problem(AnswerKind::Integer, answer)
}

pub fn answered(answer: &str) -> String {
    format!("<think> so it is </think> <answer> {answer} </answer>")
}

#[test]
fn the_template_is_paid_in_full() {
    for completion in [
        "<think>a</think><answer>12</answer>",
        " <think> a </think> <answer> 12 </answer>",
        "<think>\na\n</think>\n\n<answer>\n12\n</answer>\n",
    ] {
        assert!(format(completion), "{completion:?}");
        assert_eq!(accuracy(completion, &integer("12")), Outcome::Correct, "{completion:?}");
    }
}

#[test]
fn a_wrong_answer_in_the_right_form_has_format_only() {
    assert!(format(&answered("13")));
    assert_eq!(accuracy(&answered("13"), &integer("12")), Outcome::Wrong);
}

#[test]
fn broken_forms() {
    // (completion, format, why no answer counts)
    use FormatError::*;
    let long = "1".repeat(5000);
    let cases: Vec<(String, Option<FormatError>)> = vec![
        ("".into(), Some(NoThink)),
        ("12".into(), Some(NoThink)),
        ("<answer>12</answer>".into(), Some(NoThink)),
        ("<answer>12</answer><think>a</think>".into(), Some(NoAnswer)),
        ("<think>a<answer>12</answer>".into(), Some(NoThink)),
        ("<think><answer>12</answer></think>".into(), Some(NoAnswer)),
        ("<think>a</think>".into(), Some(NoAnswer)),
        ("<think>a</think>12".into(), Some(NoAnswer)),
        ("<think>a</think><answer>12".into(), Some(NoAnswer)),
        ("<think>a</think>12</answer>".into(), Some(NoAnswer)),
        ("<think>a</think></answer>12<answer>".into(), Some(NoAnswer)),
        ("<think>a</think><Answer>12</Answer>".into(), Some(NoAnswer)),
        ("<think>a</think><answer >12</answer >".into(), Some(NoAnswer)),
        ("<think>a</think><answer>12</answer>13".into(), Some(TextAfterAnswer)),
        ("<think>a</think><answer>12</answer><think>".into(), Some(TextAfterAnswer)),
        ("<think>a</think><answer>12</answer><answer>".into(), Some(SeveralAnswers)),
        ("<think>a</think><answer>11</answer><answer>12</answer>".into(), Some(SeveralAnswers)),
        ("<think>a</think><answer>12</answer><answer>11</answer>".into(), Some(SeveralAnswers)),
        ("<think>a</think><answer><answer>12</answer></answer>".into(), Some(SeveralAnswers)),
        ("<think>a</think><answer>12</answer></answer>".into(), Some(SeveralAnswers)),
        ("<think>a</think><answer>11</answer></think><answer>12</answer>".into(), Some(SeveralThinks)),
        ("<think>a</think><answer></answer>".into(), Some(BlankAnswer)),
        ("<think>a</think><answer> \n </answer>".into(), Some(BlankAnswer)),
        (format!("<think>a</think><answer>{long}</answer>"), Some(AnswerTooLong)),
        // An answer counts, yet the form is not R1-Zero's.
        ("a</think><answer>12</answer>".into(), None),
        ("a<think>b</think><answer>12</answer>".into(), None),
        ("<think></think><answer>12</answer>".into(), None),
        ("<think>  </think><answer>12</answer>".into(), None),
        ("<think>a</think> so <answer>12</answer>".into(), None),
        ("<think><think>a</think><answer>12</answer>".into(), None),
        ("<think>a <answer>11</answer> b</think><answer>12</answer>".into(), None),
        ("<think>a <answer> b</think><answer>12</answer>".into(), None),
    ];
    for (completion, error) in cases {
        assert!(!format(&completion), "{completion:?} has not the form");
        assert_eq!(extract_answer(&completion).err(), error, "{completion:?}");
        let expected = if error.is_some() { Outcome::Wrong } else { Outcome::Correct };
        assert_eq!(accuracy(&completion, &integer("12")), expected, "{completion:?}");
    }
}

#[test]
fn harmless_spellings_are_right() {
    for (kind, gold, answer) in [
        (AnswerKind::Integer, "1200", "1,200"),
        (AnswerKind::Integer, "12", "１２。"),
        (AnswerKind::Integer, "12", "12."),
        (AnswerKind::YesNo, "是", "是。"),
        (AnswerKind::YesNo, "是", "Yes."),
        (AnswerKind::Letters, "t a c", "tac"),
        (AnswerKind::Text, "甲", "甲"),
    ] {
        assert_eq!(accuracy(&answered(answer), &problem(kind, gold)), Outcome::Correct, "{answer:?}");
    }
}

#[test]
fn an_unreadable_gold_answer_is_never_judged() {
    for (kind, gold) in [
        (AnswerKind::Integer, "twelve"),
        (AnswerKind::Integer, ""),
        (AnswerKind::Number, "1/0"),
        (AnswerKind::List, "2,,5"),
        (AnswerKind::Clock, "25:00"),
        (AnswerKind::Text, "\\frac{1}{2}"),
        (AnswerKind::Text, "x^2+1"),
    ] {
        let problem = problem(kind, gold);
        for completion in [answered(gold), answered("12"), "no form at all".to_string(), String::new()] {
            let outcome = accuracy(&completion, &problem);
            assert!(matches!(outcome, Outcome::Unverifiable(_)), "{gold:?} {completion:?}: {outcome:?}");
            assert_eq!(outcome.reward(), None);
        }
    }
}

#[test]
fn only_verdicts_carry_a_reward() {
    assert_eq!(Outcome::Correct.reward(), Some(1.0));
    assert_eq!(Outcome::Wrong.reward(), Some(0.0));
    let judged = |failure: JudgeFailure| judge_completion("<think>a</think><answer>1</answer>", |_| Err(failure));
    let outage = judged(JudgeFailure::Infrastructure("no sandbox".into()));
    assert_eq!(outage, Outcome::InfrastructureError("no sandbox".into()));
    assert_eq!(judged(JudgeFailure::TimeOut), Outcome::TimeOut);
    assert_eq!((outage.reward(), Outcome::TimeOut.reward()), (None, None));
    // A judge that says yes to nothing is not believed.
    assert_eq!(judge_completion("no answer", |_| Ok(true)), Outcome::Wrong);
}

#[test]
fn reasoning_is_what_stands_in_the_think_block() {
    assert_eq!(reasoning("<think> a b </think> <answer>1</answer>"), "a b");
    assert_eq!(reasoning("a b </think> c"), "a b");
    assert_eq!(reasoning("<think> cut off"), "cut off");
    assert_eq!(reasoning("</think>"), "");
}

#[test]
fn outcomes_are_written_by_name() {
    assert_eq!(serde_json::to_string(&Outcome::Correct).unwrap(), "\"correct\"");
    let reason = serde_json::to_string(&Outcome::Unverifiable("why".into())).unwrap();
    assert_eq!(reason, r#"{"unverifiable":"why"}"#);
}
