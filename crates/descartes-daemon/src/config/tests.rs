//! What sources come to, without a process.

use std::ffi::OsString;

use descartes_core::OnShutdown;

use super::keys::KEYS;
use super::{Configuration, Flag, Settings, Sources};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/server.toml");
const CONTAINER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/container.toml");
const STATEFUL_SET: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/kubernetes/statefulset.yaml"
);

struct Given {
    dir: tempfile::TempDir,
    sources: Sources,
}

fn file(text: &str) -> Given {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.toml");
    std::fs::write(&path, text).unwrap();
    let sources = Sources {
        file: Some(path),
        ..Sources::default()
    };
    Given { dir, sources }
}

impl Given {
    fn variable(mut self, name: &str, value: &str) -> Self {
        let variable = (OsString::from(name), OsString::from(value));
        self.sources.environment.push(variable);
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.sources.flags.push(Flag {
            name: "--set",
            key: key.to_owned(),
            value: value.to_owned(),
        });
        self
    }

    fn load(self) -> Configuration {
        Configuration::load(&self.sources).unwrap()
    }

    /// The faults, with the file's name without its folder.
    fn faults(self) -> Vec<String> {
        let faults = Configuration::load(&self.sources).unwrap_err();
        let folder = format!("{}/", self.dir.path().display());
        let faults = faults.into_iter();
        faults
            .map(|fault| fault.to_string().replace(&folder, ""))
            .collect()
    }
}

#[test]
fn nothing_given_is_the_library_s_defaults() {
    let configuration = Configuration::load(&Sources::default()).unwrap();
    let server = configuration.settings.server;
    assert_eq!(server.endpoint, "tcp://127.0.0.1:5555");
    assert_eq!(server.on_shutdown, OnShutdown::Stop);
    assert_eq!(configuration.settings.log.level, "info");
}

#[test]
fn every_key_reads_back_what_is_shown() {
    let mut given = file("");
    let mut settings = Settings::default();
    for key in KEYS {
        let shown = (key.slot)(&mut settings).value();
        let text = match (key.name, shown) {
            (_, Some(toml::Value::Boolean(switch))) => (!switch).to_string(),
            (_, Some(toml::Value::Integer(number))) => (number + 5000).to_string(),
            ("runner.max_concurrent_agents", _) => "5".to_owned(),
            ("endpoint" | "pub_endpoint", _) => format!("ipc:///run/{}.sock", key.name),
            ("on_shutdown", _) => "detach".to_owned(),
            ("security.mode", _) => "curve".to_owned(),
            ("log.level", _) => "warn".to_owned(),
            ("log.format", _) => "json".to_owned(),
            ("runner.working_dir", _) => "/".to_owned(),
            (name, _) => name.replace('.', "-"),
        };
        given = given.flag(key.name, &text);
    }
    let expected = given.sources.flags.clone();
    let first = given.load();
    let again = file(&first.show()).load();
    for flag in expected {
        let mut settings = again.settings.clone();
        let key = super::keys::find(&flag.key).unwrap();
        let value = (key.slot)(&mut settings).value().unwrap();
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(text, flag.value, "{}", flag.key);
    }
    let backends =
        |configuration: &Configuration| configuration.settings.server.backends.to_table();
    assert_eq!(backends(&again), backends(&first));
}

#[test]
fn all_faults_of_all_sources_are_reported_at_once_each_with_its_place() {
    let faults = file(
        "max_agent = 5\nserver_id = \"no spaces\"\n\n[runner]\noutput_bytes = \"many\"\nstop_grace_secs = -1\n\
         \n[backends.tool]\ncomand = \"x\"\n",
    )
    .variable("DESCARTES_MAX_AGENTS", "lots")
    .flag("on_shutdown", "detatch")
    .faults();
    assert_eq!(
        faults,
        [
            "server.toml:1: max_agent: unknown key; did you mean `max_agents`?",
            "server.toml:5: runner.output_bytes: must be a whole number, 0 or more",
            "server.toml:6: runner.stop_grace_secs: -1 must be a whole number, 0 or more",
            "DESCARTES_MAX_AGENTS: max_agents: `lots` must be a whole number, 0 or more",
            "--set: on_shutdown: `detatch` is none of stop, detach; did you mean `detach`?",
            "server.toml:8: backends.tool.command: is required",
            "server.toml:9: backends.tool.comand: unknown key; did you mean `command`?",
            "server.toml:2: server_id: must be 1 to 128 letters, digits, `-`, `_`, `:` and `.`, and not \
             begin with `.`",
        ]
    );
}

#[test]
fn every_syntax_error_is_reported_with_its_line_and_without_its_text() {
    let faults =
        file("endpoint = tcp\nmax_agents = 5\n[backends.a.env]\nKEY = \"sk-secret\n").faults();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("server.toml:1: "), "{faults:?}");
    assert!(faults[1].starts_with("server.toml:4: "), "{faults:?}");
    assert!(!faults.concat().contains("secret"), "{faults:?}");
}

#[test]
fn a_number_beyond_the_range_of_toml_is_a_fault_of_its_line() {
    let faults = file("max_agents = 5\nretain_bytes = 99999999999999999999\n").faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("server.toml:2: "), "{faults:?}");
}

#[test]
fn a_key_in_the_wrong_table_is_told_its_place() {
    let faults =
        file("output_bytes = 5000\n[log]\nmax_agents = 3\n[http]\nlisten = \"x\"\n").faults();
    assert_eq!(
        faults,
        [
            "server.toml:4: http: unknown key",
            "server.toml:3: log.max_agents: unknown key; did you mean `max_agents`?",
            "server.toml:1: output_bytes: unknown key; did you mean `runner.output_bytes`?",
        ]
    );
}

#[test]
fn a_table_is_no_value_and_a_value_no_table() {
    let faults =
        file("runner = 5\nbackends = []\n\"log.level\" = \"info\"\n[endpoint]\nx = 1\n").faults();
    assert_eq!(
        faults,
        [
            "server.toml:2: backends: must be a table",
            "server.toml:4: endpoint: must be a string",
            "server.toml:3: log.level: unknown key",
            "server.toml:1: runner: must be a table",
        ]
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let mut given = file("");
    given.sources.file = Some(given.dir.path().join("other.toml"));
    let faults = given.faults();
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].starts_with("failed to read other.toml: "),
        "{faults:?}"
    );
}

#[test]
fn flags_count_more_than_the_environment_and_that_more_than_the_file() {
    let given = file("max_agents = 1\nretain_finished = 1\nserver_id = \"file\"\n")
        .variable("DESCARTES_MAX_AGENTS", "2")
        .variable("DESCARTES_RETAIN_FINISHED", "2")
        .flag("max_agents", "3");
    let server = given.load().settings.server;
    assert_eq!(server.max_agents, 3);
    assert_eq!(server.retain_finished, 2);
    assert_eq!(server.server_id, "file");
}

#[test]
fn the_general_variables_count_less_than_those_with_the_prefix() {
    let given = file("max_agents = 1\n")
        .variable("MAX_AGENTS", "2")
        .variable("SERVER_ENDPOINT", "tcp://127.0.0.1:7000")
        .variable("DESCARTES_ENDPOINT", "tcp://127.0.0.1:8000");
    let server = given.load().settings.server;
    assert_eq!(server.max_agents, 2);
    assert_eq!(server.endpoint, "tcp://127.0.0.1:8000");
}

#[test]
fn a_variable_that_sets_no_key_is_refused_with_a_suggestion() {
    let faults = file("")
        .variable("DESCARTES_LOG_LEVEL", "debug")
        .variable("DESCARTES_AGENT_ID", "an agent started this")
        .variable("DESCARTES_SERVER", "tcp://elsewhere:5555")
        .faults();
    assert_eq!(
        faults,
        ["DESCARTES_LOG_LEVEL: sets no key; did you mean `DESCARTES_LOG__LEVEL`?"]
    );
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_are_not_taken_for_keys() {
    let given = file("")
        .variable("DESCARTES_SERVICE_HOST", "10.0.0.1")
        .variable("DESCARTES_SERVICE_PORT", "5555")
        .variable("DESCARTES_SERVICE_PORT_EVENTS", "5556")
        .variable("DESCARTES_PORT", "tcp://10.0.0.1:5555")
        .variable("DESCARTES_PORT_5555_TCP_ADDR", "10.0.0.1");
    given.load();
    let faults = file("").variable("DESCARTES_PORT", "5555").faults();
    assert_eq!(faults.len(), 1, "without a service the name is a mistake");
}

#[test]
fn backends_are_set_by_flags_and_variables_too() {
    let given = file("[backends.tool]\ncommand = \"one\"\nargs = [\"a\"]\n")
        .variable("DESCARTES_BACKENDS__TOOL__ENV__API_Key", "true")
        .variable("DESCARTES_BACKENDS__TOOL__ARGS", "[\"b\", \"{task}\"]")
        .flag("backends.tool.allow_args", "true")
        .flag("backends.aider.enabled", "false");
    let configuration = given.load();
    let backends = configuration.settings.server.backends.to_table();
    let expected = "command = \"one\"\nargs = [\"b\", \"{task}\"]\nallow_args = true\nenv = { API_Key = \"true\" }";
    let expected: toml::Table = expected.parse().unwrap();
    assert_eq!(backends["tool"], toml::Value::Table(expected));
    assert!(!backends.contains_key("aider"));
    let shown = configuration.show();
    assert!(shown.contains("enabled = false # flag:--set"), "{shown}");
    assert!(shown.contains("allow_args = true # flag:--set"), "{shown}");
}

#[test]
fn a_variable_of_an_agent_is_shown_without_its_value() {
    let given = file("[backends.tool]\ncommand = \"x\"\nenv = { API_KEY = \"sk-secret\" }\n");
    let configuration = given.load();
    let shown = configuration.show();
    assert!(
        shown.contains("# env.API_KEY is set, and not shown # file:"),
        "{shown}"
    );
    assert!(!shown.contains("sk-secret"));
    assert!(
        shown.contains("env.DISABLE_AUTOUPDATER = \"1\" # default"),
        "{shown}"
    );
}

#[test]
fn wrong_texts_for_backends_are_faults_of_who_set_them() {
    let faults = file("")
        .variable("DESCARTES_BACKENDS__CLAUDE__STDIN", "pipes")
        .flag("backends.claude", "x")
        .flag("backends.claude.args", "[\"a\"")
        .flag("backends..command", "x")
        .flag("backends.claude.enabled", "yes")
        .faults();
    assert_eq!(
        faults,
        [
            "--set: backends.claude: must be a table; set one of its keys",
            "--set: backends.claude.args: must be a TOML value, for instance [\"a\", \"b\"]",
            "--set: backends..command: has an empty part",
            "--set: backends.claude.enabled: must be true or false",
            "DESCARTES_BACKENDS__CLAUDE__STDIN: backends.claude.stdin: `pipes` is none of null, pipe, task; \
             did you mean `pipe`?",
        ]
    );
}

#[test]
fn the_example_file_is_valid_and_names_every_key_with_its_default() {
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    let sources = Sources {
        file: Some(EXAMPLE.into()),
        ..Sources::default()
    };
    let settings = Configuration::load(&sources).unwrap().settings;
    assert_eq!(settings.server.on_shutdown, OnShutdown::Detach);
    let mut defaults = Settings::default();
    let mut table = String::new();
    let mut commented = Vec::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            table = format!("{name}.");
        }
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some((name, value)) = line.split_once(" = ")
            && !name.contains(' ')
        {
            commented.push((format!("{table}{name}"), value.to_owned()));
        }
    }
    for key in KEYS {
        let found = commented.iter().find(|(name, _)| name == key.name);
        let (_, value) = found.unwrap_or_else(|| panic!("{} is missing", key.name));
        let default = (key.slot)(&mut defaults).value();
        if !matches!(key.name, "server_id" | "on_shutdown")
            && let Some(default) = default
        {
            assert_eq!(*value, default.to_string(), "{}", key.name);
        }
    }
}

#[test]
fn a_container_stops_its_agents_within_the_time_that_kubernetes_grants() {
    let sources = Sources {
        file: Some(CONTAINER.into()),
        ..Sources::default()
    };
    let server = Configuration::load(&sources).unwrap().settings.server;
    assert_eq!(server.on_shutdown, OnShutdown::Stop);
    let stateful_set = std::fs::read_to_string(STATEFUL_SET).unwrap();
    let granted = stateful_set
        .lines()
        .find_map(|line| line.trim().strip_prefix("terminationGracePeriodSeconds: "));
    let granted: u64 = granted.unwrap().parse().unwrap();
    // What docs/operations.md tells to allow.
    assert!(granted >= server.shutdown_timeout_secs + 5, "{granted}");
}
