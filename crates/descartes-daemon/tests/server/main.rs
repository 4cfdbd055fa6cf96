//! The program as an operator meets it: options, messages, exit codes, signals.

mod harness;
mod watching;

use std::net::TcpListener;

use harness::{Place, program, run};
use rustix::process::Signal;

const WRONG_USAGE: i32 = 64;
const WRONG_CONFIG: i32 = 78;

#[test]
fn a_valid_configuration_is_called_so_and_nothing_is_started() {
    let place = Place::new();
    let mut command = place.command(&place.config());
    let (code, stdout, stderr) = run(command.arg("--check-config"));
    assert_eq!((code, stdout.as_str()), (0, "configuration is valid\n"));
    assert_eq!(stderr, "");
    let files = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(files, 1, "there is the configuration and nothing else");
}

#[test]
fn a_wrong_configuration_is_refused_with_all_its_faults() {
    let place = Place::new();
    let config = "endpoint = \"http://here\"\nmax_agent = 5\n[runner]\noutput_bytes = \"many\"\n\
                  [backends.claude]\nstdin = \"pip\"\n";
    for option in ["--check-config", "--print-config", "--log-level=info"] {
        let mut command = place.command(config);
        command.env("DESCARTES_RETAIN_SECS", "week");
        command.arg("--max-agents=-1");
        let (code, stdout, stderr) = run(command.arg(option));
        assert_eq!((code, stdout.as_str()), (WRONG_CONFIG, ""), "{option}");
        let file = place.path().join("server.toml");
        let file = file.display();
        for fault in [
            format!("error: {file}:1: endpoint: "),
            format!("error: {file}:2: max_agent: unknown key; did you mean `max_agents`?"),
            format!("error: {file}:4: runner.output_bytes: must be a whole number"),
            format!("error: {file}:6: backends.claude.stdin: `pip` is none of"),
            "error: DESCARTES_RETAIN_SECS: retain_secs: `week` must be a whole number".to_owned(),
            "error: --max-agents: max_agents: -1 must be a whole number".to_owned(),
        ] {
            assert!(stderr.contains(&fault), "{fault} is not in:\n{stderr}");
        }
        assert_eq!(stderr.lines().count(), 6, "{stderr}");
    }
}

#[test]
fn what_is_printed_says_where_each_value_came_from() {
    let place = Place::new();
    let mut command = place.command("retain_secs = 1\nretain_bytes = 1\nmax_agents = 1\n");
    command.env("DESCARTES_RETAIN_BYTES", "2");
    command.env("DESCARTES_MAX_AGENTS", "2");
    command.env("MAX_AGENTS", "9");
    command.args(["--max-agents", "3", "--set", "runner.stop_grace_secs=4"]);
    let (code, stdout, stderr) = run(command.arg("--print-config"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let file = place.path().join("server.toml");
    for line in [
        format!("retain_secs = 1 # file:{}:1", file.display()),
        "retain_bytes = 2 # env:DESCARTES_RETAIN_BYTES".to_owned(),
        "max_agents = 3 # flag:--max-agents".to_owned(),
        "stop_grace_secs = 4 # flag:--set".to_owned(),
        "retain_finished = 1000 # default".to_owned(),
        "[backends.claude]".to_owned(),
    ] {
        assert!(stdout.lines().any(|printed| printed == line), "{line}");
    }
}

#[test]
fn what_is_printed_is_a_configuration_that_prints_the_same_values() {
    let place = Place::new();
    let mut command = place.command("max_agents = 7\n[backends.tool]\ncommand = \"x\"\n");
    let (_, first, _) = run(command.arg("--print-config"));
    let (code, second, stderr) = run(place.command(&first).arg("--print-config"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let values = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(values(&second), values(&first));
}

#[test]
fn a_wrong_command_line_has_an_exit_code_of_its_own() {
    for arguments in [
        vec!["--no-such-option"],
        vec!["--set", "max_agents"],
        vec!["--check-config", "--print-config"],
        vec!["stray"],
    ] {
        let (code, stdout, stderr) = run(program().args(&arguments));
        assert_eq!((code, stdout.as_str()), (WRONG_USAGE, ""), "{arguments:?}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let (code, stdout, _) = run(program().arg("--help"));
    assert_eq!(code, 0);
    assert!(stdout.contains("Exit codes:") && stdout.contains("  78  "));
    let (code, stdout, _) = run(program().arg("--version"));
    assert_eq!(code, 0);
    assert_eq!(
        stdout,
        format!("descartes-server {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_port_that_is_taken_ends_the_start_with_a_hint() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", taken.local_addr().unwrap());
    let mut command = place.command("[runner]\nuse_cgroups = false\n");
    let (code, stdout, stderr) = run(command.args(["--endpoint", &endpoint]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    let error = format!(
        "error: failed to bind ROUTER socket to {endpoint}: Address already in use (os error 98)"
    );
    assert!(stderr.lines().any(|line| line == error), "{stderr}");
    assert!(
        stderr.lines().any(|line| line.starts_with("hint: ")),
        "{stderr}"
    );
}

#[test]
fn a_second_server_on_the_same_state_is_refused_with_a_hint() {
    let place = Place::new();
    let first = place.serve();
    let other = format!("ipc://{}/other.sock", place.path().display());
    let mut command = place.command(&place.config());
    let (code, _, stderr) = run(command.args(["--endpoint", &other]));
    assert_eq!(code, 1);
    assert!(stderr.contains("\nhint: stop the other server"), "{stderr}");
    first.signal(Signal::TERM);
    assert!(first.end().0.success());
}

#[test]
fn a_state_folder_that_cannot_be_made_is_named_with_the_reason() {
    let place = Place::new();
    let mut command = place.command(&place.config());
    let (code, _, stderr) = run(command.args(["--state-dir", "/proc/descartes"]));
    assert_eq!(code, 1);
    let said = "error: failed to create /proc/descartes: No such file or directory (os error 2)";
    assert!(stderr.lines().any(|line| line == said), "{stderr}");
}

#[test]
fn a_log_for_programs_is_one_object_a_line() {
    let place = Place::new();
    let mut command = place.command(&place.config());
    command.args(["--log-format", "json", "--state-dir", "/proc/descartes"]);
    let (_, _, stderr) = run(&mut command);
    let log = stderr.lines().filter(|line| !line.starts_with("error: "));
    let lines: Vec<&str> = log.collect();
    assert!(!lines.is_empty());
    for line in lines {
        assert!(
            line.starts_with("{\"timestamp\":") && line.ends_with('}'),
            "{line}"
        );
    }
}

#[test]
fn a_signal_ends_a_server_that_has_said_it_is_ready() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let server = place.serve();
        server.signal(signal);
        let told = server.notification();
        assert!(told.starts_with("STOPPING=1\n"), "{told}");
        let (status, stdout) = server.end();
        assert!(status.success(), "{status}");
        assert_eq!(stdout, "", "a daemon has nothing to print");
    }
}

#[test]
fn a_hangup_is_logged_and_changes_nothing() {
    let place = Place::new();
    let mut server = place.serve();
    server.signal(Signal::HUP);
    server.wait_for_log("SIGHUP is ignored");
    server.signal(Signal::TERM);
    assert!(server.end().0.success());
}

#[test]
fn a_log_that_nobody_reads_any_more_ends_nothing() {
    let place = Place::new();
    let mut server = place.serve();
    server.close_log();
    server.signal(Signal::HUP);
    server.signal(Signal::PIPE);
    server.signal(Signal::TERM);
    let (status, _) = server.end();
    assert!(status.success(), "{status}");
}
