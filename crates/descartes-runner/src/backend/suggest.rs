//! "Did you mean": the known word that looks most like an unknown one.

/// The known word that is the fewest changes away from `word`, unless those are more than a third
/// of it: then it was meant to be something else.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let changes_max = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(changes, _)| *changes <= changes_max)
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["command", "stdin", "stop_signal"];
        assert_eq!(nearest("comand", known).as_deref(), Some("command"));
        assert_eq!(
            nearest("stop-signal", known).as_deref(),
            Some("stop_signal")
        );
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
