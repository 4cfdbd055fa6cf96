//! What the parsers say about the output of real CLIs, and about output that no CLI should have.

use std::path::Path;

use super::*;

/// All that a run's observations come to.
#[derive(Debug, Default, PartialEq)]
struct Summary {
    session: Option<String>,
    model: Option<String>,
    thought: bool,
    still_thinking: bool,
    usage: Option<Usage>,
    result: Option<(bool, String)>,
    saw_result: bool,
}

impl Summary {
    /// Session, model, and whether the model was seen to think.
    fn of(session: &str, model: Option<&str>, thought: bool) -> Self {
        Self {
            session: Some(session.to_owned()),
            model: model.map(str::to_owned),
            thought,
            ..Self::default()
        }
    }

    fn used(mut self, tokens: [u64; 3], cost_usd: Option<f64>) -> Self {
        let [input_tokens, output_tokens, cache_read_tokens] = tokens;
        self.usage = Some(Usage {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cost_usd,
        });
        self
    }

    fn ended(mut self, is_error: bool, text: &str) -> Self {
        self.result = Some((is_error, text.to_owned()));
        self.saw_result = true;
        self
    }
}

fn summary(parser: &mut Parser, chunks: &[&[u8]]) -> Summary {
    let mut observations: Vec<_> = chunks.iter().flat_map(|chunk| parser.feed(chunk)).collect();
    observations.extend(parser.finish());
    let mut summary = Summary::default();
    for observation in observations {
        match observation {
            Observation::Session(id) => summary.session = Some(id),
            Observation::Model(name) => summary.model = Some(name),
            Observation::Thinking => {
                summary.thought = true;
                summary.still_thinking = true;
            }
            Observation::Working => summary.still_thinking = false,
            Observation::Usage(usage) => summary.usage = Some(usage),
            Observation::Result { is_error, text } => summary.result = Some((is_error, text)),
        }
    }
    summary.saw_result = parser.saw_result();
    summary
}

fn transcript(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/transcripts");
    std::fs::read(folder.join(format!("{name}.jsonl"))).unwrap()
}

#[track_caller]
fn assert_transcript(kind: ParserKind, name: &str, expected: &Summary) {
    let bytes = transcript(name);
    let whole = summary(&mut Parser::new(kind), &[&bytes]);
    assert_eq!(whole, *expected, "{name}");
    let chunks: Vec<_> = bytes.chunks(7).collect();
    let cut = summary(&mut Parser::new(kind), &chunks);
    assert_eq!(cut, *expected, "{name} in pieces");
}

fn said(kind: ParserKind, output: &str) -> Summary {
    summary(&mut Parser::new(kind), &[output.as_bytes()])
}

const HELLO: &str = "Hello from the mock.";
const CLAUDE: Option<&str> = Some("claude-opus-5-5");

#[test]
fn claude_reports_the_totals_of_its_last_event() {
    let expected = Summary::of("37181920-dbb1-471b-9400-33445299ec60", CLAUDE, true);
    let expected = expected
        .used([100, 20, 40], Some(0.000_808))
        .ended(false, HELLO);
    assert_transcript(ParserKind::Claude, "claude-m-text", &expected);
    for (name, session) in [
        ("claude-m-tool", "bc4a9bca-f663-4a67-9903-39d3823f3fcf"),
        ("claude-denied", "f1db823c-ab60-4339-9204-0c1c333966a8"),
    ] {
        let expected = Summary::of(session, CLAUDE, true);
        let expected = expected
            .used([200, 40, 80], Some(0.001_616))
            .ended(false, HELLO);
        assert_transcript(ParserKind::Claude, name, &expected);
    }
}

#[test]
fn a_claude_success_that_is_an_error_is_an_error() {
    let expected = Summary::of("14f1ca85-f9c3-41f4-9fdc-1e9bed433e6a", CLAUDE, false)
        .used([0; 3], Some(0.0))
        .ended(true, "Failed to authenticate. API Error: 401 mock failure");
    assert_transcript(ParserKind::Claude, "claude-http401", &expected);

    let failed = summary(
        &mut Parser::new(ParserKind::Claude),
        &[&transcript("claude-http500")],
    );
    let (is_error, text) = failed.result.unwrap();
    assert!(is_error);
    assert!(text.starts_with("API Error: 500 mock failure."), "{text}");
}

#[test]
fn an_interrupted_claude_has_failed_or_has_no_result() {
    for name in [
        "claude-sigint-text",
        "claude-sigint-tool",
        "claude-sj-interrupt",
    ] {
        let run = summary(&mut Parser::new(ParserKind::Claude), &[&transcript(name)]);
        let (is_error, text) = run.result.unwrap();
        assert!(is_error, "{name}");
        assert!(text.starts_with("[ede_diagnostic]"), "{name}: {text}");
        assert!(!run.still_thinking, "{name}");
    }
    let expected = Summary {
        still_thinking: true,
        ..Summary::of("7e4f85f4-9ff7-43d7-9bd7-203d4b7127ad", CLAUDE, true)
    };
    assert_transcript(ParserKind::Claude, "claude-sigterm-text", &expected);
}

#[test]
fn codex_gives_its_last_message_as_result() {
    let expected = Summary::of("01a2084a-bc39-7312-bc7b-b2827a6a9451", None, true);
    let expected = expected.used([100, 20, 40], None).ended(false, HELLO);
    assert_transcript(ParserKind::Codex, "codex-m-text", &expected);
    for (name, session) in [
        ("codex-tool", "01a20842-28c3-71d2-bc56-59ee1f4c8a2a"),
        ("codex-denied", "01a20860-8acf-7243-be8e-9a53efb40d53"),
    ] {
        let expected = Summary::of(session, None, true);
        let expected = expected.used([200, 40, 80], None).ended(false, HELLO);
        assert_transcript(ParserKind::Codex, name, &expected);
    }
}

#[test]
fn a_codex_notice_is_no_result_and_a_failed_turn_is() {
    let expected = Summary::of("01a2084b-ef79-7fb1-a425-56804f620b73", None, false).ended(
        true,
        "unexpected status 401 Unauthorized: mock failure, url: http://127.0.0.1:8999/v1/responses",
    );
    assert_transcript(ParserKind::Codex, "codex-http401", &expected);
    let expected = Summary::of("01a2084b-eaa3-7782-8199-9fbe21690a18", None, false).ended(
        true,
        "We’re currently experiencing high demand, which may cause temporary errors.",
    );
    assert_transcript(ParserKind::Codex, "codex-http500", &expected);
    let interrupted = Summary {
        still_thinking: true,
        ..Summary::of("01a2084b-3a53-7af1-8cb8-9c7f1d0bfc0b", None, true)
    };
    assert_transcript(ParserKind::Codex, "codex-sigint-text", &interrupted);
}

#[test]
fn opencode_sums_its_steps_and_ends_with_the_last() {
    let free = Some(0.0);
    let text = Summary::of("ses_df7b343dfffeWdpkcW3AWl80C8", None, false);
    let text = text.used([60, 20, 40], free).ended(false, HELLO);
    assert_transcript(ParserKind::Opencode, "opencode-m-text", &text);
    let tool = Summary::of("ses_df7b33625ffeX31DNt0fEnE7t2", None, false);
    let tool = tool.used([120, 40, 80], free).ended(false, HELLO);
    assert_transcript(ParserKind::Opencode, "opencode-m-tool", &tool);
    let denied = Summary::of("ses_df7b1a3a2ffeTt0K0ryvFcY9sY", None, false);
    let denied = denied.used([60, 20, 40], free);
    assert_transcript(ParserKind::Opencode, "opencode-denied", &denied);
    let failed = Summary::of("ses_df7b1c1bdffe4Ceomm8wrbLDkH", None, false);
    let failed = failed.ended(true, "mock failure");
    assert_transcript(ParserKind::Opencode, "opencode-http401", &failed);
    let interrupted = Summary::of("ses_df7b2bd70ffe4y2JVYq0VdGQQe", None, false);
    assert_transcript(ParserKind::Opencode, "opencode-sigint-text", &interrupted);
}

#[test]
fn gemini_joins_the_deltas_since_its_last_tool() {
    let model = Some("gemini-2.5-flash");
    let text = Summary::of("d230e54e-8d4e-4646-a28d-cd5d912b5bab", model, false);
    let text = text.used([100, 20, 40], None).ended(false, HELLO);
    assert_transcript(ParserKind::Gemini, "gemini-m-text", &text);
    let tool = Summary::of("91b2c3d2-578d-4e07-a2aa-3cfd775b2871", model, false);
    let tool = tool.used([200, 40, 80], None).ended(false, HELLO);
    assert_transcript(ParserKind::Gemini, "gemini-m-tool", &tool);
    let denied = Summary::of("dcde1b5e-549b-4305-8ab9-608078790e4d", model, false);
    let denied = denied.used([100, 20, 40], None).ended(false, HELLO);
    assert_transcript(ParserKind::Gemini, "gemini-denied", &denied);
}

#[test]
fn gemini_fails_by_its_status_and_is_interrupted_without_one() {
    let failed = summary(
        &mut Parser::new(ParserKind::Gemini),
        &[&transcript("gemini-http401")],
    );
    let (is_error, text) = failed.result.unwrap();
    assert!(is_error && text.starts_with("[API Error:"), "{text}");
    let model = Some("gemini-2.5-flash");
    let silent = Summary::of("5e3f10c0-2ab7-4d4a-a908-92c0f903a7f6", model, false);
    assert_transcript(ParserKind::Gemini, "gemini-http500", &silent);
    assert!(ParserKind::Gemini.expects_result());
}

#[test]
fn aider_names_its_model_and_fails_by_an_error_of_the_api() {
    let model = Some("openai/mock-model".to_owned());
    let fine = Summary {
        model: model.clone(),
        ..Summary::default()
    };
    assert_transcript(ParserKind::Aider, "aider-text", &fine);
    let error = "litellm.AuthenticationError: AuthenticationError: OpenAIException - mock failure";
    let failed = Summary {
        model,
        ..Summary::default().ended(true, error)
    };
    assert_transcript(ParserKind::Aider, "aider-http401", &failed);
}

#[test]
fn an_aider_error_that_a_retry_overcame_is_no_failure() {
    let retried = "litellm.RateLimitError: slow down\nRetrying in 0.2 seconds...\nDone.\nTokens: 5 sent, 1 received.\n";
    assert_eq!(
        said(ParserKind::Aider, retried).result,
        Some((false, String::new()))
    );
    assert_eq!(
        said(ParserKind::Aider, "see litellm.APIError\n").result,
        None
    );
}

#[test]
fn a_conversation_adds_up_its_turns_and_a_new_turn_has_no_result_yet() {
    let turn = |input: u64, cost: f64| {
        format!(
            r#"{{"usage":{{"input_tokens":{input},"output_tokens":1,"cache_read_input_tokens":2}},"total_cost_usd":{cost},"result":"ok","is_error":false,"type":"result"}}"#
        )
    };
    let output = format!(
        "{}\n{{\"type\":\"user\"}}\n{}",
        turn(10, 0.25),
        turn(5, 0.5)
    );
    let mut parser = Parser::new(ParserKind::Claude);
    let (first, second) = output.split_at(output.rfind('{').unwrap());
    parser.feed(first.as_bytes());
    assert!(!parser.saw_result());
    let all = summary(
        &mut Parser::new(ParserKind::Claude),
        &[first.as_bytes(), second.as_bytes()],
    );
    let usage = Usage {
        input_tokens: 15,
        output_tokens: 2,
        cache_read_tokens: 4,
        cost_usd: Some(0.5),
    };
    assert_eq!(all.usage, Some(usage));
    assert!(all.saw_result);
}

#[test]
fn thinking_ends_with_the_first_thing_said() {
    let mut parser = Parser::new(ParserKind::Claude);
    let block = |kind: &str| {
        format!(r#"{{"type":"assistant","message":{{"content":[{{"type":"{kind}"}}]}}}}"#) + "\n"
    };
    assert_eq!(parser.feed(block("text").as_bytes()), []);
    assert_eq!(
        parser.feed(block("thinking").as_bytes()),
        [Observation::Thinking]
    );
    assert_eq!(parser.feed(block("thinking").as_bytes()), []);
    assert_eq!(
        parser.feed(block("tool_use").as_bytes()),
        [Observation::Working]
    );
}

#[test]
fn copilot_ends_with_a_result_that_an_error_or_an_exit_code_fails() {
    let output = concat!(
        r#"{"type":"assistant.message","data":{"content":"Done."}}"#,
        "\n",
        r#"{"type":"assistant.usage","data":{"model":"gpt","inputTokens":7,"outputTokens":3,"cacheReadTokens":1}}"#,
        "\n",
    );
    let end = |code: i32| format!(r#"{{"type":"result","sessionId":"s1","exitCode":{code}}}"#);
    let fine = said(ParserKind::Copilot, &format!("{output}{}", end(0)));
    let expected = Summary::of("s1", Some("gpt"), false).used([7, 3, 1], None);
    assert_eq!(fine, expected.ended(false, "Done."));
    let failed = said(ParserKind::Copilot, &format!("{output}{}", end(1)));
    assert_eq!(failed.result, Some((true, "Done.".to_owned())));
    let error = r#"{"type":"session.error","data":{"message":"no quota"}}"#;
    let failed = said(ParserKind::Copilot, &format!("{output}{error}\n{}", end(0)));
    assert_eq!(failed.result, Some((true, "no quota".to_owned())));
}

#[test]
fn json_lines_of_any_program_can_say_the_few_things_that_are_promised() {
    let output = concat!(
        r#"{"session_id":"s","model":"m","type":"thinking"}"#,
        "\nplain text\n",
        r#"{"type":"result","result":"no","is_error":true,"usage":{"input_tokens":1},"total_cost_usd":2}"#,
    );
    let expected = Summary::of("s", Some("m"), true).used([1, 0, 0], Some(2.0));
    assert_eq!(said(ParserKind::Jsonl, output), expected.ended(true, "no"));
}

#[test]
fn what_is_no_event_changes_nothing() {
    let kinds = [
        ParserKind::Claude,
        ParserKind::Codex,
        ParserKind::Opencode,
        ParserKind::Gemini,
        ParserKind::Copilot,
        ParserKind::Aider,
        ParserKind::Jsonl,
        ParserKind::Text,
    ];
    let deep = "{\"a\":".repeat(100_000);
    let odd = [
        &b"\xff\xfe{\"type\":\"result\"\n"[..],
        b"{\"type\":17,\"message\":[]}\n{}\n[]\nnull\n\n  \n{\"type\":\"result\"",
        b"\n{\"type\":\"assistant\",\"message\":{\"content\":\"text\"}}\n",
        deep.as_bytes(),
    ];
    for kind in kinds {
        assert_eq!(
            summary(&mut Parser::new(kind), &odd),
            Summary::default(),
            "{kind:?}"
        );
    }
}

#[test]
fn any_number_of_tokens_can_be_claimed() {
    let line = format!(
        r#"{{"type":"result","usage":{{"input_tokens":{}}}}}"#,
        u64::MAX
    ) + "\n";
    let run = said(ParserKind::Claude, &line.repeat(2));
    assert_eq!(run.usage.map(|usage| usage.input_tokens), Some(u64::MAX));
}
