//! Templates, standard input and limits, with a backend made for each test.

use super::*;

fn args(backend: &Backend, request: &LaunchRequest<'_>) -> Vec<String> {
    launch(backend, request).unwrap().args
}

#[test]
fn a_group_needs_all_its_values_and_a_plain_placeholder_needs_its_own() {
    let group = mytool(r#"args = [["-m={model}", "{session}"], "{task}"]"#);
    let only_model = LaunchRequest {
        model: Some("m"),
        ..request("go")
    };
    let both = LaunchRequest {
        resume_session: Some("s"),
        ..only_model
    };
    assert_eq!(args(&group, &only_model), ["go"]);
    assert_eq!(args(&group, &both), ["-m=m", "s", "go"]);
    let plain = mytool(r#"args = ["{model}"]"#);
    assert_eq!(
        refusal(&plain, &request("go")).to_string(),
        "backend `mytool` needs a `model`"
    );
}

#[test]
fn braces_that_are_no_placeholders_stay() {
    let backend =
        mytool(r#"args = ['{"a":{"b":1}}', "{{task}}", "{}", "{Task}", "{task", "a{task}b"]"#);
    let expected = [
        r#"{"a":{"b":1}}"#,
        "{task}",
        "{}",
        "{Task}",
        "{task",
        "a-xb",
    ];
    assert_eq!(args(&backend, &request("-x")), expected);
}

#[test]
fn placeholders_in_a_task_are_not_filled_in() {
    let backend = mytool(r#"args = ["{task}", "{cwd}"]"#);
    assert_eq!(
        args(&backend, &request("{cwd} $(id)")),
        ["{cwd} $(id)", "/srv/agents"]
    );
}

#[test]
fn a_clients_text_is_never_an_option() {
    let backend =
        mytool(r#"args = [["{system_prompt}"], ["-m", "{model}"], "{task}", "--", "{task}"]"#);
    let dashed = LaunchRequest {
        system_prompt: Some("-s"),
        ..request("--yes")
    };
    assert_eq!(args(&backend, &dashed), [" -s", " --yes", "--", "--yes"]);
    let model = LaunchRequest {
        model: Some("--yolo"),
        ..request("go")
    };
    assert_eq!(
        refusal(&backend, &model),
        Refusal::OptionLike { field: "model" }
    );
}

#[test]
fn a_context_stands_before_the_task_unless_it_has_its_own_place() {
    let asked = LaunchRequest {
        context: Some("-about"),
        ..request("go")
    };
    assert_eq!(
        args(&mytool(r#"args = ["{task}"]"#), &asked),
        [" -about\n\ngo"]
    );
    let own = mytool(r#"args = [["--context={context}"], "{task}"]"#);
    assert_eq!(args(&own, &asked), ["--context=-about", "go"]);
    let empty = LaunchRequest {
        context: Some(""),
        ..request("go")
    };
    assert_eq!(args(&own, &empty), ["go"]);
}

#[test]
fn what_has_no_place_is_refused_by_name() {
    let backend = mytool(r#"args = ["{task}"]"#);
    let asked = request("go");
    let some = Some("x");
    for (field, asked) in [
        (
            "system_prompt",
            LaunchRequest {
                system_prompt: some,
                ..asked
            },
        ),
        (
            "model",
            LaunchRequest {
                model: some,
                ..asked
            },
        ),
        (
            "resume_session",
            LaunchRequest {
                resume_session: some,
                ..asked
            },
        ),
        (
            "agents",
            LaunchRequest {
                agents_json: some,
                ..asked
            },
        ),
        (
            "tool_level",
            LaunchRequest {
                tool_level: some,
                ..asked
            },
        ),
    ] {
        let expected = format!("backend `mytool` takes no `{field}`");
        assert_eq!(refusal(&backend, &asked).to_string(), expected);
    }
}

#[test]
fn client_arguments_go_where_they_are_allowed() {
    let more = ["-v".to_owned()];
    let asked = LaunchRequest {
        args: &more,
        ..request("go")
    };
    let closed = mytool(r#"args = ["{args}", "{task}"]"#);
    assert!(matches!(
        refusal(&closed, &asked),
        Refusal::ArgsNotAllowed { .. }
    ));
    let placed = mytool("args = [\"{args}\", \"{task}\"]\nallow_args = true");
    assert_eq!(args(&placed, &asked), ["-v", "go"]);
    let appended = mytool("args = [\"{task}\"]\nallow_args = true");
    assert_eq!(args(&appended, &asked), ["go", "-v"]);
}

#[test]
fn an_argument_has_the_kernels_limit_and_standard_input_has_none() {
    let backend = mytool(r#"args = ["{task}"]"#);
    let longest = "x".repeat(ARGUMENT_BYTES_MAX);
    assert!(launch(&backend, &request(&longest)).is_ok());
    let longer = "x".repeat(ARGUMENT_BYTES_MAX + 1);
    assert!(matches!(
        refusal(&backend, &request(&longer)),
        Refusal::ArgumentTooLong { .. }
    ));
    assert_eq!(refusal(&backend, &request("a\0b")), Refusal::Nul);
    let by_stdin = launch(&mytool("stdin = \"task\""), &request(&longer)).unwrap();
    assert_eq!(by_stdin.first_stdin, longer.as_bytes());
}

#[test]
fn standard_input_is_what_backend_and_client_agree_on() {
    let plan = |keys: &str, stdin: Option<ClientStdin>| {
        let launch = launch(
            &mytool(keys),
            &LaunchRequest {
                stdin,
                ..request("go")
            },
        );
        launch.map(|launch| (launch.stdin, launch.first_stdin))
    };
    let (null, pipe) = (Some(ClientStdin::Null), Some(ClientStdin::Pipe));
    let nothing = Vec::new;
    assert_eq!(plan("", None), Ok((StdinPlan::Null, nothing())));
    assert_eq!(plan("", pipe), Ok((StdinPlan::Pipe, nothing())));
    assert_eq!(
        plan("stdin = \"pipe\"", None),
        Ok((StdinPlan::Pipe, nothing()))
    );
    assert_eq!(
        plan("stdin = \"pipe\"", null),
        Ok((StdinPlan::Null, nothing()))
    );
    let first = "stdin = \"pipe\"\nfirst_stdin = \"task\"";
    assert_eq!(plan(first, None), Ok((StdinPlan::Pipe, b"go\n".to_vec())));
    assert_eq!(
        plan("stdin = \"task\"", None),
        Ok((StdinPlan::PipeThenClose, b"go".to_vec()))
    );
    assert_eq!(
        plan("stdin = \"task\"", pipe),
        Ok((StdinPlan::Pipe, b"go".to_vec()))
    );
    for keys in [first, "stdin = \"task\""] {
        let needed = Refusal::StdinNeeded {
            backend: "mytool".to_owned(),
        };
        assert_eq!(plan(keys, null), Err(LaunchError::InvalidConfig(needed)));
    }
}

#[test]
fn a_missing_program_makes_the_backend_unavailable() {
    let host = Host::with(&[]);
    let error = mytool("").launch(&request("go"), &host.env()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, LaunchError::BackendUnavailable { .. }));
    let expected = "backend `mytool` is unavailable: `tool` is in no folder of the PATH";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn signals_are_configured_by_name() {
    let backend =
        mytool("stop_signal = \"INT\"\npause_signal = \"SIGUSR1\"\nresume_signal = \"SIGUSR2\"");
    let launched = launch(&backend, &request("go")).unwrap();
    assert_eq!((launched.stop_signal, launched.pause), (2, Some((10, 12))));
    let plain = launch(&mytool(""), &request("go")).unwrap();
    assert_eq!((plain.stop_signal, plain.pause), (15, None));
}
