//! The forms of a worked problem.

use reseek_tasks::{
    Family, Language, Problem, Split, TEXTBOOK_FORMS, document, format, generate, long_readable, textbook,
    zero_completion, zero_prompt,
};

fn example(language: Language) -> Problem {
    generate(Family::Addition, 2, language, Split::Train, 1, 1)
}

#[test]
fn textbook_forms_differ_and_hold_the_answer() {
    for language in Language::ALL {
        let problem = example(language);
        let forms: Vec<String> = (0..TEXTBOOK_FORMS).map(|form| textbook(&problem, &problem.solution, form)).collect();
        for (i, form) in forms.iter().enumerate() {
            assert!(form.contains(&problem.question) && form.contains(&problem.solution));
            assert!(!forms[..i].contains(form));
        }
        assert_eq!(textbook(&problem, &problem.solution, TEXTBOOK_FORMS), forms[0]);
    }
    let problem = example(Language::Chinese);
    let (question, solution, answer) = (&problem.question, &problem.solution, &problem.answer);
    assert_eq!(textbook(&problem, solution, 0), format!("问题：{question}\n解：{solution}\n答案：{answer}"));
}

#[test]
fn the_zero_template_says_where_and_not_how() {
    let prompt = zero_prompt("What is 2+3?");
    assert!(prompt.starts_with("A conversation between User and Assistant."));
    assert!(prompt.ends_with("\nUser: What is 2+3?\nAssistant:"));
    let completion = zero_completion("2+3=5.", "5");
    assert_eq!(completion, " <think> 2+3=5. </think> <answer> 5 </answer>");
    assert!(format(&completion));
}

#[test]
fn the_long_chain_works_checks_and_sums_up() {
    let problem = example(Language::English);
    let text = long_readable(&problem).expect("a worked problem");
    let parts = [&problem.solution, problem.check.as_ref().unwrap(), &problem.answer];
    let mut rest = text.as_str();
    for part in parts {
        rest = rest.split_once(part.as_str()).unwrap_or_else(|| panic!("{part:?} is missing in {text:?}")).1;
    }
    assert!(long_readable(&Problem { solution: String::new(), ..problem }).is_none());
}

#[test]
fn a_problem_without_a_solution_is_still_a_document() {
    let problem = Problem { solution: String::new(), solution_other: None, ..example(Language::English) };
    for i in 0..20 {
        let text = document(&problem, 1, i, &Default::default());
        assert!(text.contains(&problem.question) && text.contains(&problem.answer), "{text}");
    }
}
