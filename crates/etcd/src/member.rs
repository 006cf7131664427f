//! The members of an etcd cluster, and which of them may go. Pure.

use objects::items;
use serde::Serialize;
use serde_json::Value;

/// A member of an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its id, hexadecimal as etcdctl prints it.
    pub id: String,
    /// Its name; empty until it was started for the first time.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Whether it takes no part in votes yet.
    pub learner: bool,
}

/// Why a member may not be removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// There is no such member.
    #[error("etcd has no member {id}")]
    Unknown {
        /// The id that was asked for.
        id: String,
    },
    /// It is the only one that votes: what it holds would be gone.
    #[error("member {name} is the only one that votes: what etcd holds would be gone with it")]
    Last {
        /// Its name.
        name: String,
    },
    /// Too few of the others answer: etcd could decide nothing any more, and not take it back either.
    #[error(
        "without member {name} {needed} of {voters} members must answer, and {healthy} do{}",
        silent(missing)
    )]
    Quorum {
        /// Its name.
        name: String,
        /// How many members vote without it.
        voters: usize,
        /// How many of them must answer.
        needed: usize,
        /// How many of them do.
        healthy: usize,
        /// The names of those that do not.
        missing: Vec<String>,
    },
}

fn silent(missing: &[String]) -> String {
    if missing.is_empty() { String::new() } else { format!(": {} does not", missing.join(", ")) }
}

/// How many of so many voters have to agree (etcd's raft, `quorum/majority.go`).
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Whether this member may be removed: etcd goes on without it, with those who answer now. `healthy` tells that of
/// a member. A learner has no vote and may always go.
///
/// # Errors
/// [`Unsafe`], which says why not.
pub fn may_remove(members: &[Member], id: &str, healthy: impl Fn(&Member) -> bool) -> Result<(), Unsafe> {
    let member = members.iter().find(|member| member.id == id);
    let member = member.ok_or_else(|| Unsafe::Unknown { id: id.to_owned() })?;
    if member.learner {
        return Ok(());
    }
    let name = if member.name.is_empty() { member.id.clone() } else { member.name.clone() };
    let others: Vec<&Member> = members.iter().filter(|other| other.id != id && !other.learner).collect();
    if others.is_empty() {
        return Err(Unsafe::Last { name });
    }
    let (up, down): (Vec<&Member>, Vec<&Member>) = others.iter().partition(|other| healthy(other));
    let (voters, needed) = (others.len(), majority(others.len()));
    if up.len() >= needed {
        return Ok(());
    }
    let missing = down.iter().map(|other| other.name.clone()).collect();
    Err(Unsafe::Quorum { name, voters, needed, healthy: up.len(), missing })
}

/// Reads what etcd's gateway answers to `/v3/cluster/member/list`.
///
/// # Errors
/// A clause that says why it is none.
pub(crate) fn parse(body: &str) -> Result<Vec<Member>, String> {
    let answer: Value =
        serde_json::from_str(body).map_err(|error| format!("the answer is no JSON: {error}"))?;
    let texts = |value: &Value| items(value).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let member = |member: &Value| Member {
        // The gateway writes 64-bit numbers as decimal text.
        id: member["ID"]
            .as_str()
            .and_then(|id| id.parse::<u64>().ok())
            .map_or_else(String::new, |id| format!("{id:x}")),
        name: member["name"].as_str().unwrap_or_default().to_owned(),
        peer_urls: texts(&member["peerURLs"]),
        client_urls: texts(&member["clientURLs"]),
        learner: member["isLearner"].as_bool().unwrap_or_default(),
    };
    Ok(items(&answer["members"]).iter().map(member).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_read_from_the_gateway_s_answer() {
        let body = r#"{"header":{"cluster_id":"1"},"members":[
            {"ID":"9372538179322589801","name":"a","peerURLs":["https://10.0.0.1:2380"],"clientURLs":["https://10.0.0.1:2379"]},
            {"ID":"2","peerURLs":["https://10.0.0.2:2380"],"isLearner":true}]}"#;
        let members = parse(body).unwrap();
        assert_eq!((members[0].id.as_str(), members[0].name.as_str()), ("8211f1d0f64f3269", "a"));
        assert_eq!((members[1].learner, members[1].client_urls.len()), (true, 0));
        assert!(parse("404 page not found").is_err());
    }

    fn member(name: &str, learner: bool) -> Member {
        Member {
            id: name.to_owned(),
            name: name.to_owned(),
            peer_urls: Vec::new(),
            client_urls: Vec::new(),
            learner,
        }
    }

    #[test]
    fn who_is_needed_may_not_go_and_it_is_said_why() {
        let three = [member("a", false), member("b", false), member("c", false)];
        let remove = |members: &[Member], id: &str, down: &[&str]| {
            may_remove(members, id, |member| !down.contains(&member.name.as_str()))
        };
        assert_eq!(remove(&three, "a", &[]), Ok(()));
        assert_eq!(remove(&three, "a", &["a"]), Ok(()), "the one that is broken is the one to go");
        let refused = remove(&three, "a", &["b"]).unwrap_err();
        assert_eq!(refused.to_string(), "without member a 2 of 2 members must answer, and 1 do: b does not");
        assert_eq!(remove(&three[..1], "a", &[]), Err(Unsafe::Last { name: "a".to_owned() }));
        assert_eq!(remove(&three, "x", &[]), Err(Unsafe::Unknown { id: "x".to_owned() }));
        let with_learner = [member("a", false), member("l", true)];
        assert_eq!(remove(&with_learner, "l", &["a"]), Ok(()));
        // A learner is nobody to rely on.
        assert_eq!(remove(&with_learner, "a", &[]), Err(Unsafe::Last { name: "a".to_owned() }));
    }

    proptest! {
        #[test]
        fn whoever_goes_the_rest_can_decide(voters in prop::collection::vec(any::<bool>(), 2..8), at in 0usize..8) {
            let members: Vec<_> = (0..voters.len()).map(|n| member(&n.to_string(), false)).collect();
            let id = (at % voters.len()).to_string();
            let healthy = |member: &Member| voters[member.id.parse::<usize>().unwrap()];
            let rest = || members.iter().filter(|member| member.id != id);
            let up = rest().filter(|member| healthy(member)).count();
            let allowed = may_remove(&members, &id, healthy).is_ok();
            prop_assert_eq!(allowed, 2 * up > rest().count());
        }
    }
}
