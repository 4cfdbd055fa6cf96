//! Configured backends, and what they make of a spawn.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

mod agent_environment;
mod built_in;
mod configured;
mod launched;

/// A host on which some programs are installed.
struct Host {
    folder: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

impl Host {
    fn with(programs: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for program in programs {
            let file = folder.path().join(program);
            fs::write(&file, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = folder.path().to_str().unwrap().to_owned();
        Self {
            folder,
            variables: BTreeMap::from([("PATH".to_owned(), path)]),
        }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn env(&self) -> HostEnv {
        let variables = self.variables.iter();
        variables
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect()
    }

    fn program(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

static NO_VARIABLES: BTreeMap<String, String> = BTreeMap::new();

fn request(task: &str) -> LaunchRequest<'_> {
    LaunchRequest {
        agent_id: "0190-agent",
        task,
        context: None,
        system_prompt: None,
        model: None,
        tool_level: None,
        resume_session: None,
        agents_json: None,
        args: &[],
        environment: &NO_VARIABLES,
        stdin: None,
        working_dir: Path::new("/srv/agents"),
    }
}

fn configure(toml: &str) -> Result<Backends, Vec<ConfigFault>> {
    let file: Table = toml.parse().unwrap();
    let backends = file["backends"].as_table().unwrap();
    Backends::builtin().with_config(backends)
}

/// The backend `mytool` with these keys and the command `tool`.
fn mytool(keys: &str) -> Backend {
    let toml = format!("[backends.mytool]\ncommand = \"tool\"\n{keys}");
    configure(&toml).unwrap().get("mytool").unwrap().clone()
}

fn launch(backend: &Backend, request: &LaunchRequest<'_>) -> Result<Launch, LaunchError> {
    let host = Host::with(&["tool"]);
    backend.launch(request, &host.env())
}

fn refusal(backend: &Backend, request: &LaunchRequest<'_>) -> Refusal {
    match launch(backend, request) {
        Err(LaunchError::InvalidConfig(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}
