//! Argument templates: parsed once, rendered for each spawn.

use super::error::{Problem, Refusal};
use super::suggest;

/// After this argument a program takes nothing for an option.
const SEPARATOR: &str = "--";
const TOOL_ARGS: &str = "tool_args";
const CLIENT_ARGS: &str = "args";

/// What a spawn can fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placeholder {
    Task,
    Context,
    SystemPrompt,
    Model,
    Session,
    Agents,
    WorkingDir,
}

/// The values of one spawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) task: &'a str,
    pub(super) context: Option<&'a str>,
    pub(super) system_prompt: Option<&'a str>,
    pub(super) model: Option<&'a str>,
    pub(super) session: Option<&'a str>,
    pub(super) agents: Option<&'a str>,
    pub(super) working_dir: Option<&'a str>,
    pub(super) tool_args: &'a [String],
    pub(super) client_args: &'a [String],
}

/// A backend's whole list of arguments.
#[derive(Debug, Clone, Default)]
pub(super) struct Arguments(Vec<Argument>);

#[derive(Debug, Clone)]
enum Argument {
    One(Template),
    /// Used only where all its placeholders have values.
    Group(Vec<Template>),
    ToolArgs,
    ClientArgs,
}

#[derive(Debug, Clone)]
struct Template(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Value(Placeholder),
}

impl Placeholder {
    const ALL: [Self; 7] = [
        Self::Task,
        Self::Context,
        Self::SystemPrompt,
        Self::Model,
        Self::Session,
        Self::Agents,
        Self::WorkingDir,
    ];

    /// The word between the braces.
    fn word(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Context => "context",
            Self::SystemPrompt => "system_prompt",
            Self::Model => "model",
            Self::Session => "session",
            Self::Agents => "agents",
            Self::WorkingDir => "cwd",
        }
    }

    /// The field of a spawn's configuration that the value comes from.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Session => "resume_session",
            Self::WorkingDir => "working_dir",
            other => other.word(),
        }
    }
}

impl<'a> Values<'a> {
    pub(super) fn get(&self, placeholder: Placeholder) -> Option<&'a str> {
        match placeholder {
            Placeholder::Task => Some(self.task),
            Placeholder::Context => self.context,
            Placeholder::SystemPrompt => self.system_prompt,
            Placeholder::Model => self.model,
            Placeholder::Session => self.session,
            Placeholder::Agents => self.agents,
            Placeholder::WorkingDir => self.working_dir,
        }
    }
}

impl Arguments {
    /// Adds one element of the list `args`.
    pub(super) fn push(&mut self, text: &str) -> Result<(), Problem> {
        let argument = match text {
            "{tool_args}" => Argument::ToolArgs,
            "{args}" => Argument::ClientArgs,
            _ => Argument::One(Template::parse(text)?),
        };
        self.0.push(argument);
        Ok(())
    }

    /// Adds a list inside the list `args`.
    pub(super) fn push_group(&mut self, texts: Vec<&str>) -> Result<(), Problem> {
        let templates = texts.into_iter().map(Template::parse);
        let group: Vec<_> = templates.collect::<Result<_, _>>()?;
        if group
            .iter()
            .all(|template| template.placeholders().next().is_none())
        {
            return Err(Problem::PointlessGroup);
        }
        self.0.push(Argument::Group(group));
        Ok(())
    }

    /// Whether `placeholder` stands anywhere in the list.
    pub(super) fn mention(&self, placeholder: Placeholder) -> bool {
        self.templates()
            .flat_map(Template::placeholders)
            .any(|mentioned| mentioned == placeholder)
    }

    /// Whether there is a place for the arguments of a tool level.
    pub(super) fn take_tool_args(&self) -> bool {
        let mut arguments = self.0.iter();
        arguments.any(|argument| matches!(argument, Argument::ToolArgs))
    }

    /// The arguments of one spawn.
    pub(super) fn render(
        &self,
        backend: &str,
        values: &Values<'_>,
    ) -> Result<Vec<String>, Refusal> {
        let mut rendered = Rendered::default();
        for argument in &self.0 {
            match argument {
                Argument::One(template) => {
                    if let Some(missing) = template.missing(values) {
                        return Err(Refusal::Needed {
                            backend: backend.to_owned(),
                            field: missing.field(),
                        });
                    }
                    rendered.push(template, values);
                }
                Argument::Group(group) => rendered.push_group(group, values),
                Argument::ToolArgs => rendered.args.extend_from_slice(values.tool_args),
                Argument::ClientArgs => rendered.args.extend_from_slice(values.client_args),
            }
        }
        if !self.place_client_args() {
            rendered.args.extend_from_slice(values.client_args);
        }
        Ok(rendered.args)
    }

    fn place_client_args(&self) -> bool {
        let mut arguments = self.0.iter();
        arguments.any(|argument| matches!(argument, Argument::ClientArgs))
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.0.iter().flat_map(|argument| match argument {
            Argument::One(template) => std::slice::from_ref(template),
            Argument::Group(group) => group.as_slice(),
            Argument::ToolArgs | Argument::ClientArgs => &[],
        })
    }
}

#[derive(Default)]
struct Rendered {
    args: Vec<String>,
    options_ended: bool,
}

impl Rendered {
    fn push_group(&mut self, group: &[Template], values: &Values<'_>) {
        let complete = |template: &Template| template.missing(values).is_none();
        if group.iter().all(complete) {
            for template in group {
                self.push(template, values);
            }
        }
    }

    fn push(&mut self, template: &Template, values: &Values<'_>) {
        let mut text = template.fill(values);
        let from_client = matches!(template.0.first(), Some(Piece::Value(_)));
        if from_client && !self.options_ended && text.starts_with('-') {
            text.insert(0, ' ');
        }
        self.options_ended |= !from_client && text == SEPARATOR;
        self.args.push(text);
    }
}

impl Template {
    fn parse(text: &str) -> Result<Self, Problem> {
        if text.contains('\0') {
            return Err(Problem::Nul);
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            literal.push_str(&rest[..open]);
            rest = &rest[open..];
            if let Some(word) = braced_word(rest, "{{", "}}") {
                literal.push_str(&rest[1..word.len() + 3]);
                rest = &rest[word.len() + 4..];
            } else if let Some(word) = braced_word(rest, "{", "}") {
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Value(placeholder(word)?));
                rest = &rest[word.len() + 2..];
            } else {
                literal.push('{');
                rest = &rest[1..];
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value(placeholder) => Some(*placeholder),
            Piece::Text(_) => None,
        })
    }

    /// The first placeholder that has no value.
    fn missing(&self, values: &Values<'_>) -> Option<Placeholder> {
        self.placeholders()
            .find(|placeholder| values.get(*placeholder).is_none())
    }

    fn fill(&self, values: &Values<'_>) -> String {
        let texts = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Value(placeholder) => values.get(*placeholder).unwrap_or_default(),
        });
        texts.collect()
    }
}

/// The lower-case word at the start of `text` between `open` and `close`.
fn braced_word<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let inside = text.strip_prefix(open)?;
    let end = inside.find(|byte: char| !byte.is_ascii_lowercase() && byte != '_')?;
    let word = &inside[..end];
    (!word.is_empty() && inside[end..].starts_with(close)).then_some(word)
}

fn placeholder(word: &str) -> Result<Placeholder, Problem> {
    if word == TOOL_ARGS || word == CLIENT_ARGS {
        let word = word.to_owned();
        return Err(Problem::MisplacedList { word });
    }
    let mut all = Placeholder::ALL.into_iter();
    all.find(|placeholder| placeholder.word() == word)
        .ok_or_else(|| Problem::UnknownPlaceholder {
            word: word.to_owned(),
            nearest: suggest::nearest(word, Placeholder::ALL.map(Placeholder::word)),
        })
}
