//! `token`: what nodes join with. There is none until somebody makes one, and each ends by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{Call, Client, ClientOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Subcommand;
use cluster::{BootstrapToken, Endpoint, Validity};
use jiff::{SignedDuration, Timestamp};
use names::{object, path, user};
use pki::KeyPin;
use serde::Serialize;
use serde_json::{Value, json};

use super::asked::quoted;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// How long the API may take to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Where tokens are: the API server reads no other namespace's (plugin/pkg/auth/authenticator/token/bootstrap).
const NAMESPACE: &str = object::KUBE_SYSTEM;

/// Arguments of `token`.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    /// Whose rights are used
    #[arg(long, global = true, value_name = "FILE", default_value = path::ADMIN_KUBECONFIG)]
    kubeconfig: PathBuf,
    #[command(subcommand)]
    verb: TokenVerb,
}

#[derive(Debug, Subcommand)]
enum TokenVerb {
    /// Make a token and print it
    Create(CreateArgs),
    /// Show which tokens there are, and until when
    List,
    /// Take tokens back
    Delete(DeleteArgs),
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// The token, such as abcdef.0123456789abcdef [default: a new one]
    token: Option<BootstrapToken>,
    /// How long it is good for, in minutes, hours or days
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: Validity,
    /// What it is for, for whoever lists tokens
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Print the command by which a host joins with it
    #[arg(long)]
    print_join_command: bool,
    /// Where the bundle will lie on that host, for the command
    #[arg(long, value_name = "DIR", requires = "print_join_command")]
    bundle: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct DeleteArgs {
    /// Tokens, or their first six letters
    #[arg(required = true)]
    tokens: Vec<String>,
}

/// A token, as `-o json` prints it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    token: String,
    expires: Option<Timestamp>,
    description: String,
    /// The command by which a host joins with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    join_command: Option<String>,
}

pub(crate) fn run(args: TokenArgs, ui: &Ui) -> Result<(), Failure> {
    super::run_async(async {
        let client = api::client_from_kubeconfig(&args.kubeconfig, &ClientOptions::default()).await;
        let client = client.map_err(|error| {
            Failure::new(Exit::Config, error)
                .hint("run it on a control-plane node as root, or pass --kubeconfig")
        })?;
        match args.verb {
            TokenVerb::Create(args) => create(&client, args, ui).await,
            TokenVerb::List => list(&client, ui).await,
            TokenVerb::Delete(args) => delete(&client, &args.tokens, ui).await,
        }
    })
}

async fn create(client: &Client, args: CreateArgs, ui: &Ui) -> Result<(), Failure> {
    // What it takes to join is looked at first: no token is made that nobody could use.
    let way_in = if args.print_join_command { Some(way_in(client).await?) } else { None };
    let token = match args.token {
        Some(token) => token,
        None => pki::generate_bootstrap_token().map_err(|error| Failure::new(Exit::Other, error))?,
    };
    let ttl = SignedDuration::try_from(args.ttl.as_duration()).unwrap_or(SignedDuration::MAX);
    let expires = Timestamp::now().saturating_add(ttl).unwrap_or(Timestamp::MAX);
    let expires = Timestamp::from_second(expires.as_second()).unwrap_or(expires);
    let secret = secret(&token, expires, &args.description);
    Call::post(collection(), &secret).object(client, LIMIT).await.map_err(|error| {
        let known = error.status() == Some(api::CONFLICT);
        let failure = Failure::new(if known { Exit::Conflict } else { Exit::Other }, error);
        if known { failure.hint("it is there already: kubestrap token list") } else { failure }
    })?;
    let bundle = args.bundle.as_deref();
    let join_command = way_in.map(|(endpoint, pins)| join_command(&endpoint, &token, &pins, bundle));
    if join_command.is_some() && bundle.is_none() {
        ui.step("add --bundle DIR with the bundle's directory on the host that joins");
    }
    let description = args.description;
    let shown = Shown { token: token.to_string(), expires: Some(expires), description, join_command };
    ui.output(&shown, || shown.join_command.as_ref().unwrap_or(&shown.token).clone());
    Ok(())
}

/// Where whoever joins finds the API, and by what he knows the cluster's CA.
async fn way_in(client: &Client) -> Result<(Endpoint, Vec<KeyPin>), Failure> {
    let hint = "nodes join by the ConfigMap kube-public/cluster-info: see that it is as `kubestrap render` writes it";
    let map = Call::get(join::cluster_info_path()).object(client, LIMIT).await.map_err(|error| {
        let exit = if error.is_not_found() { Exit::NotFound } else { Exit::Other };
        Failure::new(exit, error).hint(hint)
    })?;
    join::address_and_pins(&map).map_err(|why| {
        let error = anyhow::anyhow!("nobody can join by the ConfigMap kube-public/cluster-info: {why}");
        Failure::new(Exit::Config, error).hint("set api.endpoint in the cluster's config")
    })
}

/// What is typed on the host that joins.
fn join_command(
    endpoint: &Endpoint,
    token: &BootstrapToken,
    pins: &[KeyPin],
    bundle: Option<&Path>,
) -> String {
    let mut words = vec![format!("kubestrap join {endpoint} --token {token}")];
    words.extend(pins.iter().map(|pin| format!("--discovery-token-ca-cert-hash {pin}")));
    words.extend(bundle.map(|dir| format!("--bundle {}", quoted(&dir.display().to_string()))));
    words.join(" ")
}

async fn list(client: &Client, ui: &Ui) -> Result<(), Failure> {
    let path = format!("{}?fieldSelector=type={}", collection(), object::BOOTSTRAP_TOKEN_TYPE);
    let found =
        Call::get(path).object(client, LIMIT).await.map_err(|error| Failure::new(Exit::Other, error))?;
    let tokens: Vec<Shown> = objects::items(&found["items"]).iter().filter_map(shown).collect();
    ui.output(&tokens, || {
        if tokens.is_empty() {
            return "there are none".to_owned();
        }
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["TOKEN", "EXPIRES", "DESCRIPTION"]);
        for token in &tokens {
            let expires = token.expires.map_or_else(|| "never".to_owned(), |at| at.to_string());
            table.add_row([token.token.clone(), expires, token.description.clone()]);
        }
        table.trim_fmt()
    });
    Ok(())
}

async fn delete(client: &Client, tokens: &[String], ui: &Ui) -> Result<(), Failure> {
    for token in tokens {
        let id = token.split('.').next().unwrap_or_default();
        let path = format!("{}/{}{id}", collection(), object::BOOTSTRAP_TOKEN_PREFIX);
        Call::delete(path).object(client, LIMIT).await.map_err(|error| {
            let exit = if error.is_not_found() { Exit::NotFound } else { Exit::Other };
            Failure::new(exit, error).hint("see which there are: kubestrap token list")
        })?;
    }
    ui.output(&json!({"deleted": tokens}), || format!("taken back: {}", tokens.join(", ")));
    Ok(())
}

fn collection() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/secrets")
}

/// As kubeadm makes it (cmd/kubeadm/app/apis/bootstraptoken/v1/utils.go). The controller-manager removes it when it has
/// expired, and signs cluster-info with it until then.
fn secret(token: &BootstrapToken, expires: Timestamp, description: &str) -> Value {
    let mut data = json!({
        "auth-extra-groups": user::JOINING_NODES,
        "expiration": expires.to_string(),
        "token-id": token.id(),
        "token-secret": token.secret(),
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
    });
    if !description.is_empty() {
        data["description"] = json!(description);
    }
    let name = format!("{}{}", object::BOOTSTRAP_TOKEN_PREFIX, token.id());
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE},
        "type": object::BOOTSTRAP_TOKEN_TYPE, "stringData": data})
}

/// A token of a Secret; none when it is not one.
fn shown(secret: &Value) -> Option<Shown> {
    let field = |name: &str| {
        let bytes = BASE64.decode(secret["data"][name].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    Some(Shown {
        token: format!("{}.{}", field("token-id")?, field("token-secret")?),
        expires: field("expiration").and_then(|text| text.parse().ok()),
        description: field("description").unwrap_or_default(),
        join_command: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_as_it_was_made() {
        let token: BootstrapToken = "abcdef.0123456789abcdef".parse().unwrap();
        let expires = "2026-11-30T12:00:00Z".parse().unwrap();
        let mut secret = secret(&token, expires, "for the new rack");
        // What the API server does.
        let fields = secret["stringData"].as_object().unwrap().clone();
        secret["data"] = fields
            .iter()
            .map(|(name, text)| (name.clone(), json!(BASE64.encode(text.as_str().unwrap()))))
            .collect();
        let expected = Shown {
            token: "abcdef.0123456789abcdef".to_owned(),
            expires: Some(expires),
            description: "for the new rack".to_owned(),
            join_command: None,
        };
        assert_eq!(shown(&secret), Some(expected));
        assert_eq!(shown(&json!({"data": {"x": "y"}})), None);
        assert_eq!(secret["metadata"]["name"], "bootstrap-token-abcdef");
    }

    const PIN: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_command_is_one_that_join_takes() {
        let token = "abcdef.0123456789abcdef".parse().unwrap();
        let (endpoint, pins) = ("192.0.2.1:6443".parse().unwrap(), [PIN.parse().unwrap()]);
        let command = join_command(&endpoint, &token, &pins, None);
        let expected = format!(
            "kubestrap join 192.0.2.1:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash {PIN}"
        );
        assert_eq!(command, expected);
        let with = join_command(&endpoint, &token, &pins, Some(Path::new("/opt/my bundle")));
        assert_eq!(with, format!("{expected} --bundle '/opt/my bundle'"));
        crate::cli::command().try_get_matches_from(command.split(' ')).unwrap();
    }

    #[tokio::test]
    async fn the_way_in_is_what_the_cluster_shows_to_who_joins() {
        use fakes::cluster_info::{cluster_info, kubeconfig};

        let config = cluster::ClusterConfig::default();
        let terms = pki::Terms::of_leaves(&config, Timestamp::now());
        let ca = pki::Authority::generate("kubernetes", terms).unwrap();
        let cluster = fakes::cluster::Cluster::default();
        let failure = way_in(&cluster.client()).await.unwrap_err();
        assert_eq!(failure.exit, Exit::NotFound);
        let shows = |server: &str| {
            cluster.put(&join::cluster_info_path(), cluster_info(&kubeconfig(server, ca.cert_pem()), &[]));
        };
        shows("https://[fd00::1]:6443");
        let (endpoint, pins) = way_in(&cluster.client()).await.unwrap();
        assert_eq!(
            (endpoint.to_string().as_str(), pins),
            ("[fd00::1]:6443", pki::pins(ca.cert_pem()).unwrap())
        );
        shows("https://127.0.0.1:6443");
        let failure = way_in(&cluster.client()).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
        assert!(failure.error.to_string().contains("127.0.0.1:6443 is every host's own address"));
    }
}
