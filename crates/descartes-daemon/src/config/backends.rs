//! Keys of backends that are set outside of the file, where a value is only a text.

use toml::{Table, Value};

/// The value that a text stands for at `path`, the key without `backends.`.
///
/// # Errors
/// What is wrong with the path or the text.
pub(super) fn parse(path: &str, text: &str) -> Result<Value, String> {
    let segments: Vec<&str> = path.split('.').collect();
    let [_, inner @ .., last] = segments.as_slice() else {
        return Err("must be a table; set one of its keys".to_owned());
    };
    if segments.contains(&"") {
        return Err("has an empty part".to_owned());
    }
    if inner.last() == Some(&"env") {
        return Ok(Value::String(text.to_owned()));
    }
    match *last {
        "enabled" | "allow_args" => {
            let switch = text.parse().map(Value::Boolean);
            switch.map_err(|_| "must be true or false".to_owned())
        }
        "args" | "pass_env" | "client_env" | "env" | "tool_levels" => toml_value(text),
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// Puts a value at `path`, with the tables on the way to it.
pub(super) fn insert(table: &mut Table, path: &str, value: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        table.insert(path.to_owned(), value);
        return;
    };
    let inner = table
        .entry(first)
        .or_insert_with(|| Value::Table(Table::new()));
    // Something else than a table here comes from the file, and is reported as the file's.
    if let Value::Table(inner) = inner {
        insert(inner, rest, value);
    }
}

fn toml_value(text: &str) -> Result<Value, String> {
    // The parser's own message could repeat the text, which may hold a secret.
    let parsed = format!("value = {text}").parse::<Table>().ok();
    let value = parsed
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"));
    value.ok_or_else(|| "must be a TOML value, for instance [\"a\", \"b\"]".to_owned())
}
