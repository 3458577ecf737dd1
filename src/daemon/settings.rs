//! Where the daemon keeps what: arguments, environment, configuration file, in that order.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::source::fanotify::Scope;

/// The DMAPI daemon of this node.
///
/// Serves the sessions of the node and the file systems that `dmctl mount` or `dmctl manage` hands to
/// it. SIGTERM stops it when no managed file system is mounted; SIGHUP replaces the running program by
/// the one that is installed now, without an error to anybody.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "dmapid", version)]
pub struct Arguments {
    /// Directory of journals and kept state [env DMAPI_STATE, default /var/lib/dmapi]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Control socket [env DMAPI_SOCKET, default /run/dmapi/NODE/socket]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Name of this node [env DMAPI_NODE, default local]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// What of a managed file system is watched: every access ("filesystem"), or those through its managed mount
    /// ("mount": several nodes on one kernel) [env DMAPI_WATCH, default filesystem]
    #[arg(long, value_name = "WHAT")]
    pub watch: Option<String>,
    /// Configuration file of "key = value" lines (state, socket, node, watch) [default /etc/dmapi/dmapid.conf]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Stay in the foreground and log to stderr; otherwise return when the daemon serves, and log to the state directory
    #[arg(long)]
    pub foreground: bool,
    /// For the daemon itself: descriptors that an earlier image hands down
    #[arg(long, hide = true, value_name = "LIST")]
    pub resume: Option<String>,
}

/// What the arguments, the environment and the file come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Directory of journals and kept state.
    pub state: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// The node's name.
    pub node: String,
    /// What of a file system is watched.
    pub scope: Scope,
}

const CONFIG_DEFAULT: &str = "/etc/dmapi/dmapid.conf";
const NODE_BYTES_MAX: usize = 64;

#[derive(Debug, Default)]
struct File {
    state: Option<PathBuf>,
    socket: Option<PathBuf>,
    node: Option<String>,
    watch: Option<String>,
}

impl Settings {
    /// Reads the environment and the configuration file, too. The error is a sentence for people.
    pub fn resolve(arguments: &Arguments) -> Result<Self, String> {
        Self::resolve_with(arguments, |name| std::env::var_os(name))
    }

    fn resolve_with(
        arguments: &Arguments,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, String> {
        let file = match &arguments.config {
            Some(path) => read_file(path)?,
            None if Path::new(CONFIG_DEFAULT).exists() => read_file(Path::new(CONFIG_DEFAULT))?,
            None => File::default(),
        };
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let node = arguments
            .node
            .clone()
            .or_else(|| environment("DMAPI_NODE").map(|value| value.to_string_lossy().into()))
            .or(file.node)
            .unwrap_or_else(|| "local".into());
        check_node(&node)?;
        let watch = arguments
            .watch
            .clone()
            .or_else(|| environment("DMAPI_WATCH").map(|value| value.to_string_lossy().into()))
            .or(file.watch);
        let state = arguments
            .state
            .clone()
            .or_else(|| environment("DMAPI_STATE").map(PathBuf::from))
            .or(file.state)
            .unwrap_or_else(|| "/var/lib/dmapi".into());
        let socket = arguments
            .socket
            .clone()
            .or_else(|| environment("DMAPI_SOCKET").map(PathBuf::from))
            .or(file.socket)
            .unwrap_or_else(|| Path::new("/run/dmapi").join(&node).join("socket"));
        Ok(Self {
            state: absolute(&state)?,
            socket: absolute(&socket)?,
            node,
            scope: scope(watch.as_deref())?,
        })
    }

    /// The value of `--watch`.
    pub fn watch(&self) -> &'static str {
        match self.scope {
            Scope::Filesystem => "filesystem",
            Scope::Mount => "mount",
        }
    }

    /// The directory of this node's journals.
    pub fn node_dir(&self) -> PathBuf {
        self.state.join("nodes").join(&self.node)
    }

    /// The directory of the socket and the control page.
    pub fn run_dir(&self) -> PathBuf {
        self.socket.parent().unwrap_or(Path::new("/")).into()
    }
}

fn scope(watch: Option<&str>) -> Result<Scope, String> {
    match watch {
        None | Some("filesystem") => Ok(Scope::Filesystem),
        Some("mount") => Ok(Scope::Mount),
        Some(other) => Err(format!("watch {other:?}: use \"filesystem\" or \"mount\"")),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn check_node(node: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if node.is_empty()
        || node.len() > NODE_BYTES_MAX
        || node.starts_with('.')
        || !node.chars().all(good)
    {
        return Err(format!(
            "node name {node:?}: use 1 to {NODE_BYTES_MAX} letters, digits, '-', '_' or '.', not beginning with '.'"
        ));
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<File, String> {
    let text = fs::read_to_string(path).map_err(|error| {
        format!(
            "configuration file {}: {error}; make it readable or name another with --config",
            path.display()
        )
    })?;
    parse(&text).map_err(|problem| format!("configuration file {}: {problem}", path.display()))
}

fn parse(text: &str) -> Result<File, String> {
    let mut file = File::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {number}: {line:?} is not \"key = value\""))?;
        let value = value.trim().trim_matches('"').to_owned();
        match key.trim() {
            "state" => file.state = Some(value.into()),
            "socket" => file.socket = Some(value.into()),
            "node" => file.node = Some(value),
            "watch" => file.watch = Some(value),
            other => {
                return Err(format!(
                    "line {number}: unknown key {other:?}; known are state, socket, node, watch"
                ));
            }
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Settings, String> {
        let arguments =
            Arguments::try_parse_from(["dmapid"].iter().chain(arguments)).expect("arguments");
        Settings::resolve_with(&arguments, |name| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn an_argument_beats_the_environment() {
        let settings =
            resolve(&["--state", "/a"], &[("DMAPI_STATE", "/b")]).expect("good settings");
        assert_eq!(settings.state, Path::new("/a"));
        assert_eq!(settings.socket, Path::new("/run/dmapi/local/socket"));
    }

    #[test]
    fn the_environment_beats_the_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("conf");
        fs::write(&path, "# here\nstate = /file\nnode = n1\n").expect("write");
        let path = path.to_str().expect("utf-8");
        let settings =
            resolve(&["--config", path], &[("DMAPI_STATE", "/b")]).expect("good settings");
        assert_eq!(settings.state, Path::new("/b"));
        assert_eq!(settings.node, "n1");
        assert_eq!(settings.socket, Path::new("/run/dmapi/n1/socket"));
    }

    #[test]
    fn a_bad_file_is_refused_with_its_line() {
        assert!(
            parse("state = /x\nnonsense\n")
                .expect_err("bad")
                .contains("line 2")
        );
        assert!(
            parse("colour = red")
                .expect_err("bad")
                .contains("unknown key")
        );
        let missing = resolve(&["--config", "/nonexistent/dmapid.conf"], &[]).expect_err("missing");
        assert!(missing.contains("/nonexistent/dmapid.conf"));
    }

    #[test]
    fn a_node_name_cannot_leave_its_directory() {
        for bad in ["", "..", "a/b", ".hidden"] {
            assert!(resolve(&["--node", bad], &[]).is_err(), "{bad:?}");
        }
    }
}
