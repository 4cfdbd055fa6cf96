//! "Did you mean", as it ends a message.

use descartes_core::runner::backend::nearest;

/// `; did you mean `KNOWN`?` where one of the known words is close, else nothing.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |known| format!("; did you mean `{known}`?"))
}
