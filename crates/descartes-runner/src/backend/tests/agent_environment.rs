//! The environment of an agent, and what a client may set in it.

use super::*;

fn with_variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn an_agent_gets_a_clean_environment() {
    let backend = mytool(
        "pass_env = [\"MY_*\", \"EXACT\"]\nclient_env = [\"CLIENT_*\"]\nenv = { OWN = \"1\", TERM = \"xterm\" }",
    );
    let host = Host::with(&["tool"])
        .variable("LC_ALL", "C")
        .variable("MY_KEY", "k")
        .variable("EXACT", "e")
        .variable("SECRET", "s")
        .variable("HOME", "/root");
    let environment = with_variables(&[("CLIENT_X", "c")]);
    let asked = LaunchRequest {
        environment: &environment,
        ..request("go")
    };
    let launch = backend.launch(&asked, &host.env()).unwrap();
    let path = host.folder.path().to_str().unwrap();
    let expected = with_variables(&[
        ("CLIENT_X", "c"),
        ("DESCARTES_AGENT_ID", "0190-agent"),
        ("EXACT", "e"),
        ("LC_ALL", "C"),
        ("MY_KEY", "k"),
        ("OWN", "1"),
        ("PATH", path),
        ("TERM", "xterm"),
    ]);
    assert_eq!(launch.env, expected);
}

#[test]
fn a_wildcard_hands_on_everything_but_the_marks_of_other_agents() {
    let host = Host::with(&["tool"])
        .variable("ANY", "1")
        .variable("CLAUDECODE", "1")
        .variable("CLAUDE_CODE_SSE_PORT", "1")
        .variable("DESCARTES_AGENT_ID", "outer");
    let backend = mytool("pass_env = [\"*\"]");
    let env = backend.launch(&request("go"), &host.env()).unwrap().env;
    let names: Vec<_> = env.keys().map(String::as_str).collect();
    assert_eq!(names, ["ANY", "DESCARTES_AGENT_ID", "PATH", "TERM"]);
    assert_eq!(env["DESCARTES_AGENT_ID"], "0190-agent");
}

#[test]
fn a_client_cannot_set_what_changes_what_a_program_runs() {
    let backend = mytool("client_env = [\"*\"]");
    for name in [
        "PATH",
        "LD_PRELOAD",
        "DYLD_X",
        "NODE_OPTIONS",
        "BASH_ENV",
        "ENV",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PERL5OPT",
        "RUBYOPT",
        "GIT_SSH_COMMAND",
        "GIT_CONFIG_COUNT",
        "IFS",
        "PS4",
        "GLIBC_TUNABLES",
        "MALLOC_TRACE",
        "_JAVA_OPTIONS",
        "DESCARTES_AGENT_ID",
        "CLAUDECODE",
        "CLAUDE_CODE_X",
    ] {
        let environment = with_variables(&[(name, "x")]);
        let asked = LaunchRequest {
            environment: &environment,
            ..request("go")
        };
        let expected = Refusal::VariableReserved {
            name: name.to_owned(),
        };
        assert_eq!(refusal(&backend, &asked), expected);
    }
}

#[test]
fn other_refused_variables_are_named_and_their_values_are_not() {
    let backend = mytool("client_env = [\"A*\"]\nenv = { AFIX = \"1\" }");
    for (name, value, expected) in [
        (
            "B",
            "secret",
            "backend `mytool` does not let a client set environment variable `B`",
        ),
        (
            "AFIX",
            "secret",
            "environment variable `AFIX` is fixed by backend `mytool`",
        ),
        (
            "A=B",
            "secret",
            "`A=B` is not the name of an environment variable",
        ),
        (
            "",
            "secret",
            "`` is not the name of an environment variable",
        ),
        (
            "A",
            "secret\0",
            "environment variable `A` must not contain a NUL byte",
        ),
    ] {
        let environment = with_variables(&[(name, value)]);
        let asked = LaunchRequest {
            environment: &environment,
            ..request("go")
        };
        assert_eq!(refusal(&backend, &asked).to_string(), expected);
    }
    let environment = with_variables(&[("AFIX", "1")]);
    let same = LaunchRequest {
        environment: &environment,
        ..request("go")
    };
    assert!(launch(&backend, &same).is_ok());
}

#[test]
fn arguments_and_environment_have_a_limit_together() {
    let backend = mytool(r#"args = ["{task}"]"#);
    let value = "x".repeat(100_000);
    let names: Vec<_> = (0..16).map(|number| format!("V{number}")).collect();
    let pairs: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), value.as_str()))
        .collect();
    let fitting = with_variables(&pairs[..15]);
    let too_many = with_variables(&pairs);
    let asked = LaunchRequest {
        environment: &fitting,
        ..request("go")
    };
    assert!(launch(&backend, &asked).is_ok());
    let asked = LaunchRequest {
        environment: &too_many,
        ..asked
    };
    assert!(matches!(
        refusal(&backend, &asked),
        Refusal::TooLarge { .. }
    ));
    let long = "x".repeat(ARGUMENT_BYTES_MAX);
    let one = with_variables(&[("V", &long)]);
    let asked = LaunchRequest {
        environment: &one,
        ..request("go")
    };
    assert!(matches!(
        refusal(&backend, &asked),
        Refusal::VariableTooLong { .. }
    ));
}

#[test]
fn the_backends_own_path_is_the_one_that_is_searched() {
    let elsewhere = Host::with(&["tool"]);
    let path = elsewhere.folder.path().to_str().unwrap();
    let backend = mytool(&format!("env = {{ PATH = {path:?} }}"));
    let launch = backend
        .launch(&request("go"), &Host::with(&[]).env())
        .unwrap();
    assert_eq!(launch.program, elsewhere.program("tool"));
}
