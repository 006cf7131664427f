//! The whole catalogue, gone through.

use crate::cause::Cause;
use crate::place::Place;
use crate::seen::Seen;
use crate::{gone, nodes, pods, services, webhooks};

/// Every cause that is there, the widest first: what is refused to all, then what is missing, then single pods.
pub(crate) fn find(seen: &Seen, place: &Place) -> Vec<Cause> {
    let node = place.node.as_deref();
    let mut found = nodes::find(seen, node);
    found.extend(webhooks::find(seen));
    found.extend(gone::find(seen));
    found.extend(pods::not_made(seen));
    let more = pods::would_be_refused(seen, &found);
    found.extend(more);
    found.extend(pods::changed(seen));
    found.extend(node.and_then(|node| pods::without_image(seen, node, place)));
    found.extend(services::find(seen));
    found
}
