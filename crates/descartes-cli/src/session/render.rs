//! What agents print for programs, as a person would read it.
//!
//! Claude Code, Codex, Opencode, Gemini CLI and Qwen Code print one JSON object a line. They are told apart by what is
//! in a line, not by the backend's name: that is the operator's to choose. A line that is none of theirs is left as it
//! is.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use crate::table::plain;

const THOUGHT: Style = Style::new().dimmed();
const TOOL: Style = AnsiColor::Cyan.on_default();
const PROBLEM: Style = AnsiColor::Red.on_default();

/// Lines of a tool's output that are shown.
const RESULT_LINES_MAX: usize = 5;

/// Characters of a tool's input that are shown.
const INPUT_CHARS_MAX: usize = 200;

/// A part of what an agent does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Text(String),
    /// The next part of a text that comes in pieces.
    Piece(String),
    Thought(String),
    Tool {
        name: String,
        input: String,
    },
    ToolResult(String),
    Problem(String),
}

/// What a line says; nothing where it is of no interest, `None` where it is none of a known agent's events.
pub(crate) fn entries(line: &[u8]) -> Option<Vec<Entry>> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let kind = event.get("type")?.as_str()?;
    if kind.starts_with("thread.") || kind.starts_with("turn.") || kind.starts_with("item.") {
        return Some(codex(kind, &event));
    }
    if event.get("sessionID").is_some() {
        return Some(opencode(kind, &event));
    }
    if event.get("session_id").is_some() && kind != "init" {
        return Some(claude(kind, &event));
    }
    let is_gemini = event.get("timestamp").is_some_and(Value::is_string);
    is_gemini.then(|| gemini(kind, &event)).flatten()
}

impl Entry {
    /// The entry in whole lines, except for a piece.
    pub(crate) fn lines(&self) -> String {
        match self {
            Self::Text(text) => format!("{}\n", printable(text.trim_end())),
            Self::Piece(text) => printable(text),
            Self::Thought(text) => styled(THOUGHT, "", text),
            Self::Tool { name, input } => {
                let input: String = plain(input).chars().take(INPUT_CHARS_MAX).collect();
                format!("{TOOL}● {}{TOOL:#} {input}\n", plain(name))
            }
            Self::ToolResult(text) => {
                let count = text.lines().count();
                let shown: Vec<&str> = text.lines().take(RESULT_LINES_MAX).collect();
                let mut lines = styled(THOUGHT, "  ", &shown.join("\n"));
                if count > RESULT_LINES_MAX {
                    let more = count - RESULT_LINES_MAX;
                    let _ = writeln!(lines, "{THOUGHT}  … {more} more lines{THOUGHT:#}");
                }
                lines
            }
            Self::Problem(text) => styled(PROBLEM, "", text),
        }
    }
}

/// Claude Code and Qwen Code.
fn claude(kind: &str, event: &Value) -> Vec<Entry> {
    let content = event.pointer("/message/content").and_then(Value::as_array);
    match kind {
        "assistant" | "user" => {
            let blocks = content.into_iter().flatten();
            blocks.filter_map(claude_block).collect()
        }
        // The text itself came before, as the assistant's; an error did not.
        "result" if event["is_error"] == true => vec![Entry::Problem(text(&event["result"]))],
        _ => Vec::new(),
    }
}

fn claude_block(block: &Value) -> Option<Entry> {
    Some(match block["type"].as_str()? {
        "text" => Entry::Text(text(&block["text"])),
        "thinking" => Entry::Thought(text(&block["thinking"])),
        "tool_use" => Entry::Tool {
            name: text(&block["name"]),
            input: input(&block["input"]),
        },
        "tool_result" => Entry::ToolResult(text(&block["content"])),
        _ => return None,
    })
}

fn codex(kind: &str, event: &Value) -> Vec<Entry> {
    let item = &event["item"];
    let item_type = item["type"].as_str().unwrap_or_default();
    let entry = match (kind, item_type) {
        ("item.completed", "agent_message") => Entry::Text(text(&item["text"])),
        ("item.completed", "reasoning") => Entry::Thought(text(&item["text"])),
        ("item.completed", "error") => Entry::Problem(text(&item["message"])),
        ("item.started", "command_execution") => Entry::Tool {
            name: "shell".to_owned(),
            input: text(&item["command"]),
        },
        ("item.completed", "command_execution") => {
            Entry::ToolResult(text(&item["aggregated_output"]))
        }
        ("turn.failed", _) => Entry::Problem(text(&event["error"]["message"])),
        _ => return Vec::new(),
    };
    vec![entry]
}

fn opencode(kind: &str, event: &Value) -> Vec<Entry> {
    let part = &event["part"];
    match kind {
        "text" => vec![Entry::Text(text(&part["text"]))],
        "tool_use" => vec![
            Entry::Tool {
                name: text(&part["tool"]),
                input: input(&part["state"]["input"]),
            },
            Entry::ToolResult(text(&part["state"]["output"])),
        ],
        "error" => vec![Entry::Problem(text(&event["error"]))],
        _ => Vec::new(),
    }
}

fn gemini(kind: &str, event: &Value) -> Option<Vec<Entry>> {
    Some(match kind {
        "message" if event["role"] == "assistant" => {
            let content = text(&event["content"]);
            let is_piece = event["delta"] == true;
            vec![if is_piece {
                Entry::Piece(content)
            } else {
                Entry::Text(content)
            }]
        }
        "tool_use" => vec![Entry::Tool {
            name: text(&event["tool_name"]),
            input: input(&event["parameters"]),
        }],
        "tool_result" => vec![Entry::ToolResult(text(&event["output"]))],
        "result" if event["status"] == "error" => vec![Entry::Problem(text(&event["error"]))],
        "init" | "message" | "result" => Vec::new(),
        _ => return None,
    })
}

/// The text in a value: itself, that of its `text`, `message` or `content`, or those of its parts.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(parts) => {
            let parts: Vec<String> = parts.iter().map(text).collect();
            parts.join("\n")
        }
        Value::Object(object) => {
            let known = ["text", "message", "content", "data"];
            let inner = known.iter().find_map(|key| object.get(*key));
            inner.map_or_else(|| value.to_string(), text)
        }
        other => other.to_string(),
    }
}

/// What a tool was given: a command, a path, or everything.
fn input(value: &Value) -> String {
    let known = [
        "command",
        "file_path",
        "path",
        "filePath",
        "pattern",
        "url",
        "query",
        "prompt",
    ];
    let telling = known.iter().find_map(|key| value.get(*key));
    telling.map_or_else(|| value.to_string(), text)
}

fn styled(style: Style, indent: &str, text: &str) -> String {
    let mut lines = String::new();
    for line in text.trim_end().lines() {
        let _ = writeln!(lines, "{style}{indent}{}{style:#}", plain(line));
    }
    lines
}

/// A text without what a terminal would act on, its lines kept.
fn printable(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(plain).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(lines: &[&str]) -> String {
        let entries = lines
            .iter()
            .flat_map(|line| entries(line.as_bytes()).unwrap());
        let text: String = entries.map(|entry| entry.lines()).collect();
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn claude_is_rendered() {
        let text = rendered(&[
            r#"{"type":"system","subtype":"init","session_id":"s"}"#,
            r#"{"session_id":"s","type":"assistant","message":{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"I look."}]}}"#,
            r#"{"type":"assistant","session_id":"s","message":{"content":[{"type":"tool_use","name":"Bash","input":{"command":"ls","description":"d"}}]}}"#,
            r#"{"type":"user","session_id":"s","message":{"content":[{"type":"tool_result","content":[{"type":"text","text":"a\nb"}]}]}}"#,
            r#"{"type":"result","session_id":"s","is_error":false,"result":"I look."}"#,
        ]);
        assert_eq!(text, "hm\nI look.\n● Bash ls\n  a\n  b\n");
        let failed =
            r#"{"type":"result","session_id":"s","is_error":true,"result":"API Error: 500"}"#;
        assert_eq!(rendered(&[failed]), "API Error: 500\n");
    }

    #[test]
    fn codex_is_rendered() {
        let text = rendered(&[
            r#"{"type":"thread.started","thread_id":"t"}"#,
            r#"{"type":"item.started","item":{"type":"command_execution","command":"ls"}}"#,
            r#"{"type":"item.completed","item":{"type":"command_execution","aggregated_output":"1\n2\n3\n4\n5\n6\n7\n"}}"#,
            r#"{"type":"item.completed","item":{"type":"agent_message","text":"Done."}}"#,
            r#"{"type":"turn.failed","error":{"message":"no more"}}"#,
        ]);
        assert_eq!(
            text,
            "● shell ls\n  1\n  2\n  3\n  4\n  5\n  … 2 more lines\nDone.\nno more\n"
        );
    }

    #[test]
    fn opencode_and_gemini_are_rendered() {
        let text = rendered(&[
            r#"{"type":"tool_use","sessionID":"s","part":{"tool":"bash","state":{"input":{"command":"ls"},"output":"a\n"}}}"#,
            r#"{"type":"text","sessionID":"s","part":{"text":"Done."}}"#,
            r#"{"type":"init","timestamp":"2026","session_id":"s","model":"m"}"#,
            r#"{"type":"message","timestamp":"2026","role":"user","content":"please"}"#,
            r#"{"type":"message","timestamp":"2026","role":"assistant","content":"Hel","delta":true}"#,
            r#"{"type":"message","timestamp":"2026","role":"assistant","content":"lo","delta":true}"#,
            r#"{"type":"result","timestamp":"2026","status":"success"}"#,
        ]);
        assert_eq!(text, "● bash ls\n  a\nDone.\nHello");
    }

    #[test]
    fn what_is_no_event_is_left_alone() {
        for line in [
            "plain text",
            "{\"type\":\"text\"}",
            "{\"a\":1}",
            "[1]",
            "{",
            "",
        ] {
            assert_eq!(entries(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn an_agent_cannot_command_the_terminal() {
        let line =
            r#"{"type":"item.completed","item":{"type":"agent_message","text":"\u001b[2Ja\nb"}}"#;
        assert_eq!(rendered(&[line]), "\u{fffd}[2Ja\nb\n");
    }
}
