//! What an operator can write, and what is a fault.

use super::*;

fn faults(toml: &str) -> Vec<String> {
    let faults = configure(toml).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn all_faults_are_reported_at_once_with_their_keys() {
    let faults = faults(
        r#"
        [backends.mytool]
        comand = "x"
        args = ["{tusk}", ["plain"], "x{args}", 7]
        env = { "A-B" = "1", DESCARTES_AGENT_ID = "me", OK = 3 }
        pass_env = ["A*B"]
        client_env = ["PATH"]
        stdin = "pip"
        first_stdin = "task"
        stop_signal = "SIGTREM"
        pause_signal = "USR1"
        [backends.claude]
        allow_args = "yes"
        tool_levels.admin.args = []
        "#,
    );
    let expected = [
        "backends.claude.tool_levels.admin: unknown key",
        "backends.claude.allow_args: must be true or false",
        "backends.mytool.command: is required",
        "backends.mytool.args: unknown placeholder `{tusk}`; did you mean `task`?",
        "backends.mytool.args: a group needs a placeholder; without one, write its elements outside",
        "backends.mytool.args: `{args}` must be an element of its own, outside of groups",
        "backends.mytool.args: must be a list of strings and of lists of strings",
        "backends.mytool.env.A-B: `A-B` is not the name of a variable",
        "backends.mytool.env.DESCARTES_AGENT_ID: `DESCARTES_AGENT_ID` cannot be set here",
        "backends.mytool.env.OK: must be a string",
        "backends.mytool.pass_env: `A*B` is not the name of a variable",
        "backends.mytool.client_env: `PATH` cannot be set here",
        "backends.mytool.stdin: `pip` is none of null, pipe, task; did you mean `pipe`?",
        "backends.mytool.first_stdin: needs stdin = \"pipe\"",
        "backends.mytool.stop_signal: `SIGTREM` is not a signal",
        "backends.mytool.pause_signal: needs `resume_signal` beside it",
        "backends.mytool.comand: unknown key; did you mean `command`?",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn a_command_is_a_name_or_an_absolute_path() {
    for command in ["bin/tool", "./tool", ""] {
        let toml = format!("[backends.mytool]\ncommand = {command:?}");
        let expected = "backends.mytool.command: must be a program's name or an absolute path";
        assert_eq!(faults(&toml), [expected]);
    }
}

#[test]
fn a_name_that_nearly_is_a_built_in_gets_a_suggestion() {
    assert_eq!(
        faults("[backends.cladue]\nenabled = false"),
        ["backends.cladue.command: is required; did you mean `claude`?"]
    );
}

#[test]
fn tool_arguments_need_a_place() {
    let toml = "[backends.mytool]\ncommand = \"tool\"\ntool_levels.full.args = [\"-y\"]";
    assert_eq!(
        faults(toml),
        [
            "backends.mytool.tool_levels.full.args: has arguments, but `args` has no element \"{tool_args}\""
        ]
    );
}

#[test]
fn a_built_in_is_changed_key_by_key() {
    let backends = configure(
        r#"
        [backends.gemini]
        command = "/opt/gemini"
        env.EXTRA = "1"
        [backends.aider]
        enabled = false
        [backends.mytool]
        command = "tool"
        "#,
    )
    .unwrap();
    let gemini = backends.get("gemini").unwrap();
    assert_eq!(gemini.command, "/opt/gemini");
    assert_eq!(gemini.env["GEMINI_CLI_NO_RELAUNCH"], "true");
    assert_eq!(gemini.env["EXTRA"], "1");
    assert_eq!(gemini.parser(), ParserKind::Gemini);
    assert!(backends.get("mytool").is_ok());
    let error = backends.get("aider").unwrap_err().to_string();
    assert!(
        error.starts_with("unknown backend `aider`; this server has: claude, "),
        "{error}"
    );
    assert!(!backends.to_table().contains_key("aider"));
    assert_eq!(
        backends.to_table()["gemini"]["command"].as_str(),
        Some("/opt/gemini")
    );
}

#[test]
fn what_is_in_force_reads_back_as_the_same() {
    let table = Backends::builtin().to_table();
    let again = Backends::builtin().with_config(&table).unwrap();
    assert_eq!(again.to_table(), table);
}
