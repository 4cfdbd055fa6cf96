//! The configuration file.

use std::fs;
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;
use toml::{Spanned, Table, Value};

use super::draft::Draft;
use super::keys;
use super::origin::{Fault, Origin};

/// Reads a file into the draft.
pub(super) fn read(path: &Path, draft: &mut Draft) {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            return draft.report(Fault::File {
                path: path.to_owned(),
                problem: error.to_string(),
            });
        }
    };
    let source = Source { path, text: &text };
    let (spanned, errors) = DeTable::parse_recoverable(&text);
    // What follows on the same line is mostly a consequence of its first error.
    let mut reported = None;
    for error in &errors {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| before.matches('\n').count());
        if line.is_none() || line != reported {
            source.report(error, draft);
        }
        reported = line;
    }
    if !errors.is_empty() {
        // What the parser guessed beyond an error would bring faults that are none.
        return;
    }
    match text.parse::<Table>() {
        Ok(table) => source.read(table, spanned.get_ref(), draft),
        Err(error) => source.report(&error, draft),
    }
}

/// The file being read.
#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn read(self, table: Table, spanned: &DeTable<'_>, draft: &mut Draft) {
        for (name, value) in table {
            let origin = self.origin(span(spanned, &name));
            match value {
                Value::Table(inner) if name == "backends" => {
                    draft.note(&name, &origin);
                    self.note_all(&name, inner_spans(spanned, &name), draft);
                    draft.set_backends(inner);
                }
                Value::Table(inner) if keys::is_table(&name) => {
                    let spanned = inner_spans(spanned, &name);
                    for (inner_name, value) in inner {
                        let line = spanned.and_then(|spanned| span(spanned, &inner_name));
                        let key = join(&name, &inner_name);
                        self.set(&key, &inner_name, &value, line, draft);
                    }
                }
                _ if name == "backends" || keys::is_table(&name) => {
                    draft.fault(&name, origin, "must be a table".to_owned());
                }
                value => self.set(&name, &name, &value, span(spanned, &name), draft),
            }
        }
    }

    fn set(
        self,
        key: &str,
        name: &str,
        value: &Value,
        span: Option<Range<usize>>,
        draft: &mut Draft,
    ) {
        let origin = self.origin(span);
        // A quoted name with a dot in it would pass for a key of a table.
        let set = if name.contains('.') {
            Err("unknown key".to_owned())
        } else {
            draft.set(key, value, &origin)
        };
        if let Err(problem) = set {
            draft.fault(key, origin, problem);
        }
    }

    /// Notes the lines of everything below `path`.
    fn note_all(self, path: &str, spanned: Option<&DeTable<'_>>, draft: &mut Draft) {
        for (name, value) in spanned.into_iter().flatten() {
            let key = join(path, name.get_ref());
            draft.note(&key, &self.origin(Some(name.span())));
            self.note_all(&key, value.get_ref().as_table(), draft);
        }
    }

    fn origin(self, span: Option<Range<usize>>) -> Origin {
        let before = span.map_or("", |span| self.text.get(..span.start).unwrap_or_default());
        Origin::File {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
        }
    }

    /// The error's own display would repeat the line, which may hold a secret.
    fn report(self, error: &toml::de::Error, draft: &mut Draft) {
        draft.report(Fault::Source {
            origin: self.origin(error.span()),
            problem: error.message().replace('\n', ", "),
        });
    }
}

fn join(path: &str, name: &str) -> String {
    format!("{path}.{name}")
}

fn span(table: &DeTable<'_>, name: &str) -> Option<Range<usize>> {
    table.get_key_value(name).map(|(key, _)| key.span())
}

fn inner_spans<'a, 'text>(table: &'a DeTable<'text>, name: &str) -> Option<&'a DeTable<'text>> {
    table.get(name).map(Spanned::get_ref)?.as_table()
}
