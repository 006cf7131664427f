//! The config as the command line names it: a file, and what goes over it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use cluster::ClusterConfig;

use crate::exit::{Exit, Failure};

/// What is rendered.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ConfigArgs {
    /// The config file (`kubestrap init-config` prints one), `-` for stdin. Without it: the asset directory's own kubestrap.yaml, and
    /// every default where there is none
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set one key, over the config file: network.provider=none
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Host or address, and port, under which clients reach the API (the key api.endpoint)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) api_endpoint: Option<String>,
    /// What the file had, which may be a pipe: it is read once, and several parts of a verb ask for it.
    #[arg(skip)]
    pub(crate) given: Arc<OnceLock<(PathBuf, Vec<u8>)>>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as network.provider=none")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// The name by which the config is read from stdin, as other programs have it.
const STDIN: &str = "-";

/// A larger config is none, in bytes. (It may come out of a pipe: its size is not known before.)
const LARGEST_CONFIG: u64 = 16 << 20;

/// The config's name in messages, and its text.
pub(crate) fn config_text(args: &ConfigArgs) -> Result<(String, String), Failure> {
    let Some(path) = &args.config else { return Ok(("the command line".to_owned(), String::new())) };
    let is_stdin = path.as_os_str() == STDIN;
    let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let unreadable = |error: io::Error| {
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Io };
        Failure::new(exit, anyhow::Error::new(error).context(format!("cannot read {name}")))
            .hint("`kubestrap init-config > kubestrap.yaml` makes a config file")
    };
    let content = content(args, path).map_err(unreadable)?;
    if content.len() as u64 > LARGEST_CONFIG {
        let error = anyhow!("{name}: it has more than {} MiB, which no config has", LARGEST_CONFIG >> 20);
        return Err(Failure::new(Exit::Config, error));
    }
    let text = String::from_utf8(content).map_err(|error| not_utf8(&name, &error))?;
    Ok((name, text))
}

/// What the config file has, or as much of it as tells that it is none.
fn content(args: &ConfigArgs, path: &Path) -> io::Result<Vec<u8>> {
    if let Some((_, content)) = args.given.get().filter(|(of, _)| of == path) {
        return Ok(content.clone());
    }
    let mut content = Vec::new();
    let limit = LARGEST_CONFIG + 1;
    if path.as_os_str() == STDIN {
        io::stdin().lock().take(limit).read_to_end(&mut content)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut content)?;
    }
    args.given.get_or_init(|| (path.to_owned(), content.clone()));
    Ok(content)
}

fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Failure {
    let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let lines: Vec<&[u8]> = good.split(|byte| *byte == b'\n').collect();
    let (line, column) = (lines.len(), 1 + lines.last().map_or(0, |last| last.len()));
    let error = anyhow!("{name}:{line}:{column}: this is no UTF-8 text");
    Failure::new(Exit::Config, error).hint("save it as UTF-8, such as with: iconv -t UTF-8")
}

/// Reads the config file and puts the command line's overrides over it; paths in it count from the
/// file's own directory, those of stdin from the one that we run in.
pub(crate) fn load_config(args: &ConfigArgs) -> Result<ClusterConfig, Failure> {
    let (name, text) = config_text(args)?;
    let mut overrides = args.set.clone();
    if let Some(endpoint) = &args.api_endpoint {
        // Quoted, because `[fd00::1]:6443` would be a list in YAML.
        overrides.push(("api.endpoint".to_owned(), serde_json::Value::from(endpoint.as_str()).to_string()));
    }
    let mut config = ClusterConfig::parse_with_overrides(&name, &text, &overrides).map_err(|errors| {
        Failure::new(Exit::Config, errors)
            .hint("`kubestrap init-config` prints a config file with every key and its meaning")
    })?;
    if let Some(dir) = args.config.as_deref().and_then(Path::parent) {
        config.resolve_paths(dir);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_read_once_for_all_who_ask() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let args = ConfigArgs { config: Some(path.clone()), ..ConfigArgs::default() };
        let text = "kubernetesVersion: v1.36.3\n";
        let writer = std::thread::spawn(move || {
            std::io::Write::write_all(&mut File::create(path).unwrap(), text.as_bytes())
        });
        assert_eq!(config_text(&args).unwrap().1, text);
        writer.join().unwrap().unwrap();
        // Nobody writes any more: another look would wait for ever.
        assert!(super::super::asked::names_version(&args));
        assert_eq!(load_config(&args.clone()).unwrap().kubernetes_version.to_string(), "v1.36.3");
    }

    #[test]
    fn a_config_that_is_no_text_is_told_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.yaml");
        host::fs::write(&path, b"# a\nclusterName: \xff\n", 0o644).unwrap();
        let args = ConfigArgs { config: Some(path), ..ConfigArgs::default() };
        let failure = load_config(&args).unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
        assert!(
            failure.error.to_string().ends_with("c.yaml:2:14: this is no UTF-8 text"),
            "{}",
            failure.error
        );
    }
}
