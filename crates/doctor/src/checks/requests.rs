//! What a node asks for, where the keys of the cluster's authorities are kept elsewhere: somebody has to sign it in time.

use ::checks::{Check, kind};
use assets::{ANSWER, AssetTree, REFUSED};
use jiff::Timestamp;
use names::path;

use crate::certificates::Limits;
use crate::files::Files;

/// The checks; none where the guardian issues what the node needs.
pub(crate) fn checks(files: &Files, limits: Limits, now: Timestamp) -> Vec<Check> {
    let tree = match assets::read_node(|path| files.path(path)) {
        Ok(tree) => tree,
        Err(error) => {
            let why = host::error::chain(&error);
            return vec![Check::unknown(&kind::CERTIFICATE_REQUESTS, why, "run this as root")];
        }
    };
    // Without a config it is a foreign asset directory's node, which brings its own.
    if !assets::config_of(&tree).is_ok_and(|config| config.authority_keys_are_offline()) {
        return Vec::new();
    }
    vec![asked(files, &tree, limits, now), authority_keys(files)]
}

fn asked(files: &Files, tree: &AssetTree, limits: Limits, now: Timestamp) -> Check {
    let (mut fatal, mut minor) = (Vec::new(), Vec::new());
    for name in assets::requests_of(tree) {
        let end = end_of(files, tree, &name);
        let text = match end {
            Some(end) if end <= now => format!("{name} is asked for, and has ended at {end}"),
            Some(end) => format!("{name} is asked for, and has to be signed before {end}"),
            None => format!("{name} is asked for, and there is none"),
        };
        let late = end.is_none_or(|end| end.duration_since(now) < limits.fail);
        if late { &mut fatal } else { &mut minor }.push(text);
        let refused = format!("{}/{name}{REFUSED}", path::CERTIFICATE_REQUESTS);
        if let Ok(why) = files.text(&refused) {
            minor.push(format!("the answer {name}{ANSWER} is none: {}", why.trim()));
        }
    }
    let remedy = format!(
        "take {} to where the authorities' keys are, run there: kubestrap certs sign --asset-dir DIR requests; and bring \
         the directory back: the guardian takes what is signed within a minute",
        path::CERTIFICATE_REQUESTS
    );
    Check::of_problems(&kind::CERTIFICATE_REQUESTS, &fatal, &minor, "nothing is asked for", &remedy)
}

fn end_of(files: &Files, tree: &AssetTree, name: &str) -> Option<Timestamp> {
    let kubelet = |link: &str| Some(pki::inspect(&files.text(link).ok()?).ok()?.not_after);
    match name {
        assets::KUBELET_CLIENT => kubelet(path::KUBELET_CLIENT_CERTIFICATE),
        assets::KUBELET_SERVING => kubelet(path::KUBELET_SERVING_CERTIFICATE),
        _ => assets::end_of(tree, name),
    }
}

/// Whoever wants them elsewhere does not want them here.
fn authority_keys(files: &Files) -> Check {
    let here = assets::authority_key_files().filter(|path| files.exists(path).unwrap_or(false));
    let here: Vec<String> = here.map(|path| path.display().to_string()).collect();
    let minor: Vec<String> = here
        .iter()
        .map(|path| format!("{path} is on this node, and certificates.authorityKeys is offline"))
        .collect();
    let remedy = format!("see that they are kept elsewhere, and remove them here: rm {}", here.join(" "));
    Check::of_problems(&kind::AUTHORITY_KEYS, &[], &minor, "none is on this node", &remedy)
}
