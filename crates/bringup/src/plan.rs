//! What a bring-up would do next, worked out from what is there: a value that `--dry-run` prints
//! and `start` executes. Pure: looking is in `observe`.

use std::fmt;
use std::path::PathBuf;

use objects::ObjectRef;
use serde::Serialize;

use crate::event::Step;
use crate::node_object::NodeObject;
use crate::stage::FileState;
use crate::workloads::Standing;

/// What is there now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// The files to be staged and how they stand. Those of the temporary control plane only.
    pub temporary_files: Vec<(PathBuf, FileState)>,
    /// The files that stay: etcd's static pod and its certificates.
    pub lasting_files: Vec<(PathBuf, FileState)>,
    /// Pods of the temporary control plane whose sandboxes exist.
    pub temporary_pods: Vec<String>,
    /// Whether an API answers on this node that it is ready.
    pub api_ready: bool,
    /// How the required pods stand on this node; empty while no API answers.
    pub standings: Vec<Standing>,
    /// How many objects the asset directory has that are applied before the control plane is ready.
    pub objects: usize,
    /// How many are applied when it is.
    pub addons: usize,
    /// Whether one of them installs the guardian: without it nobody makes checkpoints.
    pub guardian: bool,
    /// Whether the guardian and checkpoints are on this node's disk: it came up without `start` before.
    pub restorable: bool,
    /// Required pods for which a copy from a checkpoint runs on this node.
    pub copies: Vec<String>,
    /// Whether the temporary control plane's secrets are on this host.
    pub secrets: bool,
    /// Roles, bindings and admission policies of the asset directory that a self-hosted cluster has no more.
    pub rights_gone: Vec<ObjectRef>,
    /// This node's name.
    pub node_name: String,
    /// What the API has of it.
    pub node: NodeObject,
}

impl Observed {
    pub(crate) fn self_hosted(&self) -> bool {
        // After a power cut copies serve until the pods of the API are there.
        let stands = |standing: &Standing| standing.ready() || self.copies.contains(&standing.required);
        self.api_ready && !self.standings.is_empty() && self.standings.iter().all(stands)
    }

    pub(crate) fn staged(&self) -> bool {
        self.temporary_files.iter().any(|(_, state)| *state != FileState::Missing)
    }
}

/// One step that is to be done, and what it will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// The step.
    pub step: Step,
    /// What it will do, a line each.
    pub actions: Vec<String>,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The steps; empty when the control plane of this node is self-hosted and stands alone.
    pub steps: Vec<Planned>,
}

impl Plan {
    /// True when a step is to be done.
    pub fn has(&self, step: Step) -> bool {
        self.steps.iter().any(|s| s.step == step)
    }
}

/// Plans the bring-up.
///
/// - A control plane that is self-hosted here and stands alone: nothing. Nothing is applied either:
///   what was changed with kubectl since is meant.
/// - One whose API answers and has lost rights: they are put back first of all. Without them the control plane's own pods
///   end, and what is to be done besides is seen afterwards.
/// - One that is self-hosted here, of whose node the API has no object, or one without its labels: the node is registered
///   anew. Copies serve meanwhile.
/// - One that is self-hosted here while something temporary is left: only that is seen off.
/// - One that the guardian is about to bring back: it gets the time for it. Only if it does not, all
///   other steps follow.
/// - Anything else, be it a fresh host, a bring-up that was killed, or a node that lost its power:
///   all steps, each of which adopts what is there.
pub fn plan(observed: &Observed) -> Plan {
    let mut steps = Vec::new();
    if !observed.rights_gone.is_empty() {
        steps.push(Planned { step: Step::Rights, actions: rights(observed) });
    }
    if observed.self_hosted() && !observed.staged() {
        if observed.node != NodeObject::Whole {
            steps.push(Planned { step: Step::Register, actions: actions(Step::Register, observed) });
        }
        if observed.secrets || !observed.temporary_pods.is_empty() {
            steps.push(Planned { step: Step::Verify, actions: verify(observed) });
        }
        return Plan { steps };
    }
    let needed = |step: &Step| match step {
        Step::Restore => observed.restorable && !observed.staged(),
        Step::Checkpoint => observed.guardian,
        _ => true,
    };
    let all = Step::ALL.into_iter().filter(needed);
    steps.extend(all.map(|step| Planned { step, actions: actions(step, observed) }));
    Plan { steps }
}

fn actions(step: Step, observed: &Observed) -> Vec<String> {
    match step {
        Step::Restore => vec![
            "wait until the guardian has started what it has checkpoints of".to_owned(),
            "end here when it has; what follows is done when it has not after a minute".to_owned(),
        ],
        Step::Stage => {
            let all = observed.lasting_files.iter().chain(&observed.temporary_files);
            all.map(|(path, state)| match state {
                FileState::Missing => format!("write {}", path.display()),
                FileState::Same => format!("keep {}", path.display()),
                FileState::Different => format!("replace {}", path.display()),
            })
            .collect()
        }
        Step::Api if observed.api_ready => vec!["an API answers already".to_owned()],
        Step::Api => vec!["wait until the API of this node answers on loopback".to_owned()],
        Step::Inject => vec![format!("apply {} objects", observed.objects)],
        Step::Ready => observed.standings.iter().map(ready).collect(),
        Step::Addons => vec![format!("apply {} objects", observed.addons)],
        Step::Checkpoint => vec!["wait until the guardian has a checkpoint of each required pod".to_owned()],
        Step::Pivot => vec![
            "send new connections to the self-hosted apiserver".to_owned(),
            "remove the temporary control plane's static pods".to_owned(),
            "hand over the leases of scheduler and controller-manager".to_owned(),
        ],
        Step::Rights => rights(observed),
        Step::Verify => verify(observed),
        Step::Register => observed.node.actions(&observed.node_name),
    }
}

fn rights(observed: &Observed) -> Vec<String> {
    observed.rights_gone.iter().map(|object| format!("put back {object}")).collect()
}

fn ready(standing: &Standing) -> String {
    match &standing.missing {
        None => format!("{} is ready", standing.required),
        Some(missing) => format!("wait for {}: {missing}", standing.required),
    }
}

fn verify(observed: &Observed) -> Vec<String> {
    let gone = observed.temporary_pods.iter().map(|pod| format!("wait until pod {pod} is gone"));
    gone.chain(["check that only the self-hosted control plane is left".to_owned()]).collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return f.write_str("nothing to do: the control plane of this node is self-hosted");
        }
        for (number, planned) in self.steps.iter().enumerate() {
            let line = if number == 0 { "" } else { "\n" };
            write!(f, "{line}{}. {}: {}", number + 1, planned.step.name(), planned.step.title())?;
            for action in &planned.actions {
                write!(f, "\n     {action}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Observed {
        Observed {
            temporary_files: vec![("/m/bootstrap-kube-apiserver.yaml".into(), FileState::Missing)],
            lasting_files: vec![("/m/etcd.yaml".into(), FileState::Missing)],
            objects: 40,
            guardian: true,
            ..Observed::default()
        }
    }

    fn standing(missing: Option<&str>) -> Standing {
        Standing { required: "kube-apiserver".into(), pod: None, missing: missing.map(str::to_owned) }
    }

    /// A whole bring-up.
    fn expected() -> Vec<Step> {
        Step::ALL[1..].to_vec()
    }

    fn steps(observed: &Observed) -> Vec<Step> {
        plan(observed).steps.into_iter().map(|s| s.step).collect()
    }

    #[test]
    fn a_fresh_host_gets_every_step_in_order() {
        let plan = plan(&fresh());
        assert_eq!(plan.steps.iter().map(|s| s.step).collect::<Vec<_>>(), expected());
        assert_eq!(plan.to_string().lines().nth(1), Some("     write /m/etcd.yaml"));
    }

    #[test]
    fn what_was_killed_half_way_gets_every_step_again() {
        let mut observed = fresh();
        observed.temporary_files[0].1 = FileState::Same;
        observed.api_ready = true;
        observed.standings = vec![standing(None)];
        // Everything is ready, but the temporary pods are still staged: the pivot is to come.
        assert_eq!(steps(&observed), expected());
        observed.standings = vec![standing(Some("no pod"))];
        assert_eq!(steps(&observed), expected());
    }

    #[test]
    fn after_the_pivot_only_the_end_of_the_old_is_watched_and_then_nothing() {
        let mut observed = fresh();
        observed.api_ready = true;
        observed.standings = vec![standing(None)];
        observed.temporary_pods = vec!["bootstrap-kube-apiserver".into()];
        assert_eq!(steps(&observed), [Step::Verify]);
        observed.temporary_pods.clear();
        assert_eq!(steps(&observed), []);
    }

    #[test]
    fn rights_that_are_gone_are_put_back_before_anything_else() {
        let mut observed = fresh();
        let role = serde_json::json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a"}});
        observed.rights_gone = vec![ObjectRef::of(&role)];
        observed.api_ready = true;
        assert_eq!(steps(&observed), [vec![Step::Rights], expected()].concat());
        observed.standings = vec![standing(None)];
        assert_eq!(plan(&observed).to_string().lines().nth(1), Some("     put back ClusterRole a"));
        assert_eq!(steps(&observed), [Step::Rights]);
    }

    #[test]
    fn a_copy_stands_for_its_pod_until_that_is_there() {
        let mut observed = fresh();
        observed.api_ready = true;
        observed.standings = vec![standing(Some("container kube-apiserver does not run"))];
        assert_eq!(steps(&observed), expected());
        observed.copies = vec!["kube-apiserver".into()];
        assert_eq!(steps(&observed), []);
        // The power went away in the middle of the pivot.
        observed.secrets = true;
        assert_eq!(steps(&observed), [Step::Verify]);
    }

    #[test]
    fn a_node_that_the_api_has_lost_is_registered_anew_and_nothing_else_is_done() {
        let mut observed = fresh();
        observed.node_name = "n".into();
        observed.api_ready = true;
        observed.standings = vec![standing(None)];
        observed.node = NodeObject::Gone;
        assert_eq!(steps(&observed), [Step::Register]);
        assert_eq!(
            plan(&observed).to_string(),
            "1. register: bring this node back into the API\n     restart the kubelet: the API has no Node n, and a kubelet \
             registers only when it starts\n     label node n: as a node of the control plane"
        );
        observed.node = NodeObject::Unlabelled(vec!["role".into()]);
        assert_eq!(plan(&observed).steps[0].actions, ["label node n: role"]);
        // Where all of it is to be done, that is a part of it.
        observed.standings = vec![standing(Some("no pod"))];
        assert_eq!(steps(&observed), Step::ALL[1..]);
    }

    #[test]
    fn a_node_with_checkpoints_may_come_back_by_itself_first() {
        let mut observed = fresh();
        observed.restorable = true;
        assert_eq!(steps(&observed), [vec![Step::Restore], expected()].concat());
        // While the temporary control plane is there the guardian stands back.
        observed.temporary_files[0].1 = FileState::Same;
        assert_eq!(steps(&observed), expected());
    }

    #[test]
    fn without_a_guardian_nobody_waits_for_checkpoints() {
        let without = steps(&Observed { guardian: false, ..fresh() });
        assert_eq!(without, expected().into_iter().filter(|s| *s != Step::Checkpoint).collect::<Vec<_>>());
    }

    #[test]
    fn a_node_without_an_api_starts_over() {
        let mut observed = fresh();
        observed.standings = vec![];
        observed.api_ready = false;
        assert_eq!(steps(&observed), expected());
    }
}
