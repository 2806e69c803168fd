//! Logic: knights, who always tell the truth, and knaves, who always lie.

use super::{Both, Drawn, Questions, Sentences, joined, people};
use crate::answer::AnswerKind;
use crate::stream::Stream;

/// What a person is.
fn role(knight: bool) -> Both {
    if knight { Both::new("knight", "骑士") } else { Both::new("knave", "无赖") }
}

/// Knights always tell the truth, knaves always lie. Levels 1 and 2 lead from a known person to the asked one; level 3
/// tells nothing but what one of two says about both.
pub(super) fn knights_knaves(level: u8, stream: &mut Stream) -> Drawn {
    if level == 3 { one_about_both(stream) } else { chain_of_claims(level as usize, stream) }
}

/// `length` claims: @0 is known, each next person says what the one before is.
fn chain_of_claims(length: usize, stream: &mut Stream) -> Drawn {
    let people = people(length + 1, stream);
    let mut is_knight = stream.chance(0.5);
    let first = role(is_knight);
    let mut facts = Both::new(format!("@0 is a {}.", first.english), format!("@0是{}。", first.chinese));
    let mut key = format!("{is_knight}");
    let mut steps = Sentences::default();
    for i in 1..=length {
        let before = i - 1;
        let claimed = stream.chance(0.5);
        let claim = role(claimed);
        facts.english.push_str(&format!(" @{i} says @{before} is a {}.", claim.english));
        facts.chinese.push_str(&format!("@{i}说@{before}是{}。", claim.chinese));
        key.push_str(&format!(" {claimed}"));
        let fits = claimed == is_knight;
        let (actual, now) = (role(is_knight), role(fits));
        let (truth, truth_zh) = if fits { ("true", "真话") } else { ("false", "假话") };
        steps.say(
            format!("@{before} is a {}, so @{i} says what is {truth}: @{i} is a {}", actual.english, now.english),
            format!("@{before}是{}，所以@{i}说的是{truth_zh}：@{i}是{}", actual.chinese, now.chinese),
        );
        is_knight = fits;
    }
    let verb = if is_knight { ("tells the truth", "说真话") } else { ("lies", "说假话") };
    Drawn {
        key: format!("{key} {}", joined(&people, " ")),
        kind: AnswerKind::KnightKnave,
        answer: role(is_knight),
        questions: knight_questions(&facts, &format!("@{length}")),
        steps: steps.done(),
        check: Sentences::only(
            format!("A {} {}, which fits", role(is_knight).english, verb.0),
            format!("{}{}，相符", role(is_knight).chinese, verb.1),
        ),
        people,
    }
}

/// One claim of @0 about @0 and @1, and what follows from it.
struct Claim {
    /// What @0 says.
    says: (&'static str, &'static str),
    /// What each is, where the claim decides it.
    roles: [Option<bool>; 2],
    /// The argument.
    because: (&'static str, &'static str),
}

const CLAIMS: [Claim; 4] = [
    Claim {
        says: ("we are both knaves", "我们都是无赖"),
        roles: [Some(false), Some(true)],
        because: (
            "A knight cannot say this, so @0 is a knave and it is false: @1 is a knight",
            "骑士不会这样说，所以@0是无赖，这是假话：@1是骑士",
        ),
    },
    Claim {
        says: ("at least one of us is a knave", "我们至少有一个无赖"),
        roles: [Some(true), Some(false)],
        because: (
            "From a knave it would be true, so @0 is a knight and it is true: @1 is a knave",
            "无赖说它就成了真话，所以@0是骑士，这是真话：@1是无赖",
        ),
    },
    Claim {
        says: ("we are of the same kind", "我们是同类"),
        roles: [None, Some(true)],
        because: (
            "If @0 is a knight it is true, if @0 is a knave it is false: each time @1 is a knight",
            "@0是骑士则为真，@0是无赖则为假：@1都是骑士",
        ),
    },
    Claim {
        says: ("we are of different kinds", "我们不同类"),
        roles: [None, Some(false)],
        because: (
            "If @0 is a knight it is true, if @0 is a knave it is false: each time @1 is a knave",
            "@0是骑士则为真，@0是无赖则为假：@1都是无赖",
        ),
    },
];

fn one_about_both(stream: &mut Stream) -> Drawn {
    let people = people(2, stream);
    let number = stream.below(CLAIMS.len());
    let claim = &CLAIMS[number];
    let (asked, is_knight) = match claim.roles {
        [Some(speaker), _] if stream.chance(0.5) => (0, speaker),
        [_, other] => (1, other.expect("every claim decides what the other one is")),
    };
    let facts =
        Both::new(format!("@1 is silent. @0 says: {}.", claim.says.0), format!("@1不说话。@0说：{}。", claim.says.1));
    Drawn {
        key: format!("both {number} {asked} {}", joined(&people, " ")),
        kind: AnswerKind::KnightKnave,
        answer: role(is_knight),
        questions: knight_questions(&facts, &format!("@{asked}")),
        steps: Sentences::only(claim.because.0, claim.because.1),
        check: Sentences::only("No other choice fits", "别的都不相符"),
        people,
    }
}

fn knight_questions(facts: &Both, asked: &str) -> Questions {
    let (en, zh) = (&facts.english, &facts.chinese);
    Questions::new(
        [
            format!("Knights tell the truth, knaves lie. {en} Is {asked} a knight or a knave?"),
            format!("{en} Knights tell the truth, knaves lie. What is {asked}?"),
            format!("Knights never lie, knaves always lie. {en} What is {asked}?"),
        ],
        [
            format!("骑士说真话，无赖说假话。{zh}{asked}是骑士还是无赖？"),
            format!("{zh}骑士说真话，无赖说假话。{asked}是什么人？"),
            format!("骑士不说谎，无赖总说谎。{zh}{asked}是什么人？"),
        ],
    )
}
