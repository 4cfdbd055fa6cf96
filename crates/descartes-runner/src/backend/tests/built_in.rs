//! The command lines of the built-in backends.

use super::*;

fn command_line(name: &str, request: &LaunchRequest<'_>) -> Launch {
    let host = Host::with(&[
        "claude", "codex", "opencode", "gemini", "qwen", "copilot", "aider",
    ]);
    let backends = Backends::builtin();
    let launch = backends
        .get(name)
        .unwrap()
        .launch(request, &host.env())
        .unwrap();
    let program = if name == "claude-live" {
        "claude"
    } else {
        name
    };
    assert_eq!(launch.program, host.program(program));
    launch
}

#[track_caller]
fn assert_args(name: &str, request: &LaunchRequest<'_>, expected: &[&str]) {
    assert_eq!(command_line(name, request).args, expected, "{name}");
}

const CLAUDE: [&str; 4] = ["-p", "--output-format", "stream-json", "--verbose"];

#[test]
fn a_bare_task_gives_the_plain_command_line() {
    let task = request("--help me");
    assert_args(
        "claude",
        &task,
        &[&CLAUDE[..], &["--", "--help me"]].concat(),
    );
    let codex = [
        "exec",
        "--json",
        "--skip-git-repo-check",
        "-c",
        "analytics.enabled=false",
        "-C",
        "/srv/agents",
        "-",
    ];
    assert_args("codex", &task, &codex);
    let opencode = [
        "run",
        "--format",
        "json",
        "--dir",
        "/srv/agents",
        "--",
        "--help me",
    ];
    assert_args("opencode", &task, &opencode);
    assert_args(
        "gemini",
        &task,
        &["--skip-trust", "-o", "stream-json", "-p", " --help me"],
    );
    assert_args("qwen", &task, &["-o", "stream-json", " --help me"]);
    let copilot = [
        "--output-format",
        "json",
        "--no-color",
        "--no-ask-user",
        "-p",
        " --help me",
    ];
    assert_args("copilot", &task, &copilot);
    let aider = command_line("aider", &request("/run sh")).args;
    assert_eq!(aider[5..], ["--message", " /run sh"]);
}

#[test]
fn what_the_client_asks_for_has_its_place() {
    let asked = LaunchRequest {
        model: Some("m"),
        system_prompt: Some("- be brief"),
        resume_session: Some("s"),
        tool_level: Some("read_only"),
        agents_json: Some("{}"),
        ..request("go")
    };
    let expected = [
        "--model",
        "m",
        "--append-system-prompt",
        " - be brief",
        "--resume",
        "s",
        "--agents",
        "{}",
        "--tools",
        "Read,Glob,Grep",
        "--strict-mcp-config",
        "--",
        "go",
    ];
    assert_args("claude", &asked, &[&CLAUDE[..], &expected].concat());
    let asked = LaunchRequest {
        system_prompt: None,
        agents_json: None,
        ..asked
    };
    let codex = command_line("codex", &asked).args;
    assert_eq!(codex[5..9], ["-m", "m", "-C", "/srv/agents"]);
    assert_eq!(codex[codex.len() - 3..], ["resume", "s", "-"]);
}

#[test]
fn claude_live_gets_its_task_as_the_first_line_and_keeps_reading() {
    let launch = command_line("claude-live", &request("say \"hi\"\n"));
    assert_eq!(launch.stdin, StdinPlan::Pipe);
    let line = String::from_utf8(launch.first_stdin).unwrap();
    assert_eq!(line.matches('\n').count(), 1);
    let message: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(message["type"], "user");
    assert_eq!(message["message"]["role"], "user");
    assert_eq!(message["message"]["content"], "say \"hi\"\n");
    assert!(!launch.args.iter().any(|arg| arg.contains("hi")));
}

#[test]
fn codex_reads_a_task_of_any_length_from_standard_input() {
    let task = "x".repeat(1024 * 1024);
    let launch = command_line("codex", &request(&task));
    assert_eq!(launch.stdin, StdinPlan::PipeThenClose);
    assert_eq!(launch.first_stdin, task.as_bytes());
    assert_eq!(launch.stop_signal, 2);
}

#[test]
fn read_only_leaves_no_shell_where_it_is_offered() {
    let asked = LaunchRequest {
        tool_level: Some("read_only"),
        ..request("go")
    };
    let has = |name: &str, wanted: &str| {
        let launch = command_line(name, &asked);
        assert!(
            launch.args.iter().any(|arg| arg == wanted),
            "{name}: {:?}",
            launch.args
        );
    };
    has("claude-live", "Read,Glob,Grep");
    has("codex", "shell_tool");
    has(
        "qwen",
        "--exclude-tools=run_shell_command,monitor,edit,write_file",
    );
    has("copilot", "--deny-tool=shell");
    has("aider", "--no-suggest-shell-commands");
    let opencode = command_line("opencode", &asked);
    assert_eq!(
        opencode.env["OPENCODE_PERMISSION"],
        r#"{"bash":"deny","edit":"deny"}"#
    );
    let host = Host::with(&["gemini"]);
    let backends = Backends::builtin();
    let refused = backends
        .get("gemini")
        .unwrap()
        .launch(&asked, &host.env())
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "backend `gemini` has no tool level `read_only`; it has: edit, full"
    );
}

#[test]
fn each_built_in_hands_on_its_home_and_key_and_nothing_of_a_surrounding_claude() {
    let host = Host::with(&["claude"])
        .variable("HOME", "/home/me")
        .variable("ANTHROPIC_API_KEY", "k")
        .variable("OPENAI_API_KEY", "other")
        .variable("CLAUDECODE", "1")
        .variable("CLAUDE_CODE_ENTRYPOINT", "cli")
        .variable("CLAUDE_CODE_OAUTH_TOKEN", "t")
        .variable("DESCARTES_STATE_DIR", "/var/lib/descartes");
    let backends = Backends::builtin();
    let launch = backends
        .get("claude")
        .unwrap()
        .launch(&request("go"), &host.env())
        .unwrap();
    let names: Vec<_> = launch.env.keys().map(String::as_str).collect();
    let expected = [
        "ANTHROPIC_API_KEY",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "DESCARTES_AGENT_ID",
        "DISABLE_AUTOUPDATER",
        "HOME",
        "PATH",
        "TERM",
    ];
    assert_eq!(names, expected);
    assert!(backends.names().all(|name| {
        backends.ready[name]
            .pass_env
            .contains(&NamePattern::Exact("HOME".to_owned()))
    }));
}
