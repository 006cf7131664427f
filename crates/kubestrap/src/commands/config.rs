//! The config as the command line names it: a file, and what goes over it.

use std::path::{Path, PathBuf};

use cluster::ClusterConfig;

use crate::exit::{Exit, Failure};

/// What is rendered.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ConfigArgs {
    /// The config file (`kubestrap init-config` prints one). Without it: the asset directory's own kubestrap.yaml, and
    /// every default where there is none
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set one key, over the config file: network.provider=none
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Host or address, and port, under which clients reach the API (the key api.endpoint)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) api_endpoint: Option<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as network.provider=none")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Reads the config file and puts the command line's overrides over it; paths in it count from the
/// file's own directory.
pub(crate) fn load_config(args: &ConfigArgs) -> Result<ClusterConfig, Failure> {
    let (name, text) = match &args.config {
        None => ("the command line".to_owned(), String::new()),
        Some(path) => {
            let text = host::fs::read_to_string(path).map_err(|error| {
                let exit = if error.is_not_found() { Exit::NotFound } else { Exit::Io };
                Failure::new(exit, error).hint("`kubestrap init-config > kubestrap.yaml` makes a config file")
            })?;
            (path.display().to_string(), text)
        }
    };
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
