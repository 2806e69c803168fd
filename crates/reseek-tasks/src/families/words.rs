//! Words: letters backwards, counted, found, sorted, shifted. Level 1 gives the letters spelled, so that it asks for
//! the procedure alone; the others give a word, whose spelling the model must know.
//!
//! Three different letters in order are 15,600 problems, fewer than a run draws three times over: one in six has four.

use std::sync::LazyLock;

use super::{Both, Drawn, Questions, Sentences, joined};
use crate::answer::AnswerKind;
use crate::stream::Stream;

/// Common English words of three to eight letters.
static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("../words.txt").split_whitespace().collect());

/// A common word of `low..=high` letters.
fn word(low: usize, high: usize, stream: &mut Stream) -> Vec<char> {
    loop {
        let word = *stream.pick(&WORDS);
        if (low..=high).contains(&word.len()) {
            return word.chars().collect();
        }
    }
}

/// Different letters.
fn different_letters(count: usize, stream: &mut Stream) -> Vec<char> {
    stream.distinct(count, 0, 25).into_iter().map(|i| char::from(b'a' + i as u8)).collect()
}

/// Three different letters, in one case of six four.
fn few_letters(stream: &mut Stream) -> Vec<char> {
    let count = if stream.below(6) == 0 { 4 } else { 3 };
    different_letters(count, stream)
}

/// The letters of a task at `level`, and how the question names them: spelled at level 1, else as a word.
fn letters_and_name(level: u8, stream: &mut Stream) -> (Vec<char>, String) {
    let letters = match level {
        1 => few_letters(stream),
        2 => word(4, 5, stream),
        _ => word(6, 7, stream),
    };
    let name = joined(&letters, if level == 1 { " " } else { "" });
    (letters, name)
}

/// Says how the word is spelled.
fn spell(letters: &[char], steps: &mut Sentences) {
    let spelled = joined(letters, " ");
    steps.say(format!("The letters are {spelled}"), format!("字母是{spelled}"));
}

/// A word backwards, taking the last letter again and again: `c a t -> t. c a -> a. c -> c.`
pub(super) fn reverse_word(level: u8, stream: &mut Stream) -> Drawn {
    let (letters, name) = letters_and_name(level, stream);
    let mut steps = Sentences::default();
    steps.say("Take the last letter each time", "每次取最后的字母");
    for end in (1..=letters.len()).rev() {
        steps.show(format!("{} -> {}", joined(&letters[..end], " "), letters[end - 1]));
    }
    let backwards: Vec<char> = letters.iter().rev().copied().collect();
    let (answer, forwards) = (joined(&backwards, " "), joined(&letters, " "));
    Drawn {
        key: joined(&letters, ""),
        kind: AnswerKind::Letters,
        answer: Both::same(&answer),
        questions: Questions::new(
            [
                format!("Spell {name} backwards."),
                format!("Write the letters of {name} in reverse."),
                format!("What is {name} spelled from the end?"),
            ],
            [format!("把{name}倒过来拼写。"), format!("倒着写出{name}的字母。"), format!("{name}从后往前怎么拼？")],
        ),
        steps: steps.done(),
        check: Sentences::only(format!("{answer} backwards is {forwards}"), format!("{answer}倒过来是{forwards}")),
        people: Vec::new(),
    }
}

/// How often a letter occurs, by a running count: `b 0, e 1, e 2.`
pub(super) fn letter_count(level: u8, stream: &mut Stream) -> Drawn {
    // Chosen first: most letters of most words occur once, so that 1 would be a good guess.
    let wanted = stream.weighted(&[0.25, 0.4, 0.35]);
    let (letters, letter) = loop {
        let letters = letters_to_count(level, stream);
        let occurs = |letter: char| letters.iter().filter(|&&l| l == letter).count().min(2);
        let fitting: Vec<char> = ('a'..='z').filter(|&l| occurs(l) == wanted).collect();
        if !fitting.is_empty() {
            let letter = *stream.pick(&fitting);
            break (letters, letter);
        }
    };
    let name = joined(&letters, if level == 1 { " " } else { "" });
    let mut count = 0;
    let running: Vec<String> = letters
        .iter()
        .map(|&l| {
            count += usize::from(l == letter);
            format!("{l} {count}")
        })
        .collect();
    let mut steps = Sentences::default();
    steps.say(format!("Count {letter}"), format!("数{letter}"));
    steps.show(joined(&running, ", "));
    Drawn {
        key: format!("{letter} {}", joined(&letters, "")),
        kind: AnswerKind::Count,
        answer: Both::same(count),
        questions: Questions::new(
            [
                format!("How many times does {letter} occur in {name}?"),
                format!("How many letters {letter} are in {name}?"),
                format!("Count the letter {letter} in {name}."),
            ],
            [
                format!("{name}里有几个{letter}？"),
                format!("字母{letter}在{name}中出现几次？"),
                format!("数一数{name}中的{letter}。"),
            ],
        ),
        steps: steps.done(),
        check: places_of(letter, &letters),
        people: Vec::new(),
    }
}

fn letters_to_count(level: u8, stream: &mut Stream) -> Vec<char> {
    match level {
        // Few different letters, so that they repeat.
        1 => {
            let few = different_letters(3, stream);
            (0..stream.range(3, 5)).map(|_| *stream.pick(&few)).collect()
        }
        2 => word(4, 5, stream),
        _ => word(6, 8, stream),
    }
}

/// Says at which places `letter` stands.
fn places_of(letter: char, letters: &[char]) -> Both {
    let places: Vec<usize> = (1..=letters.len()).filter(|&i| letters[i - 1] == letter).collect();
    match places.len() {
        0 => Sentences::only(format!("No letter is {letter}"), format!("没有{letter}")),
        1 => Sentences::only(format!("It is letter {}", places[0]), format!("在第{}位", places[0])),
        _ => {
            let list = joined(&places, ", ");
            Sentences::only(format!("They are letters {list}"), format!("在第{}位", list.replace(", ", "，")))
        }
    }
}

/// The letter at a place, from the front or from the end.
pub(super) fn letter_at(level: u8, stream: &mut Stream) -> Drawn {
    const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];
    const FROM_END: [&str; 3] = ["last", "second to last", "third to last"];
    let letters = match level {
        1 => word(3, 4, stream),
        2 => word(4, 6, stream),
        _ => word(6, 8, stream),
    };
    let from_end = stream.chance(if level == 1 { 0.5 } else { 0.4 });
    let place = match (level, from_end) {
        (1, _) => 1,
        (2, true) => 2,
        (2, false) => stream.range(2, 3) as usize,
        (_, true) => 3,
        (_, false) => stream.range(3, 5) as usize,
    };
    let name = joined(&letters, "");
    let (ordinals, side, side_zh, index) = if from_end {
        (FROM_END.as_slice(), "end", "后", letters.len() + 1 - place)
    } else {
        (ORDINALS.as_slice(), "front", "前", place)
    };
    let ordinal = ordinals[place - 1];
    let ordinal_zh = format!("{}第{place}个", if from_end { "倒数" } else { "" });
    let answer = letters[index - 1];
    let mut counted = letters.clone();
    if from_end {
        counted.reverse();
    }
    let numbered = (1..=place).map(|i| format!("{i} {}", counted[i - 1]));
    let numbered = joined(&numbered.collect::<Vec<_>>(), ", ");
    let mut steps = Sentences::default();
    spell(&letters, &mut steps);
    steps.say(format!("From the {side}: {numbered}"), format!("从{side_zh}数：{}", numbered.replace(", ", "，")));
    Drawn {
        // The place from the front, so that the last letter of a word and its third have one key where they are one.
        key: format!("{index} {name}"),
        kind: AnswerKind::Letters,
        answer: Both::same(answer),
        questions: Questions::new(
            [
                format!("What is the {ordinal} letter of {name}?"),
                format!("Which letter of {name} is the {ordinal}?"),
                format!("Give the {ordinal} letter of {name}."),
            ],
            [
                format!("{name}的{ordinal_zh}字母是什么？"),
                format!("写出{name}的{ordinal_zh}字母。"),
                format!("{name}中{ordinal_zh}是哪个字母？"),
            ],
        ),
        steps: steps.done(),
        check: Sentences::only(
            format!("{} letters, number {index} is {answer}", letters.len()),
            format!("共{}个字母，第{index}个是{answer}", letters.len()),
        ),
        people: Vec::new(),
    }
}

/// Letters into alphabetical order, taking the earliest of the rest again and again: `d o g -> d. o g -> g. o -> o.`
pub(super) fn sort_letters(level: u8, stream: &mut Stream) -> Drawn {
    let (letters, name) = match level {
        // Their order does not count: three letters alone would be 2,600 problems.
        1 => {
            let count = [3, 4, 4, 4, 5][stream.below(5)];
            let letters = different_letters(count, stream);
            let name = joined(&letters, " ");
            (letters, name)
        }
        _ => letters_and_name(level, stream),
    };
    let mut sorted = letters.clone();
    sorted.sort_unstable();
    let mut steps = Sentences::default();
    steps.say("Take the earliest letter each time", "每次取最靠前的字母");
    let mut rest = letters.clone();
    for &taken in &sorted {
        steps.show(format!("{} -> {taken}", joined(&rest, " ")));
        let at = rest.iter().position(|&l| l == taken).expect("a letter of the rest");
        rest.remove(at);
    }
    let answer = joined(&sorted, " ");
    Drawn {
        key: joined(&sorted, ""),
        kind: AnswerKind::Letters,
        answer: Both::same(&answer),
        questions: Questions::new(
            [
                format!("Sort the letters of {name}."),
                format!("Put the letters of {name} in alphabetical order."),
                format!("Write the letters of {name} from a to z."),
            ],
            [
                format!("把{name}的字母排序。"),
                format!("把{name}的字母按字母表排列。"),
                format!("从a到z写出{name}的字母。"),
            ],
        ),
        steps: steps.done(),
        check: Sentences::only(
            format!("{} letters, {answer}", letters.len()),
            format!("共{}个字母，{answer}", letters.len()),
        ),
        people: Vec::new(),
    }
}

/// Each letter some places further in the alphabet, z followed by a: `c -> d, a -> b, t -> u.`
pub(super) fn shift_letters(level: u8, stream: &mut Stream) -> Drawn {
    let (letters, shift) = match level {
        1 => (few_letters(stream), 1),
        2 => (word(3, 4, stream), *stream.pick(&[1, 2, -1])),
        _ => (word(4, 6, stream), *stream.pick(&[2, 3, -1, -2])),
    };
    let name = joined(&letters, if level == 1 { " " } else { "" });
    let moved = |l: char, by: i64| char::from(b'a' + (i64::from(l as u8 - b'a') + by).rem_euclid(26) as u8);
    let shifted: Vec<char> = letters.iter().map(|&l| moved(l, shift)).collect();
    let arrows = |from: &[char], to: &[char]| {
        let pairs: Vec<String> = from.iter().zip(to).map(|(a, b)| format!("{a} -> {b}")).collect();
        joined(&pairs, ", ")
    };
    let (size, way, way_zh) =
        (shift.abs(), if shift > 0 { "forward" } else { "back" }, if shift > 0 { "后" } else { "前" });
    let mut steps = Sentences::default();
    if level > 1 {
        spell(&letters, &mut steps);
    }
    steps.say(
        format!("Move {way} by {size}: {}", arrows(&letters, &shifted)),
        format!("向{way_zh}移{size}位：{}", arrows(&letters, &shifted).replace(", ", "，")),
    );
    Drawn {
        key: format!("{shift} {}", joined(&letters, "")),
        kind: AnswerKind::Letters,
        answer: Both::same(joined(&shifted, " ")),
        questions: Questions::new(
            [
                format!("Move each letter of {name} {way} by {size}."),
                format!("Shift the letters of {name} {way} by {size}."),
                format!("What is {name} with each letter {size} {way}?"),
            ],
            [
                format!("把{name}的每个字母向{way_zh}移{size}位。"),
                format!("{name}的字母各向{way_zh}移{size}位是什么？"),
                format!("将{name}的字母在字母表中向{way_zh}移{size}位。"),
            ],
        ),
        steps: steps.done(),
        check: Sentences::one(arrows(&shifted, &letters)),
        people: Vec::new(),
    }
}
