//! Questions to a person.

use std::io;

use crate::output;

/// Asks a question that is answered with a letter, one of `keys`, until one of them comes. `None` at the end of input.
/// Blocks.
pub(crate) fn choice(question: &str, keys: &[char]) -> Option<char> {
    loop {
        output::prompt(format_args!("{question} "));
        let mut answer = String::new();
        if io::stdin().read_line(&mut answer).ok()? == 0 {
            output::prompt("\n");
            return None;
        }
        if let Some(key) = answered(&answer, keys) {
            return Some(key);
        }
    }
}

/// Which of the keys a line means.
pub(crate) fn answered(line: &str, keys: &[char]) -> Option<char> {
    let key = line.trim().to_lowercase().chars().next()?;
    keys.contains(&key).then_some(key)
}
