//! Problems of words.

use reseek_tasks::Family;

use super::{fit, holes, numbers};

fn letters(text: &str) -> Vec<char> {
    text.chars().filter(|c| c.is_ascii_lowercase()).collect()
}

fn spelled(letters: impl IntoIterator<Item = char>) -> String {
    letters.into_iter().map(String::from).collect::<Vec<_>>().join(" ")
}

pub fn words(family: Family, question: &str) -> String {
    match family {
        Family::ReverseWord => {
            let found = fit(
                question,
                &[
                    "Spell {} backwards.",
                    "Write the letters of {} in reverse.",
                    "What is {} spelled from the end?",
                    "把{}倒过来拼写。",
                    "倒着写出{}的字母。",
                    "{}从后往前怎么拼？",
                ],
            );
            spelled(letters(found[0]).into_iter().rev())
        }
        Family::LetterCount => {
            let found = fit(
                question,
                &[
                    "How many times does {} occur in {}?",
                    "How many letters {} are in {}?",
                    "Count the letter {} in {}.",
                    "字母{}在{}中出现几次？",
                    "{}里有几个{}？!",
                    "数一数{}中的{}。!",
                ],
            );
            letters(found[1]).iter().filter(|l| found[0] == l.to_string()).count().to_string()
        }
        Family::LetterAt => letter_at(question),
        Family::SortLetters => {
            let found = fit(
                question,
                &[
                    "Sort the letters of {}.",
                    "Put the letters of {} in alphabetical order.",
                    "Write the letters of {} from a to z.",
                    "从a到z写出{}的字母。",
                    "把{}的字母排序。",
                    "把{}的字母按字母表排列。",
                ],
            );
            let mut letters = letters(found[0]);
            letters.sort_unstable();
            spelled(letters)
        }
        _ => shift(question),
    }
}

fn letter_at(question: &str) -> String {
    let found = fit(
        question,
        &[
            "What is the {} letter of {}?",
            "Give the {} letter of {}.",
            "Which letter of {} is the {}?!",
            "{}的{}字母是什么？!",
            "写出{}的{}字母。!",
            "{}中{}是哪个字母？!",
        ],
    );
    let (ordinal, word) = (found[0], letters(found[1]));
    let names = ["first", "second", "third", "fourth", "fifth"];
    let index = match ordinal {
        "last" => word.len() - 1,
        "second to last" => word.len() - 2,
        "third to last" => word.len() - 3,
        _ => match (names.iter().position(|name| *name == ordinal), numbers(ordinal).first()) {
            (Some(index), _) => index,
            (None, Some(&place)) if ordinal.starts_with("倒数") => word.len() - place as usize,
            (None, Some(&place)) => place as usize - 1,
            (None, None) => panic!("{ordinal:?} is no place"),
        },
    };
    word[index].to_string()
}

fn shift(question: &str) -> String {
    let forward = [
        "Move each letter of {} forward by {}.",
        "Shift the letters of {} forward by {}.",
        "What is {} with each letter {} forward?",
        "把{}的每个字母向后移{}位。",
        "{}的字母各向后移{}位是什么？",
        "将{}的字母在字母表中向后移{}位。",
    ];
    let back = forward.map(|pattern| pattern.replace("forward", "back").replace('后', "前"));
    let (found, turns) = match forward.iter().find_map(|pattern| holes(question, pattern)) {
        Some(found) => (found, 1),
        None => (fit(question, &back.each_ref().map(String::as_str)), 25),
    };
    let by = turns * numbers(found[1])[0] as u32 % 26;
    let moved = |l: char| char::from(b'a' + ((l as u32 - 'a' as u32 + by) % 26) as u8);
    spelled(letters(found[0]).into_iter().map(moved))
}
