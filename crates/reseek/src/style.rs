//! How each model of a run is asked, as the table of stages says: its training, its evaluation and the chat template in its folder follow
//! from there, so that they cannot differ.

use std::sync::LazyLock;

pub use reseek_spec::stages::Style;
use reseek_spec::stages::find;
use reseek_text::{ChatTemplate, GenerationPrompt, Message, Tokenizer};

use crate::error::Outcome;

/// How the model of a stage is asked.
///
/// # Panics
/// If the stage makes no model.
pub fn style_of(stage: &str) -> Style {
    find(stage).model.as_ref().expect("a stage that makes a model").style
}

/// The chat template in the folder of a model of this style.
pub fn template(style: Style) -> Option<&'static ChatTemplate> {
    (style != Style::Text).then(|| asked_with(style))
}

fn asked_with(style: Style) -> &'static ChatTemplate {
    static ZERO: LazyLock<ChatTemplate> = LazyLock::new(ChatTemplate::r1_zero);
    static R1: LazyLock<ChatTemplate> = LazyLock::new(ChatTemplate::deepseek_r1);
    match style {
        Style::Text | Style::Zero => &ZERO,
        Style::Chat => &R1,
    }
}

/// The tokens of a question in a model's style, ready for the answer.
pub fn prompt(tokenizer: &Tokenizer, style: Style, question: &str) -> Outcome<Vec<u32>> {
    Ok(asked_with(style).encode(tokenizer, &[Message::user(question)], GenerationPrompt::Assistant)?)
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
