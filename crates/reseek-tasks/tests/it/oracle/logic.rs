//! Problems of logic, by trying every case.

use super::holes;

/// Tokens of a formula, and a reader without precedence: brackets are complete, save for the outermost.
pub struct Formula(Vec<&'static str>);

impl Formula {
    pub fn parse(question: &str) -> Formula {
        let question = question.replace("True or false:", "").replace("判断真假：", "").replace("的值", "");
        let spellings = [
            ("true", "T"),
            ("false", "F"),
            ("not", "!"),
            ("and", "&"),
            ("xor", "^"),
            ("or", "|"),
            ("真", "T"),
            ("假", "F"),
            ("非", "!"),
            ("且", "&"),
            ("异或", "^"),
            ("或", "|"),
            ("(", "("),
            (")", ")"),
        ];
        let (mut tokens, mut rest) = (Vec::new(), question.as_str());
        while let Some(first) = rest.chars().next() {
            if let [a, sign @ (b'<' | b'>'), b, ..] = *rest.as_bytes() {
                tokens.push(if (a < b) == (sign == b'<') { "T" } else { "F" });
                rest = &rest[3..];
                continue;
            }
            let found = spellings.iter().find(|(word, _)| rest.starts_with(word));
            tokens.extend(found.map(|(_, token)| *token));
            rest = &rest[found.map_or(first.len_utf8(), |(word, _)| word.len())..];
        }
        tokens.reverse();
        Formula(tokens)
    }

    pub fn value(mut self) -> bool {
        let value = self.operation();
        assert!(self.0.is_empty(), "tokens left over");
        value
    }

    fn operation(&mut self) -> bool {
        let left = self.operand();
        match self.0.pop() {
            Some("&") => self.operand() & left,
            Some("|") => self.operand() | left,
            Some("^") => self.operand() ^ left,
            Some(other) => panic!("{other} where an operator should be"),
            None => left,
        }
    }

    fn operand(&mut self) -> bool {
        match self.0.pop().unwrap() {
            "T" => true,
            "F" => false,
            "!" => !self.operand(),
            "(" => {
                let value = self.operation();
                assert_eq!(self.0.pop(), Some(")"));
                value
            }
            other => panic!("{other} where an operand should be"),
        }
    }
}

fn sentences(question: &str) -> Vec<&str> {
    question.split_inclusive(['.', '?', ':', '。', '？', '：']).map(str::trim).collect()
}

/// The order in which all comparisons hold, found by trying every order.
pub fn ordering(question: &str, english: bool) -> String {
    let (mut above, mut asked) = (Vec::new(), "");
    for sentence in sentences(question) {
        let told = ["taller", "older", "faster", "shorter", "younger", "slower"];
        let told_zh = ["高", "大", "快", "矮", "小", "慢"];
        let (words, pattern) = if english { (told, "{} is # than {}.") } else { (told_zh, "{}比{}#。") };
        let fitted = words.iter().enumerate().find_map(|(i, word)| {
            holes(sentence, &pattern.replace('#', word)).map(
                |found| {
                    if i < 3 { found } else { vec![found[1], found[0]] }
                },
            )
        });
        match fitted {
            Some(pair) => above.push((pair[0], pair[1])),
            None => asked = sentence,
        }
    }
    let mut people: Vec<&str> = above.iter().flat_map(|&(a, b)| [a, b]).collect();
    people.sort_unstable();
    people.dedup();
    let place = |person: &str| people.iter().filter(|other| is_above(other, person, &above)).count();
    let lowest = ["short", "young", "slow", "矮", "小", "慢"].iter().any(|word| asked.contains(word));
    let rank = usize::from(asked.contains("second") || asked.contains("第二"));
    let wanted = if lowest { people.len() - 1 - rank } else { rank };
    people.iter().find(|person| place(person) == wanted).unwrap().to_string()
}

fn is_above(a: &str, b: &str, above: &[(&str, &str)]) -> bool {
    above.iter().any(|&(x, y)| x == a && (y == b || is_above(y, b, above)))
}

/// What the asked person is in every assignment that fits what is told; there must be one answer.
pub fn knights(question: &str, english: bool) -> String {
    let mut people: Vec<String> = Vec::new();
    let mut index = |name: &str| {
        let at = people.iter().position(|person| person == name);
        at.unwrap_or_else(|| {
            people.push(name.to_string());
            people.len() - 1
        })
    };
    // (speaker, what is claimed of whom) or, without a speaker, a fact.
    let mut claims: Vec<(Option<usize>, usize, bool)> = Vec::new();
    let (mut speaker, mut about_both, mut asked) = (None, None, 0);
    let patterns: [&str; 6] = if english {
        ["{} says {} is a {}.", "Is {} a knight or a knave?", "What is {}?", "{} is silent.", "{} says:", "{} is a {}."]
    } else {
        ["{}说{}是{}。", "{}是骑士还是无赖？", "{}是什么人？", "{}不说话。", "{}说：", "{}是{}。"]
    };
    let rules = ["Knights tell", "Knights never", "骑士说真话", "骑士不说谎"];
    for sentence in sentences(question) {
        if rules.iter().any(|rule| sentence.starts_with(rule)) {
            continue;
        }
        if let Some(speaker) = speaker.take() {
            about_both = Some((sentence, speaker));
            continue;
        }
        let fitted = patterns.iter().enumerate().find_map(|(i, p)| Some((i, holes(sentence, p)?)));
        let (pattern, found) = fitted.unwrap_or_else(|| panic!("{sentence:?} is not understood"));
        let is_knight = |word: &str| word == "knight" || word == "骑士";
        match pattern {
            0 => claims.push((Some(index(found[0])), index(found[1]), is_knight(found[2]))),
            1 | 2 => asked = index(found[0]),
            3 => drop(index(found[0])),
            4 => speaker = Some(index(found[0])),
            _ => claims.push((None, index(found[0]), is_knight(found[1]))),
        }
    }
    let count = people.len();
    let holds = |world: u32| {
        let is = |person: usize| world >> person & 1 == 1;
        let told = claims.iter().all(|&(speaker, whom, claimed)| match speaker {
            None => is(whom) == claimed,
            Some(speaker) => is(speaker) == (is(whom) == claimed),
        });
        told && about_both.is_none_or(|(claim, speaker)| is(speaker) == both(claim, is(0), is(1)))
    };
    let mut answers: Vec<bool> = (0..1 << count).filter(|&w| holds(w)).map(|w| w >> asked & 1 == 1).collect();
    answers.dedup();
    assert_eq!(answers.len(), 1, "{question:?} has not one answer");
    let words = if english { ["knave", "knight"] } else { ["无赖", "骑士"] };
    words[usize::from(answers[0])].to_string()
}

fn both(claim: &str, a: bool, b: bool) -> bool {
    match claim {
        "we are both knaves." | "我们都是无赖。" => !a && !b,
        "at least one of us is a knave." | "我们至少有一个无赖。" => !a || !b,
        "we are of the same kind." | "我们是同类。" => a == b,
        "we are of different kinds." | "我们不同类。" => a != b,
        _ => panic!("{claim:?} is not understood"),
    }
}
