//! Questions to a person.

use std::io;

use crate::output;

/// Asks a question that is answered with one of these words, or its first letter, until one of them comes. `None` at
/// the end of input. Blocks.
pub(crate) fn choice<'a>(question: &str, words: &[&'a str]) -> Option<&'a str> {
    loop {
        output::prompt(format_args!("{question} "));
        let mut answer = String::new();
        if io::stdin().read_line(&mut answer).ok()? == 0 {
            output::prompt("\n");
            return None;
        }
        if let Some(word) = answered(&answer, words) {
            return Some(word);
        }
    }
}

/// Which of the words a line means.
pub(crate) fn answered<'a>(line: &str, words: &[&'a str]) -> Option<&'a str> {
    let line = line.trim().to_lowercase();
    let is_meant = |word: &&&str| line == **word || (line.len() == 1 && word.starts_with(&line));
    words.iter().find(is_meant).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_word_or_its_letter_and_nothing_that_begins_so() {
        let words = ["stop", "leave"];
        assert_eq!(answered("s\n", &words), Some("stop"));
        assert_eq!(answered(" Leave\n", &words), Some("leave"));
        for line in ["so much for that\n", "\n", "x\n", "stopp\n"] {
            assert_eq!(answered(line, &words), None, "{line:?}");
        }
    }
}
