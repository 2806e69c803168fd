//! What each model of a run is and how it is asked: one table, from which its training, its evaluation and the chat template in its
//! folder follow, so that they cannot differ.

use std::sync::LazyLock;

use reseek_text::{ChatTemplate, GenerationPrompt, Message, Tokenizer};

use crate::error::Outcome;

/// How a model wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// It completes text. In evaluation it is asked as R1-Zero is, which starts from it; its folder carries no template, as it has learnt
    /// no conversation.
    Text,
    /// The R1-Zero prompt around a plain completion.
    Zero,
    /// R1's chat template.
    Chat,
}

/// The models of a run by their folders, with what each is in words.
pub const MADE: [(&str, Style, &str); 10] = [
    ("pretrain", Style::Text, "V3's base model before its context was extended"),
    ("extend", Style::Text, "V3's base model"),
    ("zero", Style::Zero, "R1-Zero: the base model after reinforcement learning by rules alone"),
    ("r1_cold_start", Style::Chat, "R1's cold start: the base model fine-tuned on a few long, readable answers"),
    ("r1_rl", Style::Chat, "R1's cold start after reinforcement learning on reasoning"),
    ("r1_sft", Style::Chat, "the base model fine-tuned on R1's own best answers and on general ones"),
    ("r1", Style::Chat, "R1: fine-tuned on its own best answers, then reinforcement learning over all scenarios"),
    ("student_base", Style::Text, "the student's base model"),
    ("student", Style::Chat, "the student, fine-tuned on R1's answers"),
    ("student_rl", Style::Zero, "the student by reinforcement learning alone"),
];

/// How the model of a stage is asked.
///
/// # Panics
/// If the stage makes no model.
pub fn style_of(stage: &str) -> Style {
    MADE.into_iter().find(|(name, ..)| *name == stage).map(|(_, style, _)| style).expect("a stage that makes a model")
}

impl Style {
    /// The chat template in the folder of such a model.
    pub fn template(self) -> Option<&'static ChatTemplate> {
        (self != Self::Text).then(|| self.asked_with())
    }

    fn asked_with(self) -> &'static ChatTemplate {
        static ZERO: LazyLock<ChatTemplate> = LazyLock::new(ChatTemplate::r1_zero);
        static R1: LazyLock<ChatTemplate> = LazyLock::new(ChatTemplate::deepseek_r1);
        match self {
            Self::Text | Self::Zero => &ZERO,
            Self::Chat => &R1,
        }
    }
}

/// The tokens of a question in a model's style, ready for the answer.
pub fn prompt(tokenizer: &Tokenizer, style: Style, question: &str) -> Outcome<Vec<u32>> {
    Ok(style.asked_with().encode(tokenizer, &[Message::user(question)], GenerationPrompt::Assistant)?)
}

#[cfg(test)]
mod tests {
    use reseek_text::Special;

    use super::*;

    /// Pre-training shows problems in this form (reseek-tasks), RL and evaluation ask with the template (reseek-text).
    #[test]
    fn the_template_is_the_prompt_that_the_base_has_read() {
        let texts = ["A conversation between User and Assistant.", "What is 3 + 4?", "Assistant first thinks."];
        let tokenizer = Tokenizer::train(&texts, 300, 1).unwrap();
        for question in ["What is 3 + 4?", "  多少？\n", "<think>", "{{ bos_token }} '\"\\n", "User: a\nAssistant:", ""]
        {
            let mut expect = vec![tokenizer.special(Special::Bos).unwrap()];
            let text = reseek_tasks::zero_prompt(&tokenizer.mark_plain(question));
            expect.extend(tokenizer.encode_with_special(&text).unwrap());
            for style in [Style::Zero, Style::Text] {
                assert_eq!(prompt(&tokenizer, style, question).unwrap(), expect, "{question:?}");
            }
            let rendered = ChatTemplate::r1_zero();
            let rendered =
                rendered.render(&tokenizer, &[Message::user(question)], GenerationPrompt::Assistant).unwrap();
            assert_eq!(rendered, Special::Bos.text().to_owned() + &reseek_tasks::zero_prompt(question));
        }
    }
}
