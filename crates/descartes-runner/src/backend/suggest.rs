//! "Did you mean": the known word that looks most like an unknown one.

/// The word of `known` nearest to `word`, where it is near enough to be a slip of the finger: at most
/// one change for each three characters, and at most three.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let changes_max = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (changes(word, candidate), candidate))
        .filter(|(changes, _)| *changes <= changes_max)
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, candidate)| candidate.to_owned())
}

/// The Levenshtein distance: how many characters have to be inserted, removed or replaced.
fn changes(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, right) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
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
    }

    #[test]
    fn distance_counts_insertions_removals_and_replacements() {
        assert_eq!(changes("kitten", "sitting"), 3);
        assert_eq!(changes("", "abc"), 3);
        assert_eq!(changes("same", "same"), 0);
    }
}
